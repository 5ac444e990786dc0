package budget

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"keel/pricing"
)

// A candidate is a target that the call could go to.
type candidate struct {
	provider, model string
	quality         int64
	estimate        Estimate
	rates           *pricing.Rates // nil: the model has no price
	skipped         string         // why it is out of the question
}

func (c *candidate) name() string { return c.provider + "/" + c.model }

// pressure is a budget that wants its calls to go to the cheapest target.
type pressure struct {
	*activeBudget
	effect, saw string
}

// choose lists the targets to try, in order: the first usable one of a route,
// or every good enough one from the cheapest up where the route or a budget
// prefers that.
func (l *deliberation) choose() ([]*candidate, *Denial) {
	if l.route == nil {
		l.route = l.org.routeFor(l.call.Model)
	}
	asked := l.estimated(l.call.Provider, l.call.Model)
	if l.route == nil {
		l.candidates = []*candidate{asked}
		return l.candidates, nil
	}
	for i, target := range l.route.Targets {
		c := l.estimated(target.Provider, target.Model)
		c.quality = l.route.qualities[i]
		if l.call.Routable != nil && !l.call.Routable(c.provider) {
			c.skipped = "its provider does not speak " + l.call.API
		}
		l.candidates = append(l.candidates, c)
	}
	usable := slices.DeleteFunc(slices.Clone(l.candidates), func(c *candidate) bool { return c.skipped != "" })

	if l.route.Mode == Observe {
		l.observeRoute(usable)
		return []*candidate{asked}, nil
	}
	if len(usable) == 0 {
		return nil, l.noTarget(fmt.Sprintf("no provider of its targets speaks %s", l.call.API))
	}
	if l.findPressure(usable[0]); l.route.Mode != PreferCheap && len(l.pressed) == 0 {
		return usable[:1], nil
	}
	if usable = l.cheapestFirst(usable); len(usable) == 0 {
		return nil, l.noTarget(fmt.Sprintf("no target that can be used has a quality of %s or more", l.route.MinQuality))
	}
	return usable, nil
}

// routeFor returns the route that takes a model: one that names it, else the
// one whose pattern spells out most of it, else the first by name.
func (o *organisation) routeFor(model string) *activeRoute {
	var best *activeRoute
	var by glob
	for _, r := range o.routes {
		for _, g := range r.models {
			if g.match(model) && (best == nil || g.moreSpecific(by)) {
				best, by = r, g
			}
		}
	}
	return best
}

// cheapestFirst keeps candidates of enough quality that have a price, ordered
// by expected cost; equal ones stay in the order of the route. Where none has a price it
// keeps the order: the budgets say whether that may be.
func (l *deliberation) cheapestFirst(usable []*candidate) []*candidate {
	var enough, priced []*candidate
	for _, c := range usable {
		if c.quality < l.route.minQuality {
			c.skipped = "its quality is below " + l.route.MinQuality
			continue
		}
		enough = append(enough, c)
		if c.rates != nil {
			priced = append(priced, c)
		}
	}
	if len(priced) == 0 {
		return enough
	}
	for _, c := range enough {
		if c.rates == nil {
			c.skipped = c.estimate.Unpriced
		}
	}
	slices.SortStableFunc(priced, func(a, b *candidate) int { return cmp.Compare(a.estimate.Expected, b.estimate.Expected) })
	return priced
}

// observeRoute records what the route would do.
func (l *deliberation) observeRoute(usable []*candidate) {
	rule := Rule{Kind: KindRoute, Name: l.route.Name, Version: l.route.Version, Effect: "would find no target"}
	if len(usable) > 0 {
		rule.Effect = "would route to " + usable[0].name()
	}
	l.draft.Rules = append(l.draft.Rules, rule)
}

// recordRoute records where the route sends the call, and what it saw.
func (l *deliberation) recordRoute(d *Decision, c *candidate) {
	if l.route == nil || l.route.Mode == Observe {
		return
	}
	rule := Rule{Kind: KindRoute, Name: l.route.Name, Version: l.route.Version, Effect: "routed to " + c.name()}
	if l.route.Mode == PreferCheap || len(l.pressed) > 0 {
		var costs []string
		for _, c := range l.candidates {
			if c.rates != nil && c.skipped == "" {
				costs = append(costs, fmt.Sprintf("%s %s USD", c.name(), c.estimate.Expected))
			}
		}
		rule.Saw = strings.Join(costs, ", ")
	}
	d.Rules = append(d.Rules, rule)
}

// findPressure asks the budgets that the call falls under at its first target
// whether they want it to go to the cheapest.
func (l *deliberation) findPressure(first *candidate) {
	t := l.traits(first)
	for _, b := range l.org.matching(nil, &t) {
		if effect, saw := b.prefersCheap(l.ledger.Standing(b.account(&t, l.call.At))); effect != "" {
			l.pressed = append(l.pressed, pressure{b, effect, saw})
		}
	}
}

// prefersCheap says whether the budget wants cheap targets now: from its
// prefer-cheap tier on, or always in mode prefer-cheap without such a tier.
func (b *activeBudget) prefersCheap(s Standing) (effect, saw string) {
	if b.Mode == Observe {
		return "", ""
	}
	tiered := false
	for _, tier := range b.Tiers {
		if tier.Do != EffectPreferCheap {
			continue
		}
		if tiered = true; b.reached(tier, s) {
			return fmt.Sprintf("preferred cheap at %d%%", tier.AtPercent), b.saw(s)
		}
	}
	if b.Mode == PreferCheap && !tiered {
		return "preferred cheap", b.saw(s)
	}
	return "", ""
}

func (l *deliberation) noTarget(why string) *Denial {
	l.draft.Rules = append(l.draft.Rules, Rule{Kind: KindRoute, Name: l.route.Name, Version: l.route.Version, Effect: "denied: no target"})
	return &Denial{
		Status: http.StatusForbidden, Code: "no_target",
		Message: fmt.Sprintf("route %s has no target for model %s: %s; ask for another model, or add a target (decision %s)", l.route.Name, l.call.Model, why, l.call.ID),
		Details: l.details("route", l.route.Name),
	}
}

func (l *deliberation) traits(c *candidate) traits {
	t := traits{subject: l.call.Subject, provider: c.provider, model: c.model, api: l.call.API}
	if l.route != nil && l.route.Mode != Observe {
		t.route = l.route.Name
	}
	return t
}

// fillAlternatives tells a dry run what every other target would have cost.
func (l *deliberation) fillAlternatives(d *Decision) {
	if !l.dry || len(l.candidates) == 0 {
		return
	}
	all := l.candidates
	if !slices.ContainsFunc(all, func(c *candidate) bool { return c.provider == l.call.Provider && c.model == l.call.Model }) {
		asked := l.estimated(l.call.Provider, l.call.Model)
		if d.Route != "" {
			asked.skipped = "route " + d.Route + " does not lead there"
		}
		all = append(slices.Clone(all), asked)
	}
	for _, c := range all {
		if c.provider == d.RoutedProvider && c.model == d.RoutedModel {
			continue
		}
		a := Alternative{Provider: c.provider, Model: c.model, Priced: c.rates != nil, Skipped: cmp.Or(c.skipped, c.estimate.Unpriced)}
		if a.Priced {
			a.Expected, a.Bound = c.estimate.Expected, c.estimate.Bound
		}
		d.Alternatives = append(d.Alternatives, a)
	}
}
