package source

import (
	"maps"
	"slices"
	"time"

	"keel/pricing"
	"keel/pricing/meter"
)

// dated is one price of a model: from a day on, or at a time of day.
type dated struct {
	from  time.Time
	daily pricing.Hours
	rates curves
}

// curves are rates by the number of input tokens that they start above.
type curves map[meter.Kind]map[int64]pricing.PicoUSD

// add appends a row.
func (in *Imported) add(provider, model, tier string, d dated) {
	p := pricing.Price{Provider: provider, Model: model, ServiceTier: tier, EffectiveFrom: d.from, Daily: d.daily, Tiers: d.rates.steps()}
	if err := p.Check(); err != nil {
		in.skipWhole(provider, model, "", "%v", err)
		return
	}
	in.Prices = append(in.Prices, p)
}

// steps turns curves into rates by step: each meter at the last of its own that is reached.
func (c curves) steps() []pricing.Step {
	var starts []int64
	for _, curve := range c {
		for start := range curve {
			starts = append(starts, start)
		}
	}
	slices.Sort(starts)
	var steps []pricing.Step
	for _, start := range slices.Compact(starts) {
		step := pricing.Step{Above: start, Rates: map[meter.Kind]pricing.PicoUSD{}}
		for kind, curve := range c {
			reached := int64(-1)
			for above := range curve {
				if above <= start && above > reached {
					reached = above
				}
			}
			if reached >= 0 {
				step.Rates[kind] = curve[reached]
			}
		}
		steps = append(steps, step)
	}
	return steps
}

// over returns c with what it does not state taken from below: a tier that lists no
// rate for long input is taken at the standard one, which is more.
func (c curves) over(below curves) curves {
	all := curves{}
	for _, layer := range []curves{below, c} {
		for kind, curve := range layer {
			if all[kind] == nil {
				all[kind] = map[int64]pricing.PicoUSD{}
			}
			maps.Copy(all[kind], curve)
		}
	}
	return all
}

func (c curves) anyRate() bool {
	for _, curve := range c {
		for _, rate := range curve {
			if rate != 0 {
				return true
			}
		}
	}
	return false
}
