package record

import (
	"time"

	"keel/budget"
	"keel/pricing"
)

// The fewest bytes that an attempt takes, and took before it told what it took; a test has them.
const (
	minAttempt       = minAttemptBefore + 3
	minAttemptBefore = 13
)

// minChoice is the same of a choice.
const minChoice = 6

func appendEnvelope(b []byte, v *budget.Envelope) []byte {
	b = appendInt(b, int64(v.Limit))
	b = appendInt(b, v.Attempts)
	b = appendText(b, v.Mode)
	return appendText(b, v.Unknown)
}

func readEnvelope(r *reader, v *budget.Envelope) {
	r.in("envelope")
	defer r.in("")
	v.Limit = pricing.NanoUSD(r.int64("limit"))
	v.Attempts = r.int64("attempts")
	v.Mode = budget.Mode(r.text("mode"))
	v.Unknown = budget.UnknownAttempt(r.text("unknown"))
}

func appendAttempt(b []byte, a *budget.Attempt) []byte {
	b = appendInt(b, a.Number)
	b = appendTime(b, a.At)
	b = appendText(b, a.Provider)
	b = appendText(b, a.Model)
	b = appendText(b, a.Address)
	b = appendText(b, a.Ended)
	b = appendInt(b, a.Status)
	b = appendInt(b, int64(a.Bound))
	b = appendBool(b, a.Broke)
	b = appendInt(b, int64(a.Cost))
	b = appendText(b, a.Basis)
	b = appendBool(b, a.Usage != nil)
	if a.Usage != nil {
		b = appendUsage(b, a.Usage)
	}
	b = appendText(b, a.Detail)
	b = appendInt(b, int64(a.FirstByte))
	b = appendText(b, a.InsteadOf)
	return appendInt(b, int64(a.InsteadBound))
}

func readAttempt(r *reader, a *budget.Attempt) {
	readAttemptBefore(r, a)
	a.FirstByte = time.Duration(r.int64("first byte"))
	a.InsteadOf = r.text("instead of")
	a.InsteadBound = pricing.NanoUSD(r.int64("bound instead"))
}

func readAttemptBefore(r *reader, a *budget.Attempt) {
	a.Number = r.int("number")
	a.At = r.time("time")
	a.Provider = r.text("provider")
	a.Model = r.text("model")
	a.Address = r.text("address")
	a.Ended = budget.AttemptEnd(r.text("ended"))
	a.Status = r.int("status")
	a.Bound = pricing.NanoUSD(r.int64("bound"))
	a.Broke = r.bool("broke")
	a.Cost = pricing.NanoUSD(r.int64("cost"))
	a.Basis = budget.Basis(r.text("basis"))
	if r.bool("has usage") {
		a.Usage = r.memory.usages.one()
		readUsage(r, a.Usage)
	}
	a.Detail = r.text("detail")
}

func appendChoice(b []byte, c *budget.Choice) []byte {
	b = appendText(b, c.By)
	b = appendText(b, c.Provider)
	b = appendText(b, c.Model)
	b = appendInt(b, int64(c.Expected))
	b = appendInt(b, int64(c.Bound))
	return appendText(b, c.Unpriced)
}

func readChoice(r *reader, c *budget.Choice) {
	c.By = budget.ChoiceBy(r.text("by"))
	c.Provider = r.text("provider")
	c.Model = r.text("model")
	c.Expected = pricing.NanoUSD(r.int64("expected"))
	c.Bound = pricing.NanoUSD(r.int64("bound"))
	c.Unpriced = r.text("unpriced")
}
