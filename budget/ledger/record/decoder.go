package record

import (
	"keel/budget"
	"keel/pricing"
)

// A Decoder reads records into memory that it makes for many of them at once, and that Reset lets it use again: what it returned
// before is then no more to be looked at, but for its texts, which are never written again. Each function that
// decodes one record is a Decoder that is used once. It is not safe for concurrent use. The zero value is ready.
type Decoder struct {
	reader reader
	memory memory
}

// Reset begins anew, in the same memory.
func (d *Decoder) Reset() {
	d.reader = reader{}
	d.memory.reset()
}

// Decision is DecodeDecision.
func (d *Decoder) Decision(b []byte) (*budget.Decision, error) {
	r := d.open("decision", version, b)
	v := d.memory.decisions.one()
	readCall(r, &v.Call)
	v.Action = budget.Action(r.text("action"))
	v.Reason = r.text("reason")
	readShape(r, &v.Shape)
	v.Route = r.text("route")
	v.RoutedProvider = r.text("routed provider")
	v.RoutedModel = r.text("routed model")
	v.MaxOutputTokens = r.int64("output cap")
	readEstimate(r, &v.Estimate)
	v.Holds = list(r, &d.memory.holds, "holds", minHold, readHold)
	v.Rules = list(r, &d.memory.rules, "rules", minRule, readRule)
	v.PriceVersion = r.text("price version")
	if r.bool("has a denial") {
		v.Denial = new(budget.Denial)
		readDenial(r, v.Denial)
	}
	v.Unmetered = r.bool("unmetered")
	v.Debt = r.bool("debt")
	if r.wrote > plain {
		readEnvelope(r, &v.Envelope)
		v.RouteChoices = list(r, nil, "choices", minChoice, readChoice)
	}
	return ended(r, v)
}

// Closeout is DecodeCloseout.
func (d *Decoder) Closeout(b []byte) (*Closeout, error) {
	r := d.open("closeout", billed, b)
	v := d.memory.closeouts.one()
	readEnding(r, &v.Closeout)
	v.Known = r.bool("known")
	v.Lease = r.id("lease")
	v.Charges = list(r, &d.memory.charges, "charges", minCharge, readCharge)
	return ended(r, v)
}

// Response is DecodeResponse.
func (d *Decoder) Response(b []byte) (*budget.Closeout, error) {
	r := d.open("response", billed, b)
	v := new(budget.Closeout)
	readEnding(r, v)
	return ended(r, v)
}

// Return is DecodeReturn.
func (d *Decoder) Return(b []byte) (*Return, error) {
	r := d.open("return", plain, b)
	v := new(Return)
	readAccount(r, &v.Account)
	v.Amount = pricing.NanoUSD(r.int64("amount"))
	return ended(r, v)
}

// Extension is DecodeExtension.
func (d *Decoder) Extension(b []byte) (*Extension, error) {
	r := d.open("extension", plain, b)
	v := new(Extension)
	v.ID = r.id("decision id")
	v.Org = r.text("org")
	v.At = r.time("time")
	v.Debt = r.bool("debt")
	v.More = list(r, nil, "more", minMore, func(r *reader, m *More) {
		readAccount(r, &m.Account)
		m.Amount = pricing.NanoUSD(r.int64("amount"))
		m.Leased = r.bool("leased")
	})
	return ended(r, v)
}

// ended is what was read, unless that went wrong.
func ended[T any](r *reader, v *T) (*T, error) {
	if err := r.end(); err != nil {
		return nil, err
	}
	return v, nil
}
