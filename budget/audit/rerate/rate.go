package rerate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"keel/budget"
	"keel/budget/audit/spend"
	"keel/pricing"
	"keel/pricing/meter"
)

// Reason is why a call can't be rated anew.
type Reason string

// The reasons.
const (
	Free        Reason = "free"        // nothing was used or charged: denied, or an error that the provider answered
	OpenCall    Reason = "open"        // it has not ended
	NoUsage     Reason = "no_usage"    // charged as its bound or hold, because nobody told what was used
	Undecided   Reason = "no_decision" // its decision is not recorded, so nobody knows when and on which terms it was made
	Parts       Reason = "parts"       // several models, or attempts, are billed in one answer, and the record keeps their sum
	NoPrice     Reason = "no_price"    // the other prices have none for the model, or no rate for a meter
	Terms       Reason = "terms"       // the other prices depend on terms that the record does not keep
	Impossible  Reason = "impossible"  // the usage can't be true, or its cost can't be counted
	Unattempted Reason = "attempts"    // attempts of unknown cost are part of the cost
)

// Rating is a call under other prices.
type Rating struct {
	Cost   pricing.Cost
	Kept   pricing.NanoUSD // of Cost: what nobody metered, which stays
	Reason Reason          // "" where it was rated
	Why    string
}

// Rate rates a record under a book. Of a record of before closeouts kept their bills, terms that it does not have are tried. With
// original, the book that it may have been priced by, nil for none, only those count that give what is recorded.
func Rate(r *spend.Record, original, book *pricing.Book) (Rating, error) {
	if r.Outcome != budget.Open && len(r.Bills) > 0 {
		return rateBills(r, book)
	}
	if why, no := unratable(r); no {
		return why, nil
	}
	attempts, err := r.AttemptRows()
	if err != nil {
		return Rating{}, err
	}
	for i := range attempts {
		if a := &attempts[i]; a.Unsure() && a.Cost > 0 {
			return Rating{Reason: Unattempted, Why: fmt.Sprintf("attempt %d was charged %s USD, %s", a.Number, a.Cost, a.Basis)}, nil
		}
	}
	if why, ok := linesSayAll(r); !ok {
		return Rating{Reason: Parts, Why: why}, nil
	}
	facts := plausible(r, original, factsOf(r))
	var found *pricing.Cost
	for _, terms := range facts {
		cost, err := charge(r, book, terms)
		switch {
		case errors.Is(err, pricing.ErrNoPrice):
			return Rating{Reason: NoPrice, Why: fmt.Sprintf("no price for %s/%s", r.Provider, cmp.Or(r.ModelReported, r.ModelRouted))}, nil
		case err != nil:
			return Rating{Reason: Impossible, Why: err.Error()}, nil
		case !cost.Priced():
			return Rating{Reason: NoPrice, Why: fmt.Sprintf("no rate for %v of %s/%s", cost.Unpriced[0], r.Provider, cmp.Or(r.ModelReported, r.ModelRouted))}, nil
		case found != nil && found.Total != cost.Total:
			return Rating{Reason: Terms, Why: fmt.Sprintf("its price depends on %s, which the record does not keep", differ(facts[0], terms))}, nil
		case found == nil:
			found = &cost
		}
	}
	return Rating{Cost: *found}, nil
}

func charge(r *spend.Record, book *pricing.Book, terms pricing.Terms) (pricing.Cost, error) {
	return book.Charge(r.Provider, pricing.Metered{Usage: *r.Usage, Models: []string{r.ModelReported, r.ModelRouted}}, terms)
}

// plausible are the terms under which the original book gives the recorded cost, by the recorded rows; all where it gives it under none.
func plausible(r *spend.Record, original *pricing.Book, all []pricing.Terms) []pricing.Terms {
	if original == nil || len(r.Lines) == 0 {
		return all
	}
	var some []pricing.Terms
	for _, terms := range all {
		cost, err := charge(r, original, terms)
		if err != nil || cost.Total != *r.Cost || len(cost.Lines) != len(r.Lines) {
			continue
		}
		same := true
		for i := range cost.Lines {
			same = same && cost.Lines[i].Price == r.Lines[i].Price && cost.Lines[i].Amount == r.Lines[i].Amount
		}
		if same {
			some = append(some, terms)
		}
	}
	if some == nil {
		return all
	}
	return some
}

func unratable(r *spend.Record) (Rating, bool) {
	switch {
	case r.Outcome == budget.Open:
		return Rating{Reason: OpenCall, Why: "it has not ended"}, true
	case r.Cost == nil:
		return Rating{Reason: NoUsage, Why: "its cost is not known"}, true
	case r.Usage == nil && *r.Cost == 0:
		return Rating{Reason: Free}, true
	case r.DecidedAt == nil:
		return Rating{Reason: Undecided, Why: "its decision is not recorded"}, true
	case r.Usage == nil:
		return Rating{Reason: NoUsage, Why: "nobody told what was used: it is charged as its bound or hold"}, true
	}
	return Rating{}, false
}

// linesSayAll reports whether the usage is what was priced, in one piece: each meter once, with its quantity.
// A call without a price has no lines, and its usage is all there is.
func linesSayAll(r *spend.Record) (why string, ok bool) {
	if len(r.Lines) == 0 {
		if *r.Cost > 0 && r.CostKnown {
			return "its cost has no lines", false
		}
		return "", true
	}
	var lines meter.Usage
	rows := make(map[string]bool)
	for i := range r.Lines {
		l := &r.Lines[i]
		if l.Quantity > 0 && lines[l.Meter] > 0 {
			return fmt.Sprintf("%v is priced twice: several models or attempts", l.Meter), false
		}
		lines[l.Meter] += l.Quantity
		rows[modelOf(l.Price)] = true
	}
	if len(rows) > 1 {
		return "several models are priced", false
	}
	for kind, quantity := range lines {
		if k := meter.Kind(kind); quantity > 0 && r.Usage[kind] != quantity && k != meter.Calls {
			return fmt.Sprintf("%d %v are priced, and %d are recorded as used", quantity, k, r.Usage[kind]), false
		}
	}
	if rest, err := r.Rest(); err != nil || r.CostKnown && rest != 0 {
		return "a part of its cost has no line", false
	}
	return "", true
}

// modelOf is what a price row is of: "list:openai/gpt-5".
func modelOf(price string) string {
	of, _, _ := strings.Cut(price, ";")
	return of
}

// factsOf are the terms on which the call may have been priced: first what the record says, then, where it does
// not say, the values that a price can ask for.
func factsOf(r *spend.Record) []pricing.Terms {
	row := ""
	if len(r.Lines) > 0 {
		row = r.Lines[0].Price
	}
	said := pricing.Terms{At: *r.DecidedAt, ServiceTier: cmp.Or(pricing.Condition(row, "tier"), r.ServiceTier), Region: pricing.Condition(row, "region"), SearchContext: pricing.Condition(row, "search")}
	all := []pricing.Terms{said}
	vary := func(change func(*pricing.Terms)) {
		t := said
		change(&t)
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	if said.Region == "" {
		for _, region := range []string{"us", "eu", "global"} {
			vary(func(t *pricing.Terms) { t.Region = region })
		}
	}
	if r.Usage[meter.WebSearch] > 0 && said.SearchContext == "" {
		for _, size := range []string{"low", "medium", "high"} {
			vary(func(t *pricing.Terms) { t.SearchContext = size })
		}
	}
	// A tier that was asked for and that the row does not name was either priced as standard, or not given.
	if pricing.Condition(row, "tier") == "" && r.ServiceTier != "" {
		vary(func(t *pricing.Terms) { t.ServiceTier = "" })
	}
	return all
}

func differ(a, b pricing.Terms) string {
	switch {
	case a.Region != b.Region:
		return "where the work is done"
	case a.SearchContext != b.SearchContext:
		return "the size of the search context"
	case a.ServiceTier != b.ServiceTier:
		return "the service tier that was given"
	}
	return "terms"
}
