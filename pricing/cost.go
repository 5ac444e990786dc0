package pricing

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"keel/pricing/meter"
)

// Cost is a priced usage.
type Cost struct {
	Total    NanoUSD      // exact sum rounded once: half-even, or up for a hold
	Lines    []Line       // one a priced meter with a non-zero quantity; they sum to Total (largest remainder)
	Unpriced []meter.Kind // metered with a non-zero quantity, but without a rate: Total is then a lower bound and not a cost
}

// Line is one meter's part of a Cost.
type Line struct {
	Meter    meter.Kind
	Quantity int64
	Rate     PicoUSD
	Amount   NanoUSD
}

// Priced reports whether every metered quantity had a rate.
func (c Cost) Priced() bool { return len(c.Unpriced) == 0 }

// Cost prices u exactly, rounded half-even once. Quantities without a rate go
// to Unpriced. It returns an error for a negative quantity and ErrOverflow for
// an amount beyond NanoUSD; it never wraps.
func (r *Rates) Cost(u *meter.Usage) (Cost, error) { return r.cost(u, halfEven) }

// CostUp is Cost rounded up, for money that is set aside.
func (r *Rates) CostUp(u *meter.Usage) (Cost, error) { return r.cost(u, up) }

// HoldCost returns the most that a call with at most these quantities can cost, rounded
// up. Before a call nobody knows what the provider will call a token, so
// text input is taken at the dearest of fresh, cached and cache-written (either
// time), image input included, output at the dearest of the model's output
// meters, and of the context-size steps within reach the dearest counts. Audio
// input and searches are taken as given in u.
//
// An empty Unpriced means that the bound has a rate for every quantity in u.
func (r *Rates) HoldCost(u *meter.Usage) (Cost, error) {
	bound := *u
	bound[meter.Input] += u[meter.CachedInput] + u[meter.CacheWrite5m] + u[meter.CacheWrite1h] + u[meter.InputImage]
	bound[meter.CachedInput], bound[meter.CacheWrite5m], bound[meter.CacheWrite1h], bound[meter.InputImage] = 0, 0, 0, 0
	bound[meter.Output] += u[meter.Reasoning] + u[meter.OutputAudio] + u[meter.OutputImage]
	bound[meter.Reasoning], bound[meter.OutputAudio], bound[meter.OutputImage] = 0, 0, 0
	for kind, quantity := range u {
		if quantity < 0 {
			return Cost{}, negative(meter.Kind(kind), quantity)
		}
	}
	if bound[meter.Input] < 0 || bound[meter.Output] < 0 {
		return Cost{}, ErrOverflow
	}

	rates := r.steps[0].dearest
	for _, step := range r.steps[1:] {
		if bound.InputTokens() > step.above {
			rates.raise(&step.dearest)
		}
	}
	return rates.cost(&bound, up)
}

func (r *Rates) cost(u *meter.Usage, rounding rounding) (Cost, error) {
	return r.at(u.InputTokens()).cost(u, rounding)
}

type rounding bool

const (
	halfEven rounding = false
	up       rounding = true
)

// picoPerNano is how many pico-dollars make a nano-dollar.
const picoPerNano = 1000

func (t *table) cost(u *meter.Usage, rounding rounding) (Cost, error) {
	var (
		c          Cost
		remainders [meter.NumKinds]uint64
		hi, lo     uint64 // exact sum in pico-dollars
		floors     uint64 // sum of the lines, each rounded down
		n          int
	)
	for k, quantity := range u {
		kind := meter.Kind(k)
		if kind == meter.Calls && quantity == 0 && t.has(kind) {
			quantity = 1 // a usage is of one call, and this model bills the call
		}
		if quantity < 0 {
			return Cost{}, negative(kind, quantity)
		}
		if quantity == 0 {
			continue
		}
		if !t.has(kind) {
			c.Unpriced = append(c.Unpriced, kind)
			continue
		}
		rate := t.rates[kind]
		h, l := bits.Mul64(uint64(quantity), uint64(rate))
		if h >= picoPerNano {
			return Cost{}, ErrOverflow
		}
		q, rem := bits.Div64(h, l, picoPerNano)
		if q > math.MaxInt64 {
			return Cost{}, ErrOverflow
		}
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi += h + carry // each h < 1000 and there are few meters: no carry out
		if c.Lines == nil {
			c.Lines = make([]Line, 0, priced(u, t))
		}
		c.Lines = append(c.Lines, Line{Meter: kind, Quantity: quantity, Rate: rate, Amount: NanoUSD(q)})
		remainders[n] = rem
		floors += q // at most NumKinds × MaxInt64; checked against the total below
		n++
	}
	if hi >= picoPerNano {
		return Cost{}, ErrOverflow
	}
	total, rem := bits.Div64(hi, lo, picoPerNano)
	if (rounding == up && rem > 0) || (rounding == halfEven && (rem > picoPerNano/2 || (rem == picoPerNano/2 && total%2 == 1))) {
		total++
	}
	if total > math.MaxInt64 {
		return Cost{}, ErrOverflow
	}
	c.Total = NanoUSD(total)
	// What the lines miss is less than one nano-dollar each: the largest
	// remainders get it, the earlier meter where they are equal.
	for missing := total - floors; missing > 0; missing-- {
		rest := remainders[:n]
		largest := slices.Index(rest, slices.Max(rest))
		c.Lines[largest].Amount++
		remainders[largest] = 0
	}
	return c, nil
}

// priced counts the lines that t makes of u.
func priced(u *meter.Usage, t *table) int {
	n := 0
	for kind, quantity := range u {
		if t.has(meter.Kind(kind)) && (quantity > 0 || meter.Kind(kind) == meter.Calls) {
			n++
		}
	}
	return n
}

func negative(kind meter.Kind, quantity int64) error {
	return fmt.Errorf("usage has a negative quantity: %d of %v", quantity, kind)
}
