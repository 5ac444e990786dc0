package reconcile

import (
	"fmt"
	"math/big"

	"keel/pricing"
)

// explain fills what a cell's variance is made of. shift is what another zone would add, nil without one.
func (c *comparison) explain(k cellKey, cell *Cell, shift *pricing.NanoUSD, knows Knows) {
	e := &explanation{cell: cell}
	if cell.quantity != nil {
		q := nearest(cell.quantity)
		cell.StatedQuantity = (*int64)(&q)
	}
	if !c.has.cost {
		return // quantities alone: they are shown, and money is not made of them
	}
	var stated pricing.NanoUSD
	if cell.cost != nil {
		stated = pricing.NanoUSD(nearest(cell.cost))
	}
	cell.Stated, cell.Variance = &stated, stated-cell.Recorded
	e.left = cell.Variance
	if shift != nil && *shift != 0 {
		e.take(TimeZone, *shift, "what is recorded on this day where days begin elsewhere")
	}
	tolerance := c.tolerance(cell)
	switch {
	case abs(e.left) <= tolerance:
		e.rest(Rounding, "")
	case !cell.inKeel && shift == nil:
		switch {
		case c.estimated[cellKey{k.day, k.model, k.account, ""}] > 0:
			e.rest(Estimated, "other meters of the day are recorded by an estimate")
		case k.model != "" && !knows(cell.Model):
			e.rest(UnknownModel, cell.Model+" has no price, and no call to it is recorded")
		case c.unmetered[k.day] > 0:
			e.rest(UnmeteredCalls, fmt.Sprintf("%d calls of the day passed without being read", c.unmetered[k.day]))
		default:
			e.rest(MissingInKeel, "no such call is recorded")
		}
	case !cell.stated && shift == nil:
		e.upTo(Estimated, -cell.estimated, "recorded by an estimate")
		e.rest(MissingAtProvider, "recorded, and not on the statement")
	case cell.quantity != nil && cell.quantity.Sign() > 0 && cell.RecordedQuantity > 0:
		c.byQuantity(k, e, tolerance)
	default:
		c.byCost(e)
	}
	e.rest(Unexplained, "")
	cell.Causes = e.causes
}

// byQuantity takes a variance apart: what was used more or less, at the stated rate, and the rest is the rate.
func (c *comparison) byQuantity(k cellKey, e *explanation, tolerance pricing.NanoUSD) {
	cell := e.cell
	recorded := new(big.Rat).SetInt64(cell.RecordedQuantity)
	more := new(big.Rat).Sub(cell.quantity, recorded)
	cost := cell.cost
	if cost == nil {
		cost = new(big.Rat)
	}
	byUse := pricing.NanoUSD(nearest(new(big.Rat).Quo(new(big.Rat).Mul(more, cost), cell.quantity)))
	if byUse != 0 {
		note := fmt.Sprintf("%s stated, %d recorded", cell.quantity.FloatString(0), cell.RecordedQuantity)
		switch {
		case c.estimated[cellKey{k.day, k.model, k.account, ""}] > 0:
			e.take(Estimated, byUse, note)
		case byUse > 0 && c.unmetered[k.day] > 0:
			e.take(UnmeteredCalls, byUse, note)
		case byUse > 0:
			e.take(MissingInKeel, byUse, note)
		default:
			e.take(MissingAtProvider, byUse, note)
		}
	}
	if abs(e.left) <= tolerance {
		e.rest(Rounding, "")
		return
	}
	e.rest(PriceDifference, "the same quantity at another rate")
}

// byCost explains a cell of which only money is known.
func (c *comparison) byCost(e *explanation) {
	switch cell := e.cell; {
	case cell.estimated > 0 && abs(e.left) <= cell.estimated:
		e.rest(Estimated, fmt.Sprintf("%s USD of it are recorded by an estimate", cell.estimated))
	case cell.unpriced > 0:
		e.rest(Unpriced, fmt.Sprintf("%d calls are recorded as their hold, because a rate is missing", cell.unpriced))
	case c.unmetered[cell.Day] > 0 && e.left > 0:
		e.rest(UnmeteredCalls, fmt.Sprintf("%d calls of the day passed without being read", c.unmetered[cell.Day]))
	}
}

// tolerance is what rounding can make: half of the last decimal of each stated line, and half a nano-dollar of each call.
func (c *comparison) tolerance(cell *Cell) pricing.NanoUSD {
	if cell.lines == 0 {
		return 0
	}
	step := pricing.NanoUSD(1)
	for range max(0, 9-cell.places) {
		step *= 10
	}
	return min(step, 1_000_000_000)*pricing.NanoUSD(cell.lines)/2 + pricing.NanoUSD(cell.calls+1)
}

type explanation struct {
	cell   *Cell
	left   pricing.NanoUSD
	causes []Difference
}

func (e *explanation) take(cause Cause, amount pricing.NanoUSD, note string) {
	if amount == 0 {
		return
	}
	e.causes = append(e.causes, Difference{cause, amount, note})
	e.left -= amount
}

// upTo takes amount, but no more than is left of its sign.
func (e *explanation) upTo(cause Cause, amount pricing.NanoUSD, note string) {
	if amount < 0 && e.left < 0 {
		e.take(cause, max(amount, e.left), note)
	} else if amount > 0 && e.left > 0 {
		e.take(cause, min(amount, e.left), note)
	}
}

func (e *explanation) rest(cause Cause, note string) { e.take(cause, e.left, note) }

func abs(n pricing.NanoUSD) pricing.NanoUSD { return max(n, -n) }

// nearest rounds half away from zero; what is beyond 64 bits is the largest.
func nearest(r *big.Rat) int64 {
	twice := new(big.Int).Mul(r.Num(), big.NewInt(2))
	if r.Sign() >= 0 {
		twice.Add(twice, r.Denom())
	} else {
		twice.Sub(twice, r.Denom())
	}
	n := twice.Quo(twice, new(big.Int).Mul(r.Denom(), big.NewInt(2)))
	if !n.IsInt64() {
		if n.Sign() > 0 {
			return 1<<62 - 1
		}
		return -(1<<62 - 1)
	}
	return n.Int64()
}
