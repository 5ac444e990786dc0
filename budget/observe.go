package budget

import (
	"context"
	"fmt"
	"strings"
)

// Observe is Decide for a call that nobody can stop any more: it goes where it was asked to go, as it is. Every budget that
// matches counts it as one that observes, and the record says what Decide would have done. The decision is never nil, and is
// with the ledger when it is returned.
func (d *Decider) Observe(ctx context.Context, cfg *Config, call *Call) *Decision {
	asked := *call // to decide changes what it decides about
	would := d.deliberate(ctx, cfg, &asked, true)

	as := *call
	as.Subject = would.Subject // with the labels that policies gave it: budgets select by them
	l := &deliberation{org: cfg.org(call.Org), call: &as, estimator: d.Estimator, ledger: d.Ledger, observing: true}
	l.begin()
	l.draft.RouteChoices = would.RouteChoices
	for _, rule := range would.Rules {
		if rule.Kind != KindBudget && rule.Kind != KindPrice {
			rule.Effect = wouldHave(rule.Effect)
			l.draft.Rules = append(l.draft.Rules, rule)
		}
	}
	decision, _ := l.propose(l.estimated(call.Provider, call.Model), l.budgets[:0])
	decision.Reason = observedReason(would)
	if err := d.Ledger.Permit(ctx, decision); err != nil { // no budget refuses, so it can't be asked
		decision.Debt = true
		for i := range decision.Holds {
			decision.Holds[i].Debt = NoDebtCap
		}
		if err := d.Ledger.Owe(decision); err != nil { // it goes out all the same: on record, and charged at its end where that can be
			decision.Debt, decision.Holds = false, nil
			decision.Reason += fmt.Sprintf("; the ledger could hold nothing for it (%v)", err)
			d.Ledger.Record(decision)
		}
	}
	return decision
}

// wouldHave says what a rule did as what it would have done. Labels it gave in fact.
func wouldHave(effect string) string {
	switch {
	case effect == "" || strings.HasPrefix(effect, "tagged "):
		return effect
	case strings.HasPrefix(effect, "denied"):
		return "would have " + effect
	}
	return "would have: " + effect
}

// observedReason is the decision that was not made in one line.
func observedReason(would *Decision) string {
	const observed = "observed only; Keel would have "
	switch would.Action {
	case Deny:
		return fmt.Sprintf("%sdenied it (%d %s): %s", observed, would.Denial.Status, would.Denial.Code, would.Denial.Message)
	case Allow:
		return observed + "let it pass: " + would.Reason
	}
	return observed + "changed it: " + would.Reason
}
