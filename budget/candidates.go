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
	skipped         string         // why the call can't go there
	note            string         // why a mode does not choose it
	condition
}

// candidate keeps c until the decision is made.
func (l *deliberation) candidate(c candidate) *candidate {
	l.made = append(l.made, c)
	return &l.made[len(l.made)-1]
}

func (c *candidate) name() string { return c.provider + "/" + c.model }

// pressure is a budget that wants its calls to go to the cheapest target.
type pressure struct {
	*activeBudget
	effect, saw string
}

// routes says whether the route chooses the target: one that observes does not, unless a budget presses.
func (l *deliberation) routes() bool {
	return l.route != nil && (l.route.Mode != Observe || len(l.pressed) > 0)
}

// choose lists the targets to try, in order. Observe sends the call where it was asked to go
// and records what the other modes would have done.
func (l *deliberation) choose() ([]*candidate, *Denial) {
	if l.route == nil {
		l.route = l.org.routeFor(l.call.Model)
	}
	asked := l.asked
	if asked == nil || l.outputCap > 0 { // nobody asked, or before a policy limited the output
		asked = l.estimated(l.call.Provider, l.call.Model)
	}
	if l.route == nil {
		l.candidates = append(l.candidates, asked)
		return l.candidates, nil
	}
	var room [8]condition
	conditions := l.health.conditions(room[:0], l.route.Route, l.call.At)
	for i := range l.route.Targets {
		c := l.target(i, asked)
		c.condition = conditions[i]
		l.candidates = append(l.candidates, c)
	}
	l.usable = slices.DeleteFunc(append(l.usable, l.candidates...), func(c *candidate) bool { return c.skipped != "" })
	l.preferCheap()
	l.enforce()
	l.draft.RouteChoices = choices(asked, l.cheap, l.budgeted)
	if l.route.Mode == Observe {
		if l.findPressure(asked); len(l.pressed) == 0 || len(l.cheap) == 0 {
			l.pressed = l.pressed[:0]
			l.observeRoute(l.cheap)
			return []*candidate{asked}, nil
		}
	}
	if len(l.usable) == 0 {
		return nil, l.noTarget(l.whySkipped())
	}
	if l.route.Mode == Enforce {
		return l.budgeted, nil
	}
	if len(l.pressed) == 0 {
		l.findPressure(l.usable[0])
	}
	if len(l.cheap) == 0 {
		return nil, l.noTarget(fmt.Sprintf("no target that can be used has a quality of %s or more", l.route.MinQuality))
	}
	return l.cheap, nil
}

// target is the i-th target of the route, with what speaks against it.
func (l *deliberation) target(i int, asked *candidate) *candidate {
	target := &l.route.Targets[i]
	var c *candidate
	if target.Provider == asked.provider && target.Model == asked.model {
		c = l.candidate(*asked)
	} else {
		c = l.estimated(target.Provider, target.Model)
	}
	c.quality = l.route.qualities[i]
	switch prompt, able := l.call.Prompt, &l.route.abilities[i]; {
	case l.call.Routable != nil && !l.call.Routable(c.provider):
		c.skipped = "its provider does not speak " + l.call.API
	case c.model != l.call.Model && l.unchangeable() != nil:
		c.skipped = "the model can't be written into the request: " + l.unchangeable().Error()
	case c.provider != l.call.Provider && target.Credential != CredentialInjected:
		c.skipped = "the call brings the credential of " + l.call.Provider + " and the target has none of its own"
	case able.NoTools && prompt.Tools > 0:
		c.skipped = "it takes no tools"
	case able.NoImages && (len(prompt.Images) > 0 || prompt.FarImages):
		c.skipped = "it takes no images"
	case able.NoSchema && l.draft.Shape.Bytes["schema"] > 0:
		c.skipped = "it keeps to no schema"
	case able.ContextTokens > 0 && l.inputAt(c) > able.ContextTokens:
		c.skipped = fmt.Sprintf("its context of %d tokens is too small", able.ContextTokens)
	}
	return c
}

// inputAt is the likely input of the call at c, also where that is more than what the estimate stops at.
func (l *deliberation) inputAt(c *candidate) int64 {
	if in := &c.estimate.Input; in.Uncorrected < in.Shipped {
		return c.estimate.InputTokens
	}
	return l.estimator.Likely(c.provider, c.model, l.call.Prompt)
}

// whySkipped says why no target is left.
func (l *deliberation) whySkipped() string {
	reasons := make([]string, len(l.candidates))
	for i, c := range l.candidates {
		reasons[i] = c.name() + ": " + c.skipped
	}
	return strings.Join(reasons, ", ")
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

// recordRoute records where the route sends the call, and what it saw.
func (l *deliberation) recordRoute(d *Decision, c *candidate) {
	if !l.routes() {
		return
	}
	rule := Rule{Kind: KindRoute, Name: l.route.Name, Version: l.route.Version, Effect: "routed to " + c.name(), Saw: l.sawTargets()}
	d.Rules = append(d.Rules, rule)
}

// findPressure asks the budgets that the call falls under at its first target
// whether they want it to go to the cheapest.
func (l *deliberation) findPressure(first *candidate) {
	t := l.traits(first)
	for _, b := range l.org.matching(l.budgets[:0], &t) {
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
	if l.routes() {
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
		a := Alternative{Provider: c.provider, Model: c.model, Priced: c.rates != nil, Skipped: cmp.Or(c.skipped, c.note, c.estimate.Unpriced)}
		if a.Priced {
			a.Expected, a.Bound = c.estimate.Expected, c.estimate.Bound
		}
		d.Alternatives = append(d.Alternatives, a)
	}
}
