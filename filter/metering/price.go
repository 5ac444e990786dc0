package metering

import (
	"cmp"
	"fmt"
	"time"

	"keel/filter/wire"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// termsOf are the terms that a request asks for.
func termsOf(r *wire.Request, at time.Time) pricing.Terms {
	return pricing.Terms{At: at, ServiceTier: r.ServiceTier, Speed: r.Speed, Region: r.Region, SearchContext: r.SearchContext}
}

// priceEstimate prices the estimate as a decision does (package budget).
func (m *Meter) priceEstimate(r *Result, terms pricing.Terms) {
	if r.Request == nil {
		return
	}
	rates, ok := m.Book.Rates(r.Provider, r.Request.Model, terms)
	if !ok {
		return
	}
	likely, most := meter.Usage{meter.Input: r.Input.Expected, meter.Output: r.Output.Expected}, meter.Usage{meter.Input: r.Input.Bound, meter.Output: r.Output.Bound}
	if r.Request.Prompt.Task == tokens.Count { // free at every provider
		likely, most = meter.Usage{meter.UnbilledInput: r.Input.Expected}, meter.Usage{meter.UnbilledInput: r.Input.Bound}
	}
	if cost, err := rates.CostUp(&likely); err == nil && cost.Priced() {
		r.Expected = &cost.Total
	}
	if cost, err := rates.HoldCost(&most); err == nil && cost.Priced() {
		r.Bound = &cost.Total
		if r.Expected != nil {
			*r.Bound = max(*r.Bound, *r.Expected)
		}
	}
}

// priceReading prices what the response told. Provider errors never come here: no
// recorded reply from status 400 up has a usage, and none is billed.
func (m *Meter) priceReading(r *Result, terms pricing.Terms) {
	reading := &r.Reading
	switch {
	case reading.Partial && reading.Terminal:
		r.note("the provider told a part of the usage only")
	case reading.Partial:
		r.note("usage is a running figure: the response was cut before the last one")
	}
	terms.ServiceTier = cmp.Or(reading.ServiceTier, terms.ServiceTier)
	terms.Speed = cmp.Or(reading.Speed, terms.Speed)
	terms.Region = cmp.Or(reading.Region, terms.Region)
	terms.SearchContext = cmp.Or(reading.SearchContext, terms.SearchContext)
	metered := pricing.Metered{Parts: reading.Parts, Models: []string{reading.Model, r.Model}}
	if reading.Usage != nil {
		metered.Usage = *reading.Usage
	}
	if _, ok := m.Book.Rates(r.Provider, reading.Model, terms); reading.Model != "" && (ok || r.Model == "") {
		r.Model = reading.Model
	}
	cost, err := m.Book.Charge(r.Provider, metered, terms)
	if err != nil {
		r.note(unpriced(err.Error()))
		return
	}
	r.Cost, r.Priced = cost, cost.Priced()
	for _, kind := range cost.Unpriced {
		r.note(unpriced(fmt.Sprintf("the price of %s/%s has no rate for %v", r.Provider, r.Model, kind)))
	}
}

// unpriced is the note that a cost is not known, and what to do.
func unpriced(why string) string { return "unpriced: " + why + "; add a Price document" }

// noteUnmetered says why nobody knows what a call used that did not fail.
func (r *Result) noteUnmetered(request *wire.Request) {
	switch {
	case request.Background:
		r.note("unmetered: the job goes on in the background, and the call that fetches it tells its usage")
	case !r.Terminal:
		r.note("unmetered: the response was cut before it told a usage")
	default:
		r.note("unmetered: the response tells no usage")
	}
}

// note adds text to what a reader of the result should know.
func (r *Result) note(text string) {
	if r.Note != "" {
		r.Note += "; "
	}
	r.Note += text
}
