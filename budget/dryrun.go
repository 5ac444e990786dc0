package budget

import (
	_ "embed"
	"encoding/json"
	"time"

	"keel/pricing"
)

// DryRunSchema is the JSON schema (draft 2020-12) of what DryRunJSON returns.
//
//go:embed dryrun.schema.json
var DryRunSchema []byte

type dryRun struct {
	DecisionID   string              `json:"decision_id"`
	Org          string              `json:"org"`
	Action       Action              `json:"action"`
	Reason       string              `json:"reason"`
	Requested    dryRunTarget        `json:"requested"`
	Target       *dryRunTarget       `json:"target"` // null for a denial
	Estimate     dryRunEstimate      `json:"estimate"`
	Envelope     *dryRunEnvelope     `json:"envelope"` // null where none was made: the call is denied whatever its target
	Budgets      []dryRunBudget      `json:"budgets"`
	Rules        []Rule              `json:"rules"`
	Alternatives []dryRunAlternative `json:"alternatives"`
	Denial       *dryRunDenial       `json:"denial"`
	PriceVersion string              `json:"price_version"`
}

type dryRunTarget struct {
	Provider        string `json:"provider"`
	Model           string `json:"model"`
	Route           string `json:"route,omitempty"`
	MaxOutputTokens int64  `json:"max_output_tokens,omitempty"`
}

type dryRunEstimate struct {
	InputTokens       int64            `json:"input_tokens"`
	InputTokensBound  int64            `json:"input_tokens_bound"`
	OutputTokens      int64            `json:"output_tokens"`
	OutputTokensBound int64            `json:"output_tokens_bound"`
	ExpectedUSD       *pricing.NanoUSD `json:"expected_usd"` // null without a price
	BoundUSD          *pricing.NanoUSD `json:"bound_usd"`
	BoundKind         string           `json:"bound_kind"`
	Method            string           `json:"method"`
	Unpriced          string           `json:"unpriced,omitempty"`
}

type dryRunEnvelope struct {
	LimitUSD    *pricing.NanoUSD `json:"limit_usd"` // null without a price
	MaxAttempts int64            `json:"max_attempts"`
	Mode        Mode             `json:"mode"`
	Unknown     UnknownAttempt   `json:"unknown"`
}

type dryRunBudget struct {
	Budget       string           `json:"budget"`
	Account      string           `json:"account"`
	Mode         Mode             `json:"mode"`
	Version      int64            `json:"version"`
	WindowStart  *time.Time       `json:"window_start"` // null for a lifetime
	WindowEnd    *time.Time       `json:"window_end"`
	Rolling      int64            `json:"rolling_seconds,omitempty"` // the window is then a bucket of it
	LimitUSD     pricing.NanoUSD  `json:"limit_usd"`
	CeilingUSD   *pricing.NanoUSD `json:"ceiling_usd"` // null where the budget does not enforce
	SettledUSD   pricing.NanoUSD  `json:"settled_usd"`
	HeldUSD      pricing.NanoUSD  `json:"held_usd"`
	RemainingUSD pricing.NanoUSD  `json:"remaining_usd"`
	WouldHoldUSD pricing.NanoUSD  `json:"would_hold_usd"`
}

type dryRunAlternative struct {
	Alternative
	ExpectedUSD *pricing.NanoUSD `json:"expected_usd"`
	BoundUSD    *pricing.NanoUSD `json:"bound_usd"`
}

type dryRunDenial struct {
	Status            int               `json:"status"`
	Code              string            `json:"code"`
	Message           string            `json:"message"`
	RetryAfterSeconds int64             `json:"retry_after_seconds,omitempty"`
	Details           map[string]string `json:"details"`
}

// DryRunJSON is the answer to a dry run: a decision that Preview made, as
// DryRunSchema says. Money is in decimal strings.
func (d *Decision) DryRunJSON() []byte {
	answer := dryRun{
		DecisionID: d.ID.String(), Org: d.Org, Action: d.Action, Reason: d.Reason,
		Requested: dryRunTarget{Provider: d.Provider, Model: d.Model, MaxOutputTokens: d.Call.MaxOutputTokens},
		Estimate: dryRunEstimate{
			InputTokens: d.Estimate.InputTokens, InputTokensBound: d.Estimate.InputTokensBound,
			OutputTokens: d.Estimate.OutputTokens, OutputTokensBound: d.Estimate.OutputTokensBound,
			BoundKind: string(d.Estimate.BoundKind), Method: d.Estimate.Method, Unpriced: d.Estimate.Unpriced,
		},
		Budgets: []dryRunBudget{}, Rules: append([]Rule{}, d.Rules...), Alternatives: []dryRunAlternative{},
		PriceVersion: d.PriceVersion,
	}
	if d.Estimate.Unpriced == "" && d.Estimate.Method != "" {
		answer.Estimate.ExpectedUSD, answer.Estimate.BoundUSD = &d.Estimate.Expected, &d.Estimate.Bound
	}
	if v := &d.Envelope; v.Attempts > 0 {
		answer.Envelope = &dryRunEnvelope{MaxAttempts: v.Attempts, Mode: v.Mode, Unknown: v.Unknown}
		if d.Estimate.Unpriced == "" {
			answer.Envelope.LimitUSD = &v.Limit
		}
	}
	if d.Action != Deny {
		answer.Target = &dryRunTarget{Provider: d.RoutedProvider, Model: d.RoutedModel, Route: d.Route, MaxOutputTokens: d.MaxOutputTokens}
	}
	for _, b := range d.Budgets {
		state := dryRunBudget{
			Budget: b.Budget, Account: b.Key, Mode: b.Mode, Version: b.Version,
			Rolling: int64(b.Rolling / time.Second), LimitUSD: b.Limit, SettledUSD: b.Standing.Settled, HeldUSD: b.Standing.Held,
			RemainingUSD: b.Limit - b.Standing.Settled - b.Standing.Held, WouldHoldUSD: b.Amount,
		}
		if !b.WindowStart.IsZero() {
			state.WindowStart = &b.WindowStart
		}
		if !b.WindowEnd.IsZero() {
			state.WindowEnd = &b.WindowEnd
		}
		if b.Ceiling >= 0 {
			state.CeilingUSD = &b.Ceiling
		}
		answer.Budgets = append(answer.Budgets, state)
	}
	for _, a := range d.Alternatives {
		alternative := dryRunAlternative{Alternative: a}
		if a.Priced {
			alternative.ExpectedUSD, alternative.BoundUSD = &a.Expected, &a.Bound
		}
		answer.Alternatives = append(answer.Alternatives, alternative)
	}
	if d.Denial != nil {
		answer.Denial = &dryRunDenial{
			Status: d.Denial.Status, Code: d.Denial.Code, Message: d.Denial.Message,
			RetryAfterSeconds: int64(d.Denial.RetryAfter / time.Second), Details: d.Denial.Details,
		}
	}
	body, err := json.MarshalIndent(answer, "", "  ")
	if err != nil { // strings, numbers and times of this era always encode
		return []byte(`{"error": "the decision can't be shown"}`)
	}
	return append(body, '\n')
}
