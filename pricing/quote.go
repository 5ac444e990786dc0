package pricing

import (
	"math"
	"math/bits"

	"keel/pricing/meter"
)

// A Quote is what a call is taken to cost before it is made: a Cost without its lines.
// It is rounded up, because money is set aside by it.
type Quote struct {
	Total    NanoUSD
	Unpriced []meter.Kind // as Cost.Unpriced
}

// Priced reports whether every quantity had a rate.
func (q Quote) Priced() bool { return len(q.Unpriced) == 0 }

// CostUp is the total of Cost, rounded up.
func (r *Rates) CostUp(u *meter.Usage) (Quote, error) {
	return r.at(u.InputTokens()).quote(u, r)
}

// HoldCost returns the most that a call with at most these quantities can cost, rounded
// up. Before a call nobody knows what the provider will call a token, so
// input is taken at the dearest of fresh, cached and cache-written (either
// time), images and video included, output at the dearest of the model's output
// meters, and of the context-size steps within reach the dearest counts. Audio
// input and what is not tokens are taken as given in u.
//
// An empty Unpriced means that the bound has a rate for every quantity in u.
func (r *Rates) HoldCost(u *meter.Usage) (Quote, error) {
	bound := *u
	fold := func(into meter.Kind, kinds []meter.Kind) {
		for _, kind := range kinds {
			bound[into] += u[kind]
			bound[kind] = 0
		}
	}
	fold(meter.Input, heldAsInput)
	fold(meter.Output, heldAsOutput)
	for kind, quantity := range u {
		if quantity < 0 {
			return Quote{}, negative(meter.Kind(kind), quantity)
		}
	}
	if bound[meter.Input] < 0 || bound[meter.Output] < 0 {
		return Quote{}, ErrOverflow
	}

	first := &r.steps[0].dearest
	if len(r.steps) == 1 || bound.InputTokens() <= r.steps[1].above {
		return first.quote(&bound, r)
	}
	rates := *first
	for _, step := range r.steps[1:] {
		if bound.InputTokens() > step.above {
			rates.raise(&step.dearest)
		}
	}
	return rates.quote(&bound, r)
}

// quote adds up what cost would, and allocates nothing for a price in dollars that has a rate for everything.
func (t *table) quote(u *meter.Usage, r *Rates) (Quote, error) {
	if r.exchange != nil {
		c, err := t.cost(u, up, r)
		return Quote{c.Total, c.Unpriced}, err
	}
	var q Quote
	var hi, lo, carry uint64 // exact sum in pico-dollars
	for k, quantity := range u {
		kind := meter.Kind(k)
		quantity, billed, err := t.billed(kind, quantity)
		switch {
		case err != nil:
			return Quote{}, err
		case !billed:
		case !t.has(kind):
			q.Unpriced = append(q.Unpriced, kind)
		default:
			h, l := bits.Mul64(uint64(quantity), uint64(t.rates[kind]))
			if h >= picoPerNano {
				return Quote{}, ErrOverflow
			}
			lo, carry = bits.Add64(lo, l, 0)
			hi += h + carry
		}
	}
	if hi >= picoPerNano {
		return Quote{}, ErrOverflow
	}
	total, rest := bits.Div64(hi, lo, picoPerNano)
	if rest > 0 {
		total++
	}
	if total > math.MaxInt64 {
		return Quote{}, ErrOverflow
	}
	q.Total = NanoUSD(total)
	return q, nil
}
