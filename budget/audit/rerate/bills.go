package rerate

import (
	"errors"
	"fmt"

	"keel/budget/audit/spend"
	"keel/pricing"
)

// rateBills rates a call whose closeout keeps what it was priced by: each bill is charged by the book, on its own terms.
// What the cost is beyond them, attempts that nobody metered, stays what it is.
func rateBills(r *spend.Record, book *pricing.Book) (Rating, error) {
	kept, why, err := beyondBills(r)
	switch {
	case err != nil:
		return Rating{}, err
	case why != "":
		return Rating{Reason: Parts, Why: why}, nil
	}
	rating := Rating{Kept: kept}
	rating.Cost.Total = kept
	for i := range r.Bills {
		b := &r.Bills[i]
		cost, err := b.Charge(book)
		switch {
		case errors.Is(err, pricing.ErrNoPrice):
			return Rating{Reason: NoPrice, Why: err.Error()}, nil
		case err != nil:
			return Rating{Reason: Impossible, Why: err.Error()}, nil
		case !cost.Priced():
			return Rating{Reason: NoPrice, Why: fmt.Sprintf("no rate for %v of %s/%s", cost.Unpriced[0], b.Provider, b.Model)}, nil
		}
		if rating.Cost.Total, err = rating.Cost.Total.Add(cost.Total); err != nil {
			return Rating{Reason: Impossible, Why: err.Error()}, nil
		}
		rating.Cost.Lines = append(rating.Cost.Lines, cost.Lines...)
	}
	return rating, nil
}

// beyondBills is what of the cost no bill says. Of a cost that was not known, which is what was held, all is given up
// for what the bills say.
func beyondBills(r *spend.Record) (kept pricing.NanoUSD, why string, err error) {
	attempts, err := r.AttemptRows()
	if err != nil {
		return 0, "", err
	}
	unmetered := pricing.NanoUSD(0)
	for i := range attempts {
		if a := &attempts[i]; a.Usage == nil {
			if unmetered, err = unmetered.Add(a.Cost); err != nil {
				return 0, "", err
			}
		}
	}
	if !r.CostKnown || r.Cost == nil {
		return unmetered, "", nil
	}
	kept = *r.Cost
	for i := range r.Bills {
		kept -= r.Bills[i].Cost
	}
	if kept != unmetered {
		return 0, fmt.Sprintf("its bills come to %s USD less than its cost, and attempts that nobody metered to %s", kept, unmetered), nil
	}
	return kept, "", nil
}
