package budget

import (
	"cmp"
	"slices"
)

// This file is what the modes of a route make of its targets.

// preferCheap orders the targets of enough quality by expected cost. One that is slow is left out as long as another is
// well, and one that is sick as long as another is not. Where none has a price it keeps the order: the budgets
// say whether that may be.
func (l *deliberation) preferCheap() {
	enough := slices.DeleteFunc(append(l.cheap, l.usable...), func(c *candidate) bool {
		if c.quality < l.route.minQuality {
			c.note = "its quality is below " + l.route.MinQuality
		}
		return c.note != ""
	})
	enough = pricedFirst(enough)
	for _, ill := range []func(c *candidate) bool{
		func(c *candidate) bool { return c.sick },
		func(c *candidate) bool { return c.slow },
	} {
		if slices.ContainsFunc(enough, func(c *candidate) bool { return !ill(c) }) {
			enough = slices.DeleteFunc(enough, ill)
		}
	}
	slices.SortStableFunc(enough, byCost)
	l.cheap = enough
}

// enforce orders targets for a budget that wins: the cheapest that fits, whatever its quality. Those
// that are sick come last.
func (l *deliberation) enforce() {
	all := pricedFirst(append(l.budgeted, l.usable...))
	slices.SortStableFunc(all, func(a, b *candidate) int {
		if a.sick != b.sick {
			if a.sick {
				return 1
			}
			return -1
		}
		return byCost(a, b)
	})
	l.budgeted = all
}

// pricedFirst drops candidates without a price, unless none has one.
func pricedFirst(all []*candidate) []*candidate {
	if !slices.ContainsFunc(all, func(c *candidate) bool { return c.rates != nil }) {
		return all
	}
	return slices.DeleteFunc(all, func(c *candidate) bool {
		if c.rates == nil {
			c.note = c.estimate.Unpriced
		}
		return c.rates == nil
	})
}

func byCost(a, b *candidate) int { return cmp.Compare(a.estimate.Expected, b.estimate.Expected) }

// choices are what each mode takes of a route's targets, beside what was asked for.
func choices(asked *candidate, cheap, budgeted []*candidate) []Choice {
	all := append(make([]Choice, 0, 3), asked.choice(ByAsked))
	if len(cheap) > 0 {
		all = append(all, cheap[0].choice(ByPreferCheap))
	}
	if len(budgeted) > 0 {
		all = append(all, budgeted[0].choice(ByEnforce))
	}
	return all
}

func (c *candidate) choice(by ChoiceBy) Choice {
	return Choice{By: by, Provider: c.provider, Model: c.model, Expected: c.estimate.Expected, Bound: c.estimate.Bound, Unpriced: c.estimate.Unpriced}
}

// observeRoute records what the route would do.
func (l *deliberation) observeRoute(cheap []*candidate) {
	rule := Rule{Kind: KindRoute, Name: l.route.Name, Version: l.route.Version, Effect: "would find no target", Saw: l.sawTargets()}
	if len(cheap) > 0 {
		rule.Effect = "would route to " + cheap[0].name()
	}
	l.draft.Rules = append(l.draft.Rules, rule)
}

// sawTargets are the numbers that a route looks at, and why it left a target out.
func (l *deliberation) sawTargets() string {
	var room [512]byte
	saw := room[:0]
	for _, c := range l.candidates {
		if c.rates == nil && c.skipped == "" {
			continue
		}
		if len(saw) > 0 {
			saw = append(saw, ", "...)
		}
		saw = append(append(append(saw, c.provider...), '/'), c.model...)
		if c.skipped != "" {
			saw = append(append(append(saw, " ("...), c.skipped...), ')')
			continue
		}
		saw = append(c.estimate.Expected.Append(append(saw, ' ')), " USD"...)
		if c.saw != "" {
			saw = append(append(append(saw, " ("...), c.saw...), ')')
		}
	}
	return string(saw)
}
