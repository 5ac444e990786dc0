package budget

import (
	"keel/pricing"
	"keel/pricing/meter"
)

// Reported is what a provider said of a call that it answered. Strings are ""
// where it said nothing.
type Reported struct {
	Usage *meter.Usage // nil: nothing was reported, which is not zero
	Parts []meter.Part // what is billed, by model, where that is not Usage at Model
	Raw   []byte       // the provider's own usage object

	Model, ServiceTier, Speed, Region, SearchContext string

	Cost       string // the provider's own figure: dollars as a plain decimal
	ResponseID string // its name for the response
}

// Metered is the usage that was reported: the total, else the sum of the parts,
// which is all that some answers tell (images, seconds); nil where there is neither.
func (r *Reported) Metered() *meter.Usage {
	if r.Usage != nil || r.Parts == nil {
		return r.Usage
	}
	var sum meter.Usage
	for _, part := range r.Parts {
		for kind, n := range part.Usage {
			sum[kind] += n
		}
	}
	return &sum
}

// Price is what the usage of a decision's call cost: at the rates in force when
// it was decided, for the model that the provider reported if that has a price,
// else for the one that the call was sent to, on the terms that it reported, else
// those that were asked for. ok is false where a metered quantity has
// no rate: the cost is then not known, and not zero.
func (c *Config) Price(d *Decision, r *Reported) (cost pricing.Cost, ok bool) {
	b := d.bill(r)
	if b == nil {
		return pricing.Cost{}, false
	}
	return c.charge(d.Org, b)
}

// ChargeUsage fills c with what the provider metered.
func (d *Decision) ChargeUsage(c *Closeout, cfg *Config, r *Reported) {
	c.Metered, c.Usage = ByProvider, r.Metered()
	d.chargeBill(c, cfg, r)
}

func (d *Decision) chargeBill(c *Closeout, cfg *Config, r *Reported) {
	c.Cost, c.CostKnown, c.Bills = pricing.Cost{}, false, nil
	if b := d.bill(r); b != nil {
		c.Cost, c.CostKnown = cfg.charge(d.Org, b)
		c.Bills = []Bill{*b}
	}
}

// ChargeSeen fills c with an estimate of what was used by a call that was cut
// before it told its usage: see EstimateAborted.
func (d *Decision) ChargeSeen(c *Closeout, cfg *Config, r *Reported, outputBytes int64) {
	seen := *r
	seen.Usage, seen.Parts = d.EstimateAborted(r.Usage, outputBytes), nil
	c.Metered, c.Usage = ByEstimate, seen.Usage
	d.chargeBill(c, cfg, &seen)
}

// ChargeHeld fills c for a call that may have been done and left no trace: it
// costs its bound, the most that it can have cost, in every budget, also where
// less was held. A call without a price is left to the ledger, which settles its full hold.
func (d *Decision) ChargeHeld(c *Closeout) {
	c.Metered, c.Usage, c.Bills = ByEstimate, nil, nil
	c.Cost, c.CostKnown = pricing.Cost{Total: d.Estimate.Bound}, d.Estimate.Unpriced == ""
}

// ChargeBeside fills c for a call that reported usage and may be billed for more that nobody could see: it
// costs its bound, and no less than what was reported.
func (d *Decision) ChargeBeside(c *Closeout, cfg *Config, r *Reported) {
	reported, ok := cfg.Price(d, r)
	d.ChargeHeld(c)
	c.Usage = r.Metered()
	if ok && reported.Total > c.Cost.Total {
		c.Cost = reported
	}
}

// Free fills c for a call that no provider bills.
func (d *Decision) Free(c *Closeout) {
	c.Metered, c.Usage, c.Cost, c.CostKnown, c.Bills = NothingSeen, nil, pricing.Cost{}, true, nil
}

// BytesPerToken turns generated text into tokens. Tokenizers of today make
// about four bytes of English a token, and fewer of code and other scripts;
// three errs on the side of more.
const BytesPerToken = 3

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
	generated := outputBytes / BytesPerToken
	if outputBytes%BytesPerToken > 0 {
		generated++
	}
	if bound := d.Estimate.OutputTokensBound; bound > 0 {
		generated = min(generated, bound)
	}
	u[meter.Output] += max(0, generated-u.OutputTokens())
	return &u
}
