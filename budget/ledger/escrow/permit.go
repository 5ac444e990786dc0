package escrow

import (
	"context"
	"fmt"

	"keel/budget"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// Permit implements budget.Ledger. Without a lack of money it asks nobody: it
// takes the holds in memory and writes the intent to the journal.
func (r *Replica) Permit(ctx context.Context, d *budget.Decision) error {
	if err := check(d); err != nil {
		return fmt.Errorf("ledger: permit decision %s: %w", d.ID, err)
	}
	e, err := r.writable()
	if err != nil {
		return err
	}
	c := e.call(d)
	if lacking := reserve(c.takes); lacking >= 0 {
		inForce := func(i int, l Lease) budget.Hold {
			d.InForce(i, l.Limit, l.Ceiling, l.Version)
			return d.Holds[i]
		}
		if err := r.reserveSlowly(ctx, e, c.takes, lacking, inForce); err != nil {
			return err
		}
	}
	if _, err := e.append(record.KindDecision, d.Org, func(b []byte) []byte { return record.AppendDecision(b, d) }); err != nil {
		release(c.takes)
		r.reopen(e)
		return unavailable("the journal can't take the intent of decision %s: %w", d.ID, err)
	}
	r.permitted(c)
	return nil
}

func check(d *budget.Decision) error {
	if d.Org == "" {
		return fmt.Errorf("no org")
	}
	for _, h := range d.Holds {
		if h.Amount < 0 {
			return fmt.Errorf("negative hold of %d in budget %s", h.Amount, h.Budget)
		}
		if h.Org != d.Org {
			return fmt.Errorf("hold in budget %s of org %q in a decision of org %q", h.Budget, h.Org, d.Org)
		}
	}
	return nil
}

// writable returns the epoch whose journal takes records.
func (r *Replica) writable() (*epoch, error) {
	if r.closed.Load() {
		return nil, unavailable("closed")
	}
	e := r.current.Load()
	if e == nil {
		return nil, unavailable("no journal can be written; see the log, and make room on its disk")
	}
	return e, nil
}

// permitted notes a call whose intent is in the journal.
func (r *Replica) permitted(c *openCall) {
	r.open.put(c)
	for _, t := range c.takes {
		a := t.account
		a.unsettledHeld.Add(int64(t.amount))
		if !t.leased {
			continue
		}
		a.held.Add(int64(t.amount))
		if a.last.Load() != int64(t.amount) {
			a.last.Store(int64(t.amount))
		}
		r.refill(c.epoch, a)
	}
}

// Owe implements budget.Ledger.
func (r *Replica) Owe(d *budget.Decision) error {
	if err := check(d); err != nil {
		return fmt.Errorf("ledger: owe decision %s: %w", d.ID, err)
	}
	e, err := r.writable()
	if err != nil {
		return r.unrecorded(d, err)
	}
	c := e.call(d)
	if err := c.owe(c.takes); err != nil {
		return err
	}
	if _, err := e.append(record.KindDecision, d.Org, func(b []byte) []byte { return record.AppendDecision(b, d) }); err != nil {
		forgive(c.takes)
		r.reopen(e)
		return r.unrecorded(d, err)
	}
	r.owed(c.takes, c.terms)
	r.permitted(c)
	return nil
}

// owe takes what is held as debt, or none of it and says, with a *budget.Refused, which account has no more credit.
func (c *openCall) owe(takes []take) error {
	for i := range takes {
		t, h := &takes[i], &c.terms[i]
		owed := t.account.debt.Add(int64(t.amount))
		if h.ceiling >= 0 && h.debt != budget.NoDebtCap && owed > int64(h.debt) && t.amount > 0 {
			forgive(takes[:i+1])
			return &budget.Refused{Hold: c.hold(i, t.amount), Standing: budget.Standing{Held: pricing.NanoUSD(owed) - t.amount}}
		}
	}
	return nil
}

// forgive gives back what owe took.
func forgive(takes []take) {
	for _, t := range takes {
		t.account.debt.Add(-int64(t.amount))
	}
}

// owed counts debts of budgets that enforce.
func (r *Replica) owed(takes []take, as []terms) {
	for i := range takes {
		if as[i].ceiling >= 0 {
			r.counts.debt.Add(int64(takes[i].amount))
		}
	}
}

// unrecorded lets a call go on that no budget enforces although no journal can
// be written: it is written later, if there is room in memory until then. A
// call that may cost a limit is not let out without its intent.
func (r *Replica) unrecorded(d *budget.Decision, err error) error {
	for _, h := range d.Holds {
		if h.Ceiling >= 0 {
			return unavailable("decision %s can't be recorded: %w", d.ID, err)
		}
	}
	r.keepLater(later{decision: d})
	return nil
}

// Record implements budget.Ledger.
func (r *Replica) Record(d *budget.Decision) {
	if e, err := r.writable(); err == nil {
		if _, err = e.append(record.KindDecision, d.Org, func(b []byte) []byte { return record.AppendDecision(b, d) }); err == nil {
			return
		}
		r.reopen(e)
	}
	r.keepLater(later{decision: d})
}

// Standing implements budget.Ledger: what the bank last said, and what this
// replica did since. An account that it never met is read at once in the background.
func (r *Replica) Standing(name budget.Account) budget.Standing {
	e := r.current.Load()
	if e == nil {
		return budget.Standing{}
	}
	a := e.accounts.of(&name)
	a.touch()
	return a.standing()
}
