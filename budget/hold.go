package budget

import (
	"slices"
	"strconv"
	"strings"

	"keel/pricing"
)

// hold fills d with what every budget sets aside for the call, and records
// what each saw and did.
//
// A call without a price holds 0 in budgets that do not enforce: its closeout
// is charged there once the cost is known.
func (l *deliberation) hold(d *Decision, t *traits, budgets []*activeBudget) {
	d.Holds = slices.Grow(d.Holds, len(budgets))
	d.Rules = slices.Grow(d.Rules, len(budgets)+len(l.pressed))
	for _, b := range budgets {
		hold := Hold{
			Account: b.account(t, l.call.At), Amount: d.Estimate.Bound, Ceiling: -1,
			Limit: b.Limit, Mode: b.Mode, Version: b.Version, Debt: b.debt(l.org.settings.Offline),
		}
		if b.Hold == HoldExpected {
			hold.Amount = d.Estimate.Expected
		}
		if b.Mode == Enforce {
			hold.Ceiling = b.ceiling
		}
		standing := l.standing(hold.Account)
		d.Holds = append(d.Holds, hold)
		d.Rules = append(d.Rules, Rule{
			Kind: KindBudget, Name: b.Name, Version: b.Version,
			Effect: l.effect(b, standing, hold.Amount), Saw: b.saw(standing),
		})
		if l.dry {
			d.Budgets = append(d.Budgets, BudgetState{Hold: hold, Standing: standing})
		}
	}
	for _, p := range l.pressed { // those that the call left by going elsewhere
		if !slices.Contains(budgets, p.activeBudget) {
			d.Rules = append(d.Rules, Rule{Kind: KindBudget, Name: p.Name, Version: p.Version, Effect: p.effect, Saw: p.saw})
		}
	}
}

// InForce notes that the limit of a hold was edited since the configuration that
// d was made by: this version of it permits the call, or refuses it.
func (d *Decision) InForce(hold int, limit, ceiling pricing.NanoUSD, version int64) {
	h := &d.Holds[hold]
	if version <= h.Version {
		return
	}
	for i := range d.Rules {
		if r := &d.Rules[i]; r.Kind == KindBudget && r.Name == h.Budget {
			r.Version = version
			if used, _, ok := strings.Cut(r.Saw, " of "); ok {
				r.Saw = used + " of " + limit.String() + " USD"
			}
		}
	}
	h.Limit, h.Ceiling, h.Version = limit, ceiling, version
}

// effect says what the budget does with a call that it can take.
func (l *deliberation) effect(b *activeBudget, s Standing, amount pricing.NanoUSD) string {
	effect := "held"
	for _, tier := range b.Tiers {
		if tier.Do == Warn && b.reached(tier, s) {
			effect += ", warned at " + strconv.Itoa(tier.AtPercent) + "%"
		}
	}
	i := slices.IndexFunc(l.pressed, func(p pressure) bool { return p.activeBudget == b })
	if i >= 0 {
		effect += ", " + l.pressed[i].effect
	}
	total, err := sum(s.Settled, s.Held, amount)
	if b.Mode != Enforce && (err != nil || total > b.ceiling) {
		effect += ", would have denied"
	}
	return effect
}

// reached says whether what is settled and held has come to a tier.
func (b *activeBudget) reached(tier Tier, s Standing) bool {
	total, err := sum(s.Settled, s.Held)
	return err != nil || total >= share(b.Limit, tier.AtPercent)
}

// saw is how far the budget was used before the call.
func (b *activeBudget) saw(s Standing) string { return usage(s, b.Limit) }

func usage(s Standing, limit pricing.NanoUSD) string {
	total, err := sum(s.Settled, s.Held)
	if err != nil {
		return "more than can be counted of " + limit.String() + " USD"
	}
	var room [64]byte
	b := append(total.Append(room[:0]), " of "...)
	return string(append(limit.Append(b), " USD"...))
}
