package source

import (
	"slices"
	"strings"
	"time"

	"keel/pricing"
	"keel/pricing/meter"
)

// Against returns where a book answers otherwise at a time than prices say: Added
// for a model that the book has no price for, Changed for a rate. Rows that are not in
// force then are left out, and so are globs, because there is no model to ask about.
func Against(book *pricing.Book, prices []pricing.Price, at time.Time) []Change {
	var changes []Change
	for _, p := range inForce(prices, at) {
		rates, ok := book.Rates(p.Provider, p.Model, pricing.Terms{
			At: at, ServiceTier: p.ServiceTier, Region: p.Region, SearchContext: p.SearchContext, Contract: p.Contract,
		})
		if !ok {
			changes = append(changes, Change{Op: Added, Price: head(&p), Rates: p.Tiers})
			continue
		}
		for _, step := range p.Tiers {
			for kind := range meter.Kind(meter.NumKinds) {
				to, stated := step.Rates[kind]
				from, had := rates.Rate(kind, step.Above+1)
				if !stated || had && from == to {
					continue
				}
				c := Change{Op: Changed, Price: head(&p), Above: step.Above, Meter: kind.String(), New: &to}
				if had {
					c.Old = &from
				}
				if had && from != 0 {
					c.Percent = percent(from, to)
				}
				changes = append(changes, c)
			}
		}
	}
	return changes
}

// inForce returns the last row of each model and terms that has begun, in order.
func inForce(prices []pricing.Price, at time.Time) []pricing.Price {
	var rows []pricing.Price
	for _, p := range sorted(prices) {
		if p.EffectiveFrom.After(at) || strings.ContainsAny(p.Model, "*?") || !p.Daily.Contain(at) {
			continue
		}
		if n := len(rows); n > 0 && sameTerms(&rows[n-1], &p) {
			rows[n-1] = p
		} else {
			rows = append(rows, p)
		}
	}
	return slices.Clip(rows)
}

func sameTerms(a, b *pricing.Price) bool {
	x, y := head(a), head(b)
	x.EffectiveFrom, y.EffectiveFrom = time.Time{}, time.Time{}
	x.Daily, y.Daily = pricing.Hours{}, pricing.Hours{}
	return comparePrices(&x, &y) == 0
}
