package pricing

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"

	"keel/pricing/meter"
)

// Cost is a priced usage.
type Cost struct {
	Total    NanoUSD      // exact sum rounded once: half-even, or up for a hold
	Lines    []Line       // one a priced meter with a non-zero quantity; they sum to Total (largest remainder)
	Unpriced []meter.Kind // metered with a non-zero quantity, but without a rate: Total is then a lower bound and not a cost
	Exchange *Exchange    // the rate that turned the price's currency into USD; nil where the price is in USD
}

// Line is one meter's part of a Cost.
type Line struct {
	Meter    meter.Kind
	Quantity int64
	Rate     PicoUSD // in the currency of the price: see Cost.Exchange
	Amount   NanoUSD
	Price    string // Rates.ID of the row that has the rate
}

// Priced reports whether every metered quantity had a rate.
func (c Cost) Priced() bool { return len(c.Unpriced) == 0 }

// Cost prices u exactly, rounded half-even once. Quantities without a rate go
// to Unpriced. It returns an error for a negative quantity and ErrOverflow for
// an amount beyond NanoUSD; it never wraps.
func (r *Rates) Cost(u *meter.Usage) (Cost, error) {
	return r.at(u.InputTokens()).cost(u, halfEven, r)
}

type rounding bool

const (
	halfEven rounding = false
	up       rounding = true
)

// picoPerNano is how many pico-dollars make a nano-dollar.
const picoPerNano = 1000

// cost prices u by t, a table of r.
func (t *table) cost(u *meter.Usage, rounding rounding, r *Rates) (Cost, error) {
	c, err := t.bill(u, r.ID)
	if err != nil {
		return Cost{}, err
	}
	if r.exchange != nil {
		c.Exchange = r.exchange
		err = c.exchanged(rounding)
	} else {
		err = c.amounts(rounding)
	}
	if err != nil {
		return Cost{}, err
	}
	return c, nil
}

// bill returns the lines of u, without amounts, and what has no rate.
func (t *table) bill(u *meter.Usage, price string) (Cost, error) {
	var c Cost
	for k, quantity := range u {
		kind := meter.Kind(k)
		quantity, billed, err := t.billed(kind, quantity)
		switch {
		case err != nil:
			return Cost{}, err
		case !billed:
		case !t.has(kind):
			c.Unpriced = append(c.Unpriced, kind)
		default:
			if c.Lines == nil {
				c.Lines = make([]Line, 0, t.priced(u))
			}
			c.Lines = append(c.Lines, Line{Meter: kind, Quantity: quantity, Rate: t.rates[kind], Price: price})
		}
	}
	return c, nil
}

// billed returns how much of a quantity is billed, if t has a rate for it.
func (t *table) billed(kind meter.Kind, quantity int64) (_ int64, billed bool, err error) {
	if quantity < 0 {
		return 0, false, negative(kind, quantity)
	}
	if kind == meter.Calls && quantity == 0 && t.has(kind) {
		quantity = 1 // a usage is of one call, and this model bills the call
	}
	return quantity, quantity > 0 && !unbilled(kind), nil // what is not is counted by the provider and never billed
}

// priced counts the lines that t makes of u.
func (t *table) priced(u *meter.Usage) int {
	n := 0
	for kind, quantity := range u {
		if t.has(meter.Kind(kind)) && (quantity > 0 || meter.Kind(kind) == meter.Calls) {
			n++
		}
	}
	return n
}

// unbilled reports whether a meter is one that the provider counts and does not bill.
func unbilled(kind meter.Kind) bool {
	return kind == meter.UnbilledInput || kind == meter.UnbilledCachedInput || kind == meter.UnbilledOutput
}

// amounts fills the total and the amounts of the lines.
func (c *Cost) amounts(rounding rounding) error {
	var (
		remainders [meter.NumKinds]uint64
		hi, lo     uint64 // exact sum in pico-dollars
		floors     uint64 // sum of the lines, each rounded down
	)
	for i := range c.Lines {
		line := &c.Lines[i]
		h, l := bits.Mul64(uint64(line.Quantity), uint64(line.Rate))
		if h >= picoPerNano {
			return ErrOverflow
		}
		q, rem := bits.Div64(h, l, picoPerNano)
		if q > math.MaxInt64 {
			return ErrOverflow
		}
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi += h + carry // each h < 1000 and there are few meters: no carry out
		line.Amount = NanoUSD(q)
		remainders[i] = rem
		floors += q // at most NumKinds × MaxInt64; checked against the total below
	}
	if hi >= picoPerNano {
		return ErrOverflow
	}
	total, rem := bits.Div64(hi, lo, picoPerNano)
	if (rounding == up && rem > 0) || (rounding == halfEven && (rem > picoPerNano/2 || (rem == picoPerNano/2 && total%2 == 1))) {
		total++
	}
	if total > math.MaxInt64 {
		return ErrOverflow
	}
	c.Total = NanoUSD(total)
	// What the lines miss is less than one nano-dollar each: the largest
	// remainders get it, the earlier meter where they are equal.
	for missing := total - floors; missing > 0; missing-- {
		rest := remainders[:len(c.Lines)]
		largest := slices.Index(rest, slices.Max(rest))
		c.Lines[largest].Amount++
		remainders[largest] = 0
	}
	return nil
}

// exchanged is amounts for lines in another currency: the sum is exchanged and rounded once.
func (c *Cost) exchanged(rounding rounding) error {
	numerator, denominator := c.Exchange.perUnit()
	denominator.Mul(denominator, big.NewInt(picoPerNano))
	sum, floors := new(big.Int), new(big.Int)
	remainders := make([]*big.Int, len(c.Lines))
	for i := range c.Lines {
		line := &c.Lines[i]
		exact := new(big.Int).Mul(big.NewInt(line.Quantity), big.NewInt(int64(line.Rate)))
		sum.Add(sum, exact.Mul(exact, numerator))
		q, rem := new(big.Int).QuoRem(exact, denominator, new(big.Int))
		if !q.IsInt64() {
			return ErrOverflow
		}
		line.Amount, remainders[i] = NanoUSD(q.Int64()), rem
		floors.Add(floors, q)
	}
	total := divide(sum, denominator, rounding)
	if !total.IsInt64() {
		return ErrOverflow
	}
	c.Total = NanoUSD(total.Int64())
	for missing := floors.Sub(total, floors).Int64(); missing > 0; missing-- {
		largest := slices.Index(remainders, slices.MaxFunc(remainders, (*big.Int).Cmp))
		c.Lines[largest].Amount++
		remainders[largest] = new(big.Int)
	}
	return nil
}

// add appends another bill. Bills in two currencies keep the exchange rate of the first;
// the other one stays named in the Price of its lines.
func (c *Cost) add(other *Cost) error {
	total, err := c.Total.Add(other.Total)
	if err != nil {
		return err
	}
	c.Total = total
	c.Lines = append(c.Lines, other.Lines...)
	for _, kind := range other.Unpriced {
		if !slices.Contains(c.Unpriced, kind) {
			c.Unpriced = append(c.Unpriced, kind)
		}
	}
	if c.Exchange == nil {
		c.Exchange = other.Exchange
	}
	return nil
}

func negative(kind meter.Kind, quantity int64) error {
	return fmt.Errorf("usage has a negative quantity: %d of %v", quantity, kind)
}
