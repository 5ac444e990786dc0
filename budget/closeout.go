package budget

import (
	"keel/pricing"
	"keel/pricing/meter"
)

// Price is what the usage of a decision's call cost: at the rates in force when
// it was decided, for the model that the provider reported if that has a price,
// else for the one that the call was sent to. serviceTier is as
// reported; "" for the one that was asked for. ok is false where a metered quantity has
// no rate: the cost is then not known, and not zero.
func (c *Config) Price(d *Decision, u *meter.Usage, model, serviceTier string) (cost pricing.Cost, ok bool) {
	if u == nil {
		return pricing.Cost{}, false
	}
	if serviceTier == "" {
		serviceTier = d.ServiceTier
	}
	book, terms := c.Book(d.Org), terms(&d.Call, serviceTier)
	var rates *pricing.Rates
	if model != "" {
		rates, ok = book.Rates(d.RoutedProvider, model, terms)
	}
	if !ok {
		rates, ok = book.Rates(d.RoutedProvider, d.RoutedModel, terms)
	}
	if !ok {
		return pricing.Cost{}, false
	}
	cost, err := rates.Cost(u)
	return cost, err == nil && cost.Priced()
}

// ChargeUsage fills c with what the provider metered. c.Model is what it reported.
func (d *Decision) ChargeUsage(c *Closeout, cfg *Config, u *meter.Usage, serviceTier string) {
	c.Metered, c.Usage = ByProvider, u
	c.Cost, c.CostKnown = cfg.Price(d, u, c.Model, serviceTier)
}

// ChargeSeen fills c with an estimate of what was used by a call that was cut
// before it told its usage: see EstimateAborted.
func (d *Decision) ChargeSeen(c *Closeout, cfg *Config, seen *meter.Usage, outputBytes int64, serviceTier string) {
	c.Metered, c.Usage = ByEstimate, d.EstimateAborted(seen, outputBytes)
	c.Cost, c.CostKnown = cfg.Price(d, c.Usage, c.Model, serviceTier)
}

// ChargeHeld fills c for a call that may have been done and left no trace: it
// costs its bound, the most that it can have cost, in every budget, also where
// less was held. A call without a price is left to the ledger, which settles its full hold.
func (d *Decision) ChargeHeld(c *Closeout) {
	c.Metered, c.Usage = ByEstimate, nil
	c.Cost, c.CostKnown = pricing.Cost{Total: d.Estimate.Bound}, d.Estimate.Unpriced == ""
}

// Free fills c for a call that no provider bills.
func (d *Decision) Free(c *Closeout) {
	c.Metered, c.Usage, c.Cost, c.CostKnown = NothingSeen, nil, pricing.Cost{}, true
}

// bytesPerToken turns generated text into tokens. Tokenizers of today make
// about four bytes of English a token, and fewer of code and other scripts;
// three errs on the side of more.
const bytesPerToken = 3

// EstimateAborted estimates the usage of a call that was cut. Providers bill
// what was generated until they notice.
//
// Input is what a running usage said, else the likely number of the
// estimate, all of it uncached. Output is the larger of what a running usage
// said and one token for every three bytes of generated text seen, but not more
// than the bound that was held, unless the provider itself said more. Reasoning
// that was never shown can't be seen; where nothing at all came back, ChargeHeld is right.
func (d *Decision) EstimateAborted(seen *meter.Usage, outputBytes int64) *meter.Usage {
	var u meter.Usage
	if seen != nil {
		u = *seen
	}
	if u.InputTokens() == 0 {
		u[meter.Input] = d.Estimate.InputTokens
	}
	generated := outputBytes / bytesPerToken
	if outputBytes%bytesPerToken > 0 {
		generated++
	}
	if bound := d.Estimate.OutputTokensBound; bound > 0 {
		generated = min(generated, bound)
	}
	u[meter.Output] += max(0, generated-u.OutputTokens())
	return &u
}
