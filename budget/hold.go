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
	if len(budgets) > 0 {
		d.Holds = make([]Hold, 0, len(budgets))
	}
	// What the budgets saw is written into one text, and cut up.
	var room [512]byte
	var marks [16]int
	text, ends, first := room[:0], marks[:0], len(d.Rules)
	for _, b := range budgets {
		hold := Hold{
			Account: b.account(t, l.call.At), Amount: d.Envelope.Limit, Ceiling: -1,
			Limit: b.Limit, Mode: b.Mode, Version: b.Version, Debt: b.debt(l.org.settings.Offline),
		}
		if b.Hold == HoldExpected {
			hold.Amount = d.Estimate.Expected
		}
		if l.observing {
			hold.Mode = Observe
		}
		if hold.Mode == Enforce {
			hold.Ceiling = b.ceiling
		}
		standing := l.ledger.Standing(hold.Account)
		d.Holds = append(d.Holds, hold)
		text = b.appendUsage(text, standing)
		ends = append(ends, len(text))
		d.Rules = append(d.Rules, Rule{Kind: KindBudget, Name: b.Name, Version: b.Version, Effect: l.effect(b, standing, hold.Amount)})
		if l.dry {
			d.Budgets = append(d.Budgets, BudgetState{Hold: hold, Standing: standing})
		}
	}
	saw, from := string(text), 0
	for i, end := range ends {
		d.Rules[first+i].Saw = saw[from:end]
		from = end
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
				r.Saw = used + ofLimit(limit)
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
			effect += ", " + warnedEffect + "at " + strconv.Itoa(tier.AtPercent) + "%"
		}
	}
	i := slices.IndexFunc(l.pressed, func(p pressure) bool { return p.activeBudget == b })
	if i >= 0 {
		effect += ", " + l.pressed[i].effect
	}
	total, err := sum(s.Settled, s.Held, amount)
	if (b.Mode != Enforce || l.observing) && (err != nil || total > b.ceiling) {
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
func (b *activeBudget) saw(s Standing) string {
	var room [64]byte
	return string(b.appendUsage(room[:0], s))
}

func (b *activeBudget) appendUsage(to []byte, s Standing) []byte {
	return append(appendUsed(to, s), b.ofLimit...)
}

func usage(s Standing, limit pricing.NanoUSD) string {
	var room [64]byte
	return string(append(appendUsed(room[:0], s), ofLimit(limit)...))
}

func appendUsed(b []byte, s Standing) []byte {
	total, err := sum(s.Settled, s.Held)
	if err != nil {
		return append(b, "more than can be counted"...)
	}
	return total.Append(b)
}

// ofLimit stands behind what was used.
func ofLimit(limit pricing.NanoUSD) string { return " of " + limit.String() + " USD" }
