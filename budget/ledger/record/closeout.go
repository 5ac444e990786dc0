package record

import (
	"keel/budget"
	"keel/pricing"
)

// AppendCloseout appends the encoding of c to b.
func AppendCloseout(b []byte, c *Closeout) []byte {
	b = append(b, billed)
	b = appendEnding(b, &c.Closeout)
	b = appendBool(b, c.Known)
	b = appendID(b, c.Lease)
	b = appendCount(b, len(c.Charges))
	for i := range c.Charges {
		b = appendCharge(b, &c.Charges[i])
	}
	return b
}

// DecodeCloseout reads what AppendCloseout wrote. Slices without elements are
// nil, and times are UTC. A meter that this program does not know is an error.
func DecodeCloseout(b []byte) (*Closeout, error) {
	return new(Decoder).Closeout(b)
}

// AppendResponse appends the encoding of c, the closeout of a response, to b.
func AppendResponse(b []byte, c *budget.Closeout) []byte { return appendEnding(append(b, billed), c) }

// DecodeResponse reads what AppendResponse wrote, as DecodeCloseout does.
func DecodeResponse(b []byte) (*budget.Closeout, error) {
	return new(Decoder).Response(b)
}

// AppendReturn appends the encoding of r to b.
func AppendReturn(b []byte, r *Return) []byte {
	b = append(b, plain)
	b = appendAccount(b, &r.Account)
	return appendInt(b, int64(r.Amount))
}

// DecodeReturn reads what AppendReturn wrote.
func DecodeReturn(b []byte) (*Return, error) {
	return new(Decoder).Return(b)
}

func appendCharge(b []byte, c *Charge) []byte {
	b = appendAccount(b, &c.Account)
	b = appendInt(b, int64(c.Held))
	b = appendInt(b, int64(c.Amount))
	return appendBool(b, c.Leased)
}

func readCharge(r *reader, c *Charge) {
	readAccount(r, &c.Account)
	c.Held = pricing.NanoUSD(r.int64("held"))
	c.Amount = pricing.NanoUSD(r.int64("amount"))
	c.Leased = r.bool("leased")
}

// appendEnding appends what closeouts and responses share.
func appendEnding(b []byte, c *budget.Closeout) []byte {
	b = appendID(b, c.ID)
	b = appendText(b, c.Org)
	b = appendTime(b, c.At)
	b = appendText(b, c.Outcome)
	b = appendText(b, c.Metered)
	b = appendBool(b, c.Usage != nil)
	if c.Usage != nil {
		b = appendUsage(b, c.Usage)
	}
	b = appendText(b, c.RawUsage)
	b = appendCost(b, &c.Cost)
	b = appendBool(b, c.CostKnown)
	b = appendInt(b, c.Attempts)
	b = appendInt(b, c.HTTPStatus)
	b = appendText(b, c.Model)
	b = appendText(b, c.Detail)
	b = appendText(b, c.ProviderCost)
	b = appendText(b, c.ResponseID)
	b = appendBool(b, c.Awaited)
	b = appendCount(b, len(c.AttemptRows))
	for i := range c.AttemptRows {
		b = appendAttempt(b, &c.AttemptRows[i])
	}
	b = appendCount(b, len(c.Bills))
	for i := range c.Bills {
		b = appendBill(b, &c.Bills[i])
	}
	return b
}

func readEnding(r *reader, c *budget.Closeout) {
	c.ID = r.id("decision id")
	c.Org = r.text("org")
	c.At = r.time("time")
	c.Outcome = budget.Outcome(r.text("outcome"))
	c.Metered = budget.Metered(r.text("metered"))
	if r.bool("has usage") {
		c.Usage = r.memory.usages.one()
		readUsage(r, c.Usage)
	}
	if raw := r.take("raw usage", r.uint("raw usage")); len(raw) > 0 {
		c.RawUsage = r.memory.raw.list(len(raw))
		copy(c.RawUsage, raw)
	}
	readCost(r, &c.Cost)
	c.CostKnown = r.bool("cost known")
	c.Attempts = r.int("attempts")
	c.HTTPStatus = r.int("http status")
	c.Model = r.text("model")
	c.Detail = r.text("detail")
	c.ProviderCost = r.text("provider cost")
	c.ResponseID = r.text("response id")
	c.Awaited = r.bool("awaited")
	switch {
	case r.wrote >= detailed:
		c.AttemptRows = list(r, nil, "attempts", minAttempt, readAttempt)
	case r.wrote > plain:
		c.AttemptRows = list(r, nil, "attempts", minAttemptBefore, readAttemptBefore)
	}
	if r.wrote >= billed {
		c.Bills = list(r, &r.memory.bills, "bills", minBill, readBill)
	}
}
