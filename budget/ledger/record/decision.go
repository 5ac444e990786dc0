package record

import (
	"bytes"
	"time"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/tokens"
)

// AppendDecision appends the encoding of d to b. It leaves out what is for a
// call in flight (Prompt, Routable, Rewrites) or a dry run (Alternatives, Budgets).
func AppendDecision(b []byte, d *budget.Decision) []byte {
	b = append(b, version)
	b = appendCall(b, &d.Call)
	b = appendText(b, d.Action)
	b = appendText(b, d.Reason)
	b = appendShape(b, &d.Shape)
	b = appendText(b, d.Route)
	b = appendText(b, d.RoutedProvider)
	b = appendText(b, d.RoutedModel)
	b = appendInt(b, d.MaxOutputTokens)
	b = appendEstimate(b, &d.Estimate)
	b = appendCount(b, len(d.Holds))
	for i := range d.Holds {
		b = appendHold(b, &d.Holds[i])
	}
	b = appendCount(b, len(d.Rules))
	for i := range d.Rules {
		b = appendRule(b, &d.Rules[i])
	}
	b = appendText(b, d.PriceVersion)
	b = appendBool(b, d.Denial != nil)
	if d.Denial != nil {
		b = appendDenial(b, d.Denial)
	}
	b = appendBool(b, d.Unmetered)
	b = appendBool(b, d.Debt)
	b = appendEnvelope(b, &d.Envelope)
	b = appendCount(b, len(d.RouteChoices))
	for i := range d.RouteChoices {
		b = appendChoice(b, &d.RouteChoices[i])
	}
	return b
}

// DecodeDecision reads what AppendDecision wrote. Slices and maps without
// elements are nil, and times are UTC.
func DecodeDecision(b []byte) (*budget.Decision, error) {
	return new(Decoder).Decision(b)
}

func appendCall(b []byte, c *budget.Call) []byte {
	b = appendID(b, c.ID)
	b = appendText(b, c.Org)
	b = appendTime(b, c.At)
	b = appendTexts(b, c.Subject)
	b = appendText(b, c.API)
	b = appendText(b, c.Provider)
	b = appendText(b, c.Model)
	b = appendText(b, c.Path)
	b = appendBool(b, c.Stream)
	b = appendInt(b, c.MaxOutputTokens)
	b = appendInt(b, c.Choices)
	b = appendText(b, c.ServiceTier)
	b = appendText(b, c.Speed)
	b = appendText(b, c.Region)
	return appendText(b, c.SearchContext)
}

func readCall(r *reader, c *budget.Call) {
	c.ID = r.id("decision id")
	c.Org = r.text("org")
	c.At = r.time("time")
	c.Subject = entries(r, &r.memory.labels, "subject", (*reader).text)
	c.API = r.text("api")
	c.Provider = r.text("provider")
	c.Model = r.text("model")
	c.Path = r.text("path")
	c.Stream = r.bool("stream")
	c.MaxOutputTokens = r.int64("stated output limit")
	c.Choices = r.int64("choices")
	c.ServiceTier = r.text("service tier")
	c.Speed = r.text("speed")
	c.Region = r.text("region")
	c.SearchContext = r.text("search context")
}

// The fewest bytes that an element of a list takes; a test has them.
const (
	minAccount = 6
	minHold    = minAccount + 6
	minRule    = 5
	minCharge  = minAccount + 3
)

func appendAccount(b []byte, a *budget.Account) []byte {
	b = appendText(b, a.Org)
	b = appendText(b, a.Budget)
	b = appendText(b, a.Key)
	b = appendTime(b, a.WindowStart)
	b = appendTime(b, a.WindowEnd)
	return appendInt(b, int64(a.Rolling))
}

// readAccount reads the account of an element of a list, which mostly is that which the list of the record before had in its place, or
// another one. An encoding ends where it ends, whatever comes behind it: so the same bytes are the same account.
func readAccount(r *reader, a *budget.Account) {
	seen := r.memory.seen(r.index)
	if seen != nil && len(seen.encoded) > 0 && bytes.HasPrefix(r.b[r.at:], seen.encoded) {
		*a = seen.account
		r.at += len(seen.encoded)
		return
	}
	from := r.at
	a.Org = r.text("org")
	a.Budget = r.text("budget")
	a.Key = r.text("account key")
	a.WindowStart = r.time("window start")
	a.WindowEnd = r.time("window end")
	a.Rolling = time.Duration(r.int64("rolling window"))
	if seen != nil && r.err == nil {
		seen.encoded, seen.account = append(seen.encoded[:0], r.b[from:r.at]...), *a
	}
}

func appendHold(b []byte, h *budget.Hold) []byte {
	b = appendAccount(b, &h.Account)
	b = appendInt(b, int64(h.Amount))
	b = appendInt(b, int64(h.Ceiling))
	b = appendInt(b, int64(h.Limit))
	b = appendText(b, h.Mode)
	b = appendInt(b, h.Version)
	return appendInt(b, int64(h.Debt))
}

func readHold(r *reader, h *budget.Hold) {
	readAccount(r, &h.Account)
	h.Amount = pricing.NanoUSD(r.int64("amount"))
	h.Ceiling = pricing.NanoUSD(r.int64("ceiling"))
	h.Limit = pricing.NanoUSD(r.int64("limit"))
	h.Mode = budget.Mode(r.text("mode"))
	h.Version = r.int64("budget version")
	h.Debt = pricing.NanoUSD(r.int64("debt"))
}

func appendRule(b []byte, rule *budget.Rule) []byte {
	b = appendText(b, rule.Kind)
	b = appendText(b, rule.Name)
	b = appendInt(b, rule.Version)
	b = appendText(b, rule.Effect)
	return appendText(b, rule.Saw)
}

func readRule(r *reader, rule *budget.Rule) {
	rule.Kind = budget.Kind(r.text("kind"))
	rule.Name = r.text("name")
	rule.Version = r.int64("version")
	rule.Effect = r.text("effect")
	rule.Saw = r.text("saw")
}

func appendDenial(b []byte, d *budget.Denial) []byte {
	b = appendInt(b, d.Status)
	b = appendText(b, d.Code)
	b = appendText(b, d.Message)
	b = appendInt(b, int64(d.RetryAfter))
	return appendTexts(b, d.Details)
}

func readDenial(r *reader, d *budget.Denial) {
	r.in("denial")
	d.Status = r.int("status")
	d.Code = r.text("code")
	d.Message = r.text("message")
	d.RetryAfter = time.Duration(r.int64("retry after"))
	d.Details = entries(r, &r.memory.labels, "denial.details", (*reader).text)
	r.in("")
}

func appendEstimate(b []byte, e *budget.Estimate) []byte {
	b = appendInt(b, e.InputTokens)
	b = appendInt(b, e.InputTokensBound)
	b = appendInt(b, e.OutputTokens)
	b = appendInt(b, e.OutputTokensBound)
	b = appendInt(b, int64(e.Expected))
	b = appendInt(b, int64(e.Bound))
	b = appendText(b, e.BoundKind)
	b = appendText(b, e.Method)
	b = appendInput(b, &e.Input)
	b = appendOutput(b, &e.Output)
	return appendText(b, e.Unpriced)
}

func readEstimate(r *reader, e *budget.Estimate) {
	r.in("estimate")
	e.InputTokens = r.int64("input tokens")
	e.InputTokensBound = r.int64("input tokens bound")
	e.OutputTokens = r.int64("output tokens")
	e.OutputTokensBound = r.int64("output tokens bound")
	e.Expected = pricing.NanoUSD(r.int64("expected"))
	e.Bound = pricing.NanoUSD(r.int64("bound"))
	e.BoundKind = tokens.BoundKind(r.text("bound kind"))
	e.Method = r.text("method")
	r.in("estimate.input")
	readInput(r, &e.Input)
	r.in("estimate.output")
	readOutput(r, &e.Output)
	r.in("estimate")
	e.Unpriced = r.text("unpriced")
	r.in("")
}
