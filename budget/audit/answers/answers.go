// Package answers puts what the ledger keeps of one decision into words: what it was thought to
// cost, what it cost, and which rules were active. keel explain prints them, and the review pages show them.
//
// It refuses to look anything up and to compute money: every amount is one that was recorded.
package answers

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

// Answers is one decision in words.
type Answers struct {
	Decision  string // its id
	At        time.Time
	Facts     []Line
	Estimated []Line // what did we think it would cost?
	Cost      []Line // what did it actually cost?
	Rules     []Line // which rules were active?
	Evidence  []Line // can that be checked?
}

// The three questions, and what makes the answers worth something.
const (
	AskEstimated = "What did we think it would cost?"
	AskCost      = "What did it actually cost?"
	AskRules     = "Which rules were active?"
	AskEvidence  = "Can that be checked?"
)

// Line is a name, what is said of it, and in what respect. Note may be "".
type Line struct{ Name, Text, Note string }

// WriteText writes a for a person at a terminal.
func (a *Answers) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	write := func(lines []Line) {
		for _, l := range lines {
			fmt.Fprintf(w, "  %s", l.Name)
			if l.Text != "" {
				fmt.Fprintf(w, "\t%s", l.Text)
			}
			if l.Note != "" {
				fmt.Fprintf(w, "\t%s", l.Note)
			}
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintf(w, "decision %s of %s\n", a.Decision, a.At.UTC().Format(time.RFC3339))
	write(a.Facts)
	for _, q := range []struct {
		ask   string
		lines []Line
	}{{AskEstimated, a.Estimated}, {AskCost, a.Cost}, {AskRules, a.Rules}, {AskEvidence, a.Evidence}} {
		fmt.Fprintf(w, "\n%s\n", q.ask)
		write(q.lines)
	}
	return w.Flush()
}

// lines grow by what is said.
type lines []Line

func (l *lines) add(name, text string) { *l = append(*l, Line{Name: name, Text: text}) }

func (l *lines) addf(name, format string, args ...any) { l.add(name, fmt.Sprintf(format, args...)) }

func (l *lines) note(name, text, format string, args ...any) {
	*l = append(*l, Line{name, text, fmt.Sprintf(format, args...)})
}

// Of puts e into words.
func Of(e *ledger.Explanation) (*Answers, error) {
	var r spendRecord
	if err := json.Unmarshal(e.Record, &r); err != nil {
		return nil, fmt.Errorf("keel.spend_records: %w", err)
	}
	return &Answers{Decision: e.Detail.ID.String(), At: e.Detail.DecidedAt, Facts: facts(e, &r), Estimated: estimated(e, &r), Cost: cost(e, &r), Rules: rules(e), Evidence: evidence(e)}, nil
}

func facts(e *ledger.Explanation, r *spendRecord) (l lines) {
	l.add("who", who(r))
	l.addf("asked", "%s, model %s", r.API, cmp.Or(r.ModelRequested, "unknown"))
	l.addf("decided", "%s%s", r.Action, sentence(": ", r.Reason))
	if r.ModelRouted != "" && r.Outcome != "denied" {
		l.addf("sent to", "%s, model %s%s", r.Provider, r.ModelRouted, sentence(", by route ", r.Route))
	}
	if e.Detail.OutputCap > 0 {
		l.addf("capped", "at %d output tokens", e.Detail.OutputCap)
	}
	if e.Detail.Debt {
		l.add("debt", "permitted while the ledger was away")
	}
	return l
}

func estimated(e *ledger.Explanation, r *spendRecord) (l lines) {
	switch {
	case e.Detail.Unpriced != "":
		l.add("unknown", e.Detail.Unpriced)
	case e.Detail.Method == "":
		l.add("nothing", "it was not estimated")
	default:
		l.note("expected", dollars(r.Estimated), "%d input + %d output tokens", r.EstimatedInput, r.EstimatedOutput)
		l.note("at most", dollars(r.Bound), "%d input + %d output tokens (%s)", e.Detail.InputTokensBound, e.Detail.OutputTokensBound, boundKind(e.Detail.BoundKind))
		l.addf("method", "%s, prices %s", e.Detail.Method, r.PriceVersion)
	}
	if r.Envelope != r.Bound && r.Envelope != "" {
		l.note("envelope", dollars(r.Envelope), "over all attempts")
	}
	for i, h := range e.Holds {
		l.note("held", "$"+h.Amount.String(), "in budget %s%s, %s, limit $%s", h.Budget, sentence(" for ", h.Key), window(h), h.Limit)
		if h.Extended > 0 {
			l.note("extended", "$"+h.Extended.String(), "more in budget %s while the answer streamed, in %d steps", h.Budget, extensions(e, i))
		}
	}
	return l
}

// extensions counts those of the i-th hold.
func extensions(e *ledger.Explanation, i int) (n int) {
	for _, x := range e.Extensions {
		if i < len(x.More) && x.More[i] > 0 {
			n++
		}
	}
	return n
}

func rules(e *ledger.Explanation) (l lines) {
	if len(e.Rules) == 0 {
		l.add("none", "")
	}
	for _, rule := range e.Rules {
		version := fmt.Sprintf("version %d", rule.Version)
		if rule.Version == 0 {
			version = "catalogue"
		}
		l.note(fmt.Sprintf("%s %s", rule.Kind, rule.Name), version, "%s%s", rule.Effect, sentence("; it saw ", rule.Saw))
	}
	return l
}

func cost(e *ledger.Explanation, r *spendRecord) (l lines) {
	l.addf("outcome", "%s%s%s", r.Outcome, status(r.HTTPStatus), attempts(r.Attempts))
	switch {
	case r.Outcome == "open":
		l.add("cost", "not known yet: the call is in flight")
		return l
	case r.Outcome == "denied":
		l.add("cost", "$0: the provider was not asked")
		return l
	}
	l.note("cost", dollars(r.Actual), "%s", metered[r.Metered])
	c := e.Closeout
	if c == nil {
		return l
	}
	var charged []struct {
		Meter    string      `json:"meter"`
		Quantity json.Number `json:"quantity"`
		Rate     string      `json:"per_million_usd"`
		Own      string      `json:"per_million"` // in the currency of the price, where that was exchanged
		Amount   string      `json:"amount_usd"`
		Price    string      `json:"price"`
	}
	if json.Unmarshal(c.Lines, &charged) == nil {
		for _, x := range charged {
			rate := "$" + x.Rate
			if x.Rate == "" {
				rate = x.Own
			}
			l.note(x.Meter, "$"+x.Amount, "%s at %s a million%s", x.Quantity, rate, sentence(", price ", x.Price))
		}
	}
	if len(c.RawUsage) > 0 {
		l.addf("usage", "as the provider said it: %s", c.RawUsage)
	}
	l = append(l, attempted(c.Attempts)...)
	if c.ExchangeRate != nil {
		l.add("exchanged", *c.ExchangeRate)
	}
	if c.ProviderCost != nil {
		l.add("provider", "says $"+*c.ProviderCost)
	}
	if len(c.Unpriced) > 0 {
		l.add("unpriced", strings.Join(c.Unpriced, ", "))
	}
	if c.Model != "" && c.Model != r.ModelRouted {
		l.add("model", c.Model+", as the provider reported it")
	}
	if c.Detail != "" && c.Detail != "via_upstream" {
		l.add("ended", c.Detail)
	}
	if a := e.Annotation; a != nil && a.Details != "via_upstream" {
		l.addf("Envoy", "%s%s", a.Details, sentence(", ", a.Flags))
	}
	return append(l, corrections(e)...)
}

// corrections tell what the cost was thought to be before.
func corrections(e *ledger.Explanation) (l lines) {
	for _, s := range e.Superseded {
		cost := "$" + s.Cost.String()
		if !s.CostKnown {
			cost = "what was held"
		}
		l.note("before", cost, "%s until %s%s", s.Outcome, s.SupersededAt.UTC().Format(time.RFC3339), sentence(": ", s.Detail))
	}
	for _, c := range e.Corrections {
		var cause struct {
			Why string `json:"why"`
		}
		_ = json.Unmarshal(c.Cause, &cause) // as the ledger wrote it
		l.note("entry", c.At.UTC().Format(time.RFC3339), "%s, $%s%s", c.Kind, c.Amount, sentence(": ", cause.Why))
	}
	return l
}

// evidence says where the audit log has what the decision is made of.
func evidence(e *ledger.Explanation) (l lines) {
	for _, leaf := range e.Evidence {
		name := leaf.Kind
		if leaf.Version != 1 {
			name += fmt.Sprintf(" version %d", leaf.Version)
		}
		l.add(name, place(leaf))
	}
	return l
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

// attempted tells of every attempt where there was more than one.
func attempted(rows json.RawMessage) (l lines) {
	var attempts []budget.Attempt
	if json.Unmarshal(rows, &attempts) != nil || len(attempts) < 2 {
		return nil
	}
	for _, a := range attempts {
		broke := ""
		if a.Broke {
			broke = ", beyond the envelope"
		}
		l.note(fmt.Sprintf("attempt %d", a.Number), "$"+a.Cost.String(), "%s/%s: %s%s%s (%s)%s", a.Provider, a.Model, a.Ended, status(a.Status), broke, a.Basis, sentence("; ", a.Detail))
	}
	return l
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
