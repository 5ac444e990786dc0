package budget

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"keel/pricing/tokens"
)

// What is only observed goes where it was asked to go, counts in every budget, and says what would have been done.
func TestObserve(t *testing.T) {
	t.Parallel()
	const config = testPrices + `
kind: Budget
name: strict
selector: {team: strict}
limit: 0.000001 USD
window: month
---
kind: Budget
name: labelled
selector: {team: labelled}
limit: 100 USD
window: month
---
{kind: Policy, name: a-tag, when: 'subject.team == "tagged"', do: {tag: {team: labelled}}}
---
{kind: Policy, name: b-deny, when: 'subject.team == "denied"', do: {deny: "no"}}
---
{kind: Policy, name: c-cap, when: 'subject.team == "capped"', do: {constrain: {max_output_tokens: 7, choices: 1}}}
---
kind: Route
name: chat
models: [gpt-4.1]
mode: prefer-cheap
targets: [{provider: openai, model: gpt-4.1}, {provider: openai, model: gpt-4.1-nano}]
`
	for _, tt := range []struct {
		team, model string
		away        bool
		owes        error
		holds       string // budgets that hold, and whether any can refuse
		reason      string
		rule        string
	}{
		{"nobody", "gpt-4.1-mini", false, nil, "", "would have let it pass: within every budget", ""},
		{"strict", "gpt-4.1-mini", false, nil, "strict -1", "would have denied it (429 budget_exceeded)", "held, would have denied"},
		{"strict", "gpt-9", false, nil, "strict -1", "would have denied it (403 unpriced_model)", ""},
		{"tagged", "gpt-4.1-mini", false, nil, "labelled -1", "would have let it pass", "tagged team=labelled"},
		{"denied", "gpt-4.1-mini", false, nil, "", "would have denied it (403 policy_denied): denied by policy b-deny: no", "would have denied"},
		{"capped", "gpt-4.1-mini", false, nil, "", "would have changed it: output limited to 7 tokens", "would have: constrained to 7 output tokens, choices at most 1"},
		{"nobody", "gpt-4.1", false, nil, "", "would have changed it: sent to openai/gpt-4.1-nano", ""},
		{"strict", "gpt-4.1-mini", true, nil, "strict -1 debt", "", ""},
		{"strict", "gpt-4.1-mini", true, errors.New("no journal"), "", "the ledger could hold nothing for it (no journal)", ""},
	} {
		t.Run(strings.TrimSuffix(fmt.Sprint(tt.team, " ", tt.model, " ", tt.owes), " <nil>"), func(t *testing.T) {
			ledger := newMemoryLedger()
			if tt.away {
				ledger.err, ledger.oweErr = ErrUnavailable, tt.owes
			}
			call := Call{
				ID: uuid.Must(uuid.NewV7()), Org: DefaultOrg, At: testTime, Subject: Subject{"team": tt.team}, API: "openai.chat", Provider: "openai", Model: tt.model,
				MaxOutputTokens: 100, Choices: 2, Prompt: &tokens.Prompt{Messages: 1}, Routable: func(string) bool { return true },
			}
			d := (&Decider{Ledger: ledger, Estimator: tokens.New()}).Observe(t.Context(), compiled(t, config), &call)
			if d.Action != Allow || d.Denial != nil || d.RoutedProvider != "openai" || d.RoutedModel != tt.model || d.MaxOutputTokens != 0 || d.Constraint != nil || d.Choices != 2 {
				t.Errorf("the call was touched: %+v", d)
			}
			holds := ""
			for _, h := range d.Holds {
				holds += fmt.Sprint(h.Budget, " ", int64(h.Ceiling))
				if h.Mode != Observe {
					t.Errorf("budget %s: mode %s", h.Budget, h.Mode)
				}
			}
			if d.Debt {
				holds += " debt"
			}
			if holds != tt.holds {
				t.Errorf("holds %q, want %q", holds, tt.holds)
			}
			if !strings.HasPrefix(d.Reason, "observed only; Keel would have ") || !strings.Contains(d.Reason, tt.reason) {
				t.Errorf("reason %q, want %q", d.Reason, tt.reason)
			}
			if rules := fmt.Sprint(d.Rules); !strings.Contains(rules, tt.rule) {
				t.Errorf("rules %s, want %q", rules, tt.rule)
			}
			if kept := len(ledger.open) + len(ledger.recorded); kept != 1 {
				t.Errorf("%d decisions with the ledger, want 1", kept)
			}
			if call.Subject["team"] != tt.team || call.Choices != 2 {
				t.Errorf("the caller's own call was changed: %+v", call)
			}
		})
	}
}
