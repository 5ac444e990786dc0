package budget

import (
	"fmt"

	"keel/pricing"
)

// A Rewrite is a target that an attempt may be made for in place of one that would break the
// envelope. It travels with the call, so that no attempt has to look at a route.
type Rewrite struct {
	Provider          string          `json:"provider"`
	Model             string          `json:"model"`
	InputTokensBound  int64           `json:"input_tokens_bound"`
	OutputTokensBound int64           `json:"output_tokens_bound"`
	Bound             pricing.NanoUSD `json:"bound_usd"`
}

// What travels with a call is bounded.
const (
	maxRewrites    = 4
	maxRewriteName = 200 // bytes of provider and model
)

// rewrites are the targets of the route that can serve the call and are good enough, the cheapest first, where
// the budgets that d falls under prefer cheap and the route chooses.
func (l *deliberation) rewrites(d *Decision) (all []Rewrite) {
	if d.Envelope.Mode != PreferCheap || !l.routes() {
		return nil
	}
	for _, c := range l.cheap {
		if c.rates == nil || len(c.provider)+len(c.model) > maxRewriteName {
			continue
		}
		if all = append(all, Rewrite{
			Provider: c.provider, Model: c.model, Bound: c.estimate.Bound,
			InputTokensBound: c.estimate.InputTokensBound, OutputTokensBound: c.estimate.OutputTokensBound,
		}); len(all) == maxRewrites {
			break
		}
	}
	return all
}

// StartOrRewrite is Start, and where the attempt would break the envelope of a call whose budgets prefer
// cheap, it is made for the cheapest target of the same provider that fits what is left. The attempt then
// has the prices of both.
func (c *Config) StartOrRewrite(d *Decision, before []Attempt, asked Attempt) Attempt {
	a := c.Start(d, before, asked)
	if !a.Broke || d.Envelope.Mode != PreferCheap {
		return a
	}
	priced := c.Priced(d, &a)
	for _, r := range d.Rewrites {
		if r.Provider != a.Provider || r.Model == a.Model || priced && r.Bound >= a.Bound {
			continue
		}
		at := *d
		at.RoutedProvider, at.RoutedModel = r.Provider, r.Model
		at.Estimate = Estimate{InputTokensBound: r.InputTokensBound, OutputTokensBound: r.OutputTokensBound, Bound: r.Bound}
		instead := asked
		instead.Model = r.Model
		if instead = c.Start(&at, before, instead); instead.Broke {
			continue
		}
		instead.InsteadOf = a.Model
		if priced {
			instead.InsteadBound = a.Bound
		}
		instead.Detail = fmt.Sprintf("rewritten from %s to %s, which can cost %s USD: %s", a.Model, r.Model, r.Bound, a.Detail)
		return instead
	}
	return a
}

// ForAttempt returns d as it is for the attempt of that number: a mesh may have sent it elsewhere than the call was
// sent, and it may have been rewritten. d must not be changed through it.
func (d *Decision) ForAttempt(rows []Attempt, number int) *Decision {
	for i := range rows {
		a := &rows[i]
		if a.Number != number || a.Provider == d.RoutedProvider && a.Model == d.RoutedModel {
			continue
		}
		at := *d
		at.RoutedProvider, at.RoutedModel, at.Estimate.Bound = a.Provider, a.Model, a.Bound
		return &at
	}
	return d
}
