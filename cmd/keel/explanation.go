package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"keel/budget"
	"keel/budget/ledger"
)

// writeExplanation answers the three questions for a person.
func writeExplanation(out io.Writer, e *ledger.Explanation) error {
	var r spendRecord
	if err := json.Unmarshal(e.Record, &r); err != nil {
		return fmt.Errorf("keel.spend_records: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

	line("decision %s of %s", e.Detail.ID, e.Detail.DecidedAt.UTC().Format(time.RFC3339))
	line("  who\t%s", who(&r))
	line("  asked\t%s, model %s", r.API, cmp.Or(r.ModelRequested, "unknown"))
	line("  decided\t%s%s", r.Action, sentence(": ", r.Reason))
	if r.ModelRouted != "" && r.Outcome != "denied" {
		line("  sent to\t%s, model %s%s", r.Provider, r.ModelRouted, sentence(", by route ", r.Route))
	}
	if e.Detail.OutputCap > 0 {
		line("  capped\tat %d output tokens", e.Detail.OutputCap)
	}
	if e.Detail.Debt {
		line("  debt\tpermitted while the ledger was away")
	}

	line("\nWhat did we think it would cost?")
	switch {
	case e.Detail.Unpriced != "":
		line("  unknown\t%s", e.Detail.Unpriced)
	case e.Detail.Method == "":
		line("  nothing\tit was not estimated")
	default:
		line("  expected\t%s\t%d input + %d output tokens", dollars(r.Estimated), r.EstimatedInput, r.EstimatedOutput)
		line("  at most\t%s\t%d input + %d output tokens (%s)", dollars(r.Bound), e.Detail.InputTokensBound, e.Detail.OutputTokensBound, boundKind(e.Detail.BoundKind))
		line("  method\t%s, prices %s", e.Detail.Method, r.PriceVersion)
	}
	if r.Envelope != r.Bound && r.Envelope != "" {
		line("  envelope\t%s\tover all attempts", dollars(r.Envelope))
	}
	for _, h := range e.Holds {
		line("  held\t$%s\tin budget %s%s, %s, limit $%s", h.Amount, h.Budget, sentence(" for ", h.Key), window(h), h.Limit)
	}

	line("\nWhat did it actually cost?")
	writeCost(line, e, &r)

	line("\nWhich rules were active?")
	if len(e.Rules) == 0 {
		line("  none")
	}
	for _, rule := range e.Rules {
		version := fmt.Sprintf("version %d", rule.Version)
		if rule.Version == 0 {
			version = "catalogue"
		}
		line("  %s %s\t%s\t%s%s", rule.Kind, rule.Name, version, rule.Effect, sentence("; it saw ", rule.Saw))
	}

	line("\nCan that be checked?")
	for _, l := range e.Evidence {
		line("  %s%s\t%s", l.Kind, versionOf(l), place(l))
	}
	return w.Flush()
}

func writeCost(line func(string, ...any), e *ledger.Explanation, r *spendRecord) {
	line("  outcome\t%s%s%s", r.Outcome, status(r.HTTPStatus), attempts(r.Attempts))
	switch {
	case r.Outcome == "open":
		line("  cost\tnot known yet: the call is in flight")
		return
	case r.Outcome == "denied":
		line("  cost\t$0: the provider was not asked")
		return
	}
	line("  cost\t%s\t%s", dollars(r.Actual), metered[r.Metered])
	c := e.Closeout
	if c == nil {
		return
	}
	var lines []struct {
		Meter    string      `json:"meter"`
		Quantity json.Number `json:"quantity"`
		Rate     string      `json:"per_million_usd"`
		Own      string      `json:"per_million"` // in the currency of the price, where that was exchanged
		Amount   string      `json:"amount_usd"`
		Price    string      `json:"price"`
	}
	if json.Unmarshal(c.Lines, &lines) == nil {
		for _, l := range lines {
			rate := "$" + l.Rate
			if l.Rate == "" {
				rate = l.Own
			}
			line("  %s\t$%s\t%s at %s a million%s", l.Meter, l.Amount, l.Quantity, rate, sentence(", price ", l.Price))
		}
	}
	if len(c.RawUsage) > 0 {
		line("  usage\tas the provider said it: %s", c.RawUsage)
	}
	writeAttempts(line, c.Attempts)
	if c.ExchangeRate != nil {
		line("  exchanged\t%s", *c.ExchangeRate)
	}
	if c.ProviderCost != nil {
		line("  provider\tsays $%s", *c.ProviderCost)
	}
	if len(c.Unpriced) > 0 {
		line("  unpriced\t%s", strings.Join(c.Unpriced, ", "))
	}
	if c.Model != "" && c.Model != r.ModelRouted {
		line("  model\t%s, as the provider reported it", c.Model)
	}
	if c.Detail != "" && c.Detail != "via_upstream" {
		line("  ended\t%s", c.Detail)
	}
	if a := e.Annotation; a != nil && a.Details != "via_upstream" {
		line("  Envoy\t%s%s", a.Details, sentence(", ", a.Flags))
	}
	writeCorrections(line, e)
}

// writeCorrections tells what the cost was thought to be before.
func writeCorrections(line func(string, ...any), e *ledger.Explanation) {
	for _, s := range e.Superseded {
		cost := "$" + s.Cost.String()
		if !s.CostKnown {
			cost = "what was held"
		}
		line("  before\t%s\t%s until %s%s", cost, s.Outcome, s.SupersededAt.UTC().Format(time.RFC3339), sentence(": ", s.Detail))
	}
	for _, c := range e.Corrections {
		var cause struct {
			Why string `json:"why"`
		}
		_ = json.Unmarshal(c.Cause, &cause) // as the ledger wrote it
		line("  entry\t%s\t%s, $%s%s", c.At.UTC().Format(time.RFC3339), c.Kind, c.Amount, sentence(": ", cause.Why))
	}
}

func versionOf(l ledger.LeafDetail) string {
	if l.Version == 1 {
		return ""
	}
	return fmt.Sprintf(" version %d", l.Version)
}

// place says where the audit log has a record.
func place(l ledger.LeafDetail) string {
	switch {
	case l.Leaf == nil:
		return "on its way into the audit log"
	case !l.Signed:
		return fmt.Sprintf("leaf %d of the audit log, which no checkpoint covers yet", *l.Leaf)
	}
	return fmt.Sprintf("leaf %d of the audit log, signed: keel audit prove %s", *l.Leaf, l.ID)
}

// writeAttempts tells of every attempt where there was more than one.
func writeAttempts(line func(string, ...any), rows json.RawMessage) {
	var attempts []budget.Attempt
	if json.Unmarshal(rows, &attempts) != nil || len(attempts) < 2 {
		return
	}
	for _, a := range attempts {
		broke := ""
		if a.Broke {
			broke = ", beyond the envelope"
		}
		line("  attempt %d\t$%s\t%s/%s: %s%s%s (%s)%s", a.Number, a.Cost, a.Provider, a.Model, a.Ended, status(a.Status), broke, a.Basis, sentence("; ", a.Detail))
	}
}

// spendRecord is a row of keel.spend_records.
type spendRecord struct {
	Subject         map[string]string `json:"subject"`
	Org             string            `json:"org"`
	API             string            `json:"api"`
	Provider        string            `json:"provider"`
	Route           string            `json:"route"`
	ModelRequested  string            `json:"model_requested"`
	ModelRouted     string            `json:"model_routed"`
	Action          string            `json:"action"`
	Reason          string            `json:"reason"`
	EstimatedInput  int64             `json:"estimated_input_tokens"`
	EstimatedOutput int64             `json:"estimated_output_tokens"`
	Estimated       json.Number       `json:"estimated_cost_usd"`
	Bound           json.Number       `json:"bound_cost_usd"`
	Envelope        json.Number       `json:"envelope_usd"`
	Actual          json.Number       `json:"actual_cost_usd"`
	Attempts        int               `json:"attempts"`
	Metered         string            `json:"metered"`
	Outcome         string            `json:"outcome"`
	HTTPStatus      int               `json:"http_status"`
	PriceVersion    string            `json:"price_version"`
}

var metered = map[string]string{
	"provider":  "from the usage that the provider reported",
	"estimated": "estimated, because the provider's usage was not seen",
	"none":      "nothing was metered",
}

func who(r *spendRecord) string {
	labels := []string{"org=" + r.Org}
	for _, name := range slices.Sorted(maps.Keys(r.Subject)) {
		if name != "org" {
			labels = append(labels, name+"="+r.Subject[name])
		}
	}
	return strings.Join(labels, " ")
}

func boundKind(kind string) string {
	if kind == "none" {
		return "no bound: part of the input is not in the request"
	}
	return kind
}

func window(h ledger.HoldDetail) string {
	if h.WindowStart == nil || h.WindowEnd == nil {
		return "over its lifetime"
	}
	return h.WindowStart.UTC().Format(time.RFC3339) + " to " + h.WindowEnd.UTC().Format(time.RFC3339)
}

// dollars drops the zeros that a numeric column carries.
func dollars(n json.Number) string {
	text := n.String()
	switch {
	case text == "":
		return "unknown"
	case strings.Contains(text, "."):
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return "$" + text
}

func status(code int) string {
	if code == 0 {
		return ""
	}
	return fmt.Sprintf(", HTTP %d", code)
}

func attempts(n int) string {
	if n == 1 {
		return ", 1 attempt"
	}
	return fmt.Sprintf(", %d attempts", n)
}

func sentence(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}
