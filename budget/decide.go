package budget

import (
	"context"
	"slices"
	"strings"
	"sync"

	"keel/budget/policy"
	"keel/pricing"
	"keel/pricing/tokens"
)

// A Decider decides about calls. It is safe for concurrent use and keeps no
// state: what is spent and held is the ledger's.
type Decider struct {
	Ledger    Ledger
	Estimator Estimator
	Health    *Health // of targets; nil where all count as well
}

// An Estimator says what a prompt is likely to use at a target. It is safe for concurrent use where the
// Decider is. A *tokens.Estimator counts the prompt; a replay has the counts of the record.
type Estimator interface {
	Input(provider, model string, p *tokens.Prompt) tokens.Input
	// Likely is the likely input, also where that is more than the model takes.
	Likely(provider, model string, p *tokens.Prompt) int64
	Output(provider, model string, p *tokens.Prompt, stated, choices int64) tokens.Output
}

// Decide decides about a call and takes its holds. The decision is never nil,
// and is with the ledger when it is returned: permitted, or recorded where it
// is a denial or a debt. ctx bounds how long the ledger may take.
func (d *Decider) Decide(ctx context.Context, cfg *Config, call *Call) *Decision {
	decision := d.deliberate(ctx, cfg, call, false)
	if decision.Action == Deny {
		d.Ledger.Record(decision)
	}
	return decision
}

// Preview decides as Decide would at this moment, by what this replica knows of
// the accounts, and takes and records nothing. It also fills what only people
// want to know: the budgets with what is left, and the alternatives.
func (d *Decider) Preview(cfg *Config, call *Call) *Decision {
	return d.deliberate(context.Background(), cfg, call, true)
}

// deliberation is the making of one decision. Nothing of it is kept, so that the next one is made in its
// memory.
type deliberation struct {
	org       *organisation
	call      *Call
	estimator Estimator
	ledger    Ledger
	health    *Health
	dry       bool
	observing bool // whatever its mode, no budget can refuse

	asked      *candidate   // where the call was asked to go, once a policy wanted to know
	draft      Decision     // what holds for every target: the policies, the route
	outputCap  int64        // smallest of the policies', or what is left; 0 for none
	capBy      string       // what it is of
	route      *activeRoute // nil for a call that no route takes
	candidates []*candidate // the targets of the route, or the one that was asked for
	usable     []*candidate // those of them that the call can go to
	cheap      []*candidate // those that prefer-cheap takes, the cheapest first
	budgeted   []*candidate // those that enforce takes, in its order
	pressed    []pressure   // budgets that want it cheap

	made      []candidate // what candidates are made in
	budgets   [16]*activeBudget
	input     policy.Input // of the policies
	standings standings
	standing  func(budget string) policy.Standing // of standings, bound once
}

var deliberations = sync.Pool{New: func() any {
	l := new(deliberation)
	l.standing = l.standings.standing
	return l
}}

// done gives the memory back, without anything of the call.
func (l *deliberation) done() {
	clear(l.made)
	clear(l.draft.Rules)
	clear(l.pressed)
	for _, list := range [][]*candidate{l.candidates, l.usable, l.cheap, l.budgeted} {
		clear(list[:cap(list)])
	}
	*l = deliberation{
		draft:      Decision{Rules: l.draft.Rules[:0]},
		candidates: l.candidates[:0], usable: l.usable[:0], cheap: l.cheap[:0], budgeted: l.budgeted[:0],
		pressed: l.pressed[:0], made: l.made[:0], standing: l.standing,
	}
	deliberations.Put(l)
}

// deliberate is the path of a decision: policy → candidates → estimate → hold.
func (d *Decider) deliberate(ctx context.Context, cfg *Config, call *Call, dry bool) *Decision {
	l := deliberations.Get().(*deliberation)
	defer l.done()
	l.org, l.call, l.estimator, l.ledger, l.health, l.dry = cfg.org(call.Org), call, d.Estimator, d.Ledger, d.Health, dry
	l.begin()
	l.draft.RoutedProvider, l.draft.RoutedModel = call.Provider, call.Model

	if denial := l.applyPolicies(); denial != nil {
		return l.refuseDraft(denial)
	}
	choices, denial := l.choose()
	if denial != nil {
		return l.refuseDraft(denial)
	}
	var refused *Decision
	for _, c := range choices {
		d, budgets := l.propose(c, l.budgets[:0])
		if denial := l.needPrice(d, budgets); denial != nil {
			return l.refuse(d, denial)
		}
		d.Reason = l.reason(d) // the ledger keeps it
		err := l.permit(ctx, d)
		if err == nil {
			l.fillAlternatives(d)
			return d
		}
		full, ok := asRefused(err)
		if !ok {
			return l.withoutLedger(d, budgets, err)
		}
		fitted, again, err := l.fit(ctx, c, d, full)
		switch {
		case fitted != nil && err == nil:
			l.fillAlternatives(fitted)
			return fitted
		case err != nil:
			return l.withoutLedger(d, budgets, err)
		case again != nil:
			full = again // another call was faster
		}
		if refused == nil { // the first choice is the one to explain
			refused = l.refuse(d, l.exceeded(d, c, full))
		}
		l.draft.Rules = append(l.draft.Rules, Rule{
			Kind: KindBudget, Name: full.Hold.Budget, Version: full.Hold.Version, Effect: "had no room for " + c.name(),
			Saw: usage(full.Standing, full.Hold.Limit),
		})
	}
	return refused
}

// begin makes the draft of what is known of the call.
func (l *deliberation) begin() {
	l.draft = Decision{Call: *l.call, Action: Allow, Shape: l.call.Prompt.Shape(), Rules: l.draft.Rules, PriceVersion: l.org.book.Version()}
	l.draft.Org = l.org.name
	l.draft.Prompt, l.draft.Constrainable, l.draft.Changeable, l.draft.Watchable = nil, nil, nil, nil // a decision outlives the request body
}

// permit takes the holds of d, all or none. A preview only looks whether they fit.
func (l *deliberation) permit(ctx context.Context, d *Decision) error {
	if !l.dry {
		return l.ledger.Permit(ctx, d)
	}
	for i, hold := range d.Holds {
		standing := d.Budgets[i].Standing
		if total, err := sum(standing.Settled, standing.Held, hold.Amount); hold.Ceiling >= 0 && (err != nil || total > hold.Ceiling) {
			return &Refused{Hold: hold, Standing: standing}
		}
	}
	return nil
}

// refuseDraft denies a call whatever its target.
func (l *deliberation) refuseDraft(denial *Denial) *Decision {
	d := new(Decision)
	*d = l.draft
	d.Rules = slices.Clone(l.draft.Rules)
	return l.refuse(d, denial)
}

// refuse makes d a denial. It holds nothing.
func (l *deliberation) refuse(d *Decision, denial *Denial) *Decision {
	d.Action, d.Reason, d.Denial = Deny, denial.Message, denial
	d.Holds, d.MaxOutputTokens = nil, 0
	for i := range d.Rules {
		if rest, held := strings.CutPrefix(d.Rules[i].Effect, "held"); held && d.Rules[i].Kind == KindBudget {
			d.Rules[i].Effect = "not held" + rest
		}
	}
	l.fillAlternatives(d)
	return d
}

// propose makes the decision that sends the call to c, and returns the budgets
// that it falls under there, in the memory of found.
func (l *deliberation) propose(c *candidate, found []*activeBudget) (*Decision, []*activeBudget) {
	t := l.traits(c)
	budgets := l.org.matching(found, &t)
	d := new(Decision)
	*d = l.draft
	d.Rules = append(make([]Rule, 0, len(l.draft.Rules)+2+len(budgets)+len(l.pressed)), l.draft.Rules...)
	d.RoutedProvider, d.RoutedModel, d.Estimate = c.provider, c.model, c.estimate
	if l.routes() {
		d.Route = l.route.Name
	}
	if l.outputCap > 0 && (l.call.MaxOutputTokens == 0 || l.call.MaxOutputTokens > l.outputCap) {
		d.MaxOutputTokens, d.Action = l.outputCap, Constrain
	}
	if d.Constraint != nil {
		d.Action = Constrain
	}
	if c.provider != l.call.Provider || c.model != l.call.Model {
		d.Action = Substitute
	}
	l.recordRoute(d, c)
	if c.rates != nil {
		d.Rules = append(d.Rules, Rule{Kind: KindPrice, Name: c.rates.ID, Effect: "priced"})
	}
	d.Envelope = l.envelope(&d.Estimate, budgets)
	d.Rewrites = l.rewrites(d)
	l.hold(d, &t, budgets)
	return d, budgets
}

// sum adds amounts, none negative; an error says that they are too large.
func sum(amounts ...pricing.NanoUSD) (total pricing.NanoUSD, err error) {
	for _, a := range amounts {
		if total, err = total.Add(a); err != nil {
			return 0, err
		}
	}
	return total, nil
}
