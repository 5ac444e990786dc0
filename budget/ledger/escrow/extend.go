package escrow

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// Extend implements budget.Ledger. Like Permit, it asks nobody unless a slice lacks what is asked for.
//
// The money is taken first, the call closed to others last: between the two nothing is
// held, so a closeout that comes meanwhile wins, and what was taken goes back.
func (r *Replica) Extend(ctx context.Context, id uuid.UUID, more []pricing.NanoUSD) error {
	c := r.open.find(id)
	if c == nil {
		return unavailable("decision %s is not open here: it was closed, or never permitted by this process", id)
	}
	e, err := r.writable()
	if err != nil {
		return err
	}
	if e != c.epoch {
		return unavailable("decision %s was permitted under a journal that has failed since", id)
	}
	var room [8]take
	takes, err := c.additions(room[:0], more)
	if err != nil {
		return fmt.Errorf("ledger: extend decision %s: %w", id, err)
	}
	if len(takes) == 0 {
		return nil
	}
	if err := r.reserveMore(ctx, c, takes); err != nil {
		return err
	}
	if err := c.extend(takes); err != nil {
		r.releaseMore(c, takes)
		r.reopen(e)
		return fmt.Errorf("ledger: extend decision %s: %w", id, err)
	}
	if c.debt {
		r.owed(takes, c.terms)
	}
	for _, t := range takes {
		if t.leased && t.amount > 0 {
			t.account.held.Add(int64(t.amount))
			r.refill(e, t.account)
		}
	}
	return nil
}

// additions returns what is to be taken: none where nothing is asked for.
func (c *openCall) additions(takes []take, more []pricing.NanoUSD) ([]take, error) {
	if len(more) != len(c.takes) {
		return nil, fmt.Errorf("%d amounts for its %d holds", len(more), len(c.takes))
	}
	var any pricing.NanoUSD
	for i, amount := range more {
		if amount < 0 {
			return nil, fmt.Errorf("a negative amount of %d in budget %s", amount, c.takes[i].account.account.Budget)
		}
		any |= amount
		takes = append(takes, take{c.takes[i].account, amount, c.takes[i].leased})
	}
	if any == 0 {
		return nil, nil
	}
	for _, t := range takes {
		t.account.touch()
	}
	return takes, nil
}

// reserveMore takes all, or none.
func (r *Replica) reserveMore(ctx context.Context, c *openCall, takes []take) error {
	if c.debt {
		return c.owe(takes)
	}
	lacking := reserve(takes)
	if lacking < 0 {
		return nil
	}
	// The decision is written: what is in force now is said to who asks now.
	return r.reserveSlowly(ctx, c.epoch, takes, lacking, func(i int, l Lease) budget.Hold {
		h := c.hold(i, takes[i].amount)
		if l.Version > h.Version {
			h.Limit, h.Ceiling, h.Version = l.Limit, l.Ceiling, l.Version
		}
		return h
	})
}

// releaseMore gives back what reserveMore took.
func (r *Replica) releaseMore(c *openCall, takes []take) {
	if c.debt {
		forgive(takes)
		return
	}
	for _, t := range takes {
		if t.leased && t.amount > 0 {
			t.account.free(t.amount)
		}
	}
}

// extend writes the extension to the journal and adds it to what the call holds, unless
// the call was closed meanwhile.
func (c *openCall) extend(more []take) error {
	x := &record.Extension{ID: c.id, Org: c.org, At: time.Now(), Debt: c.debt, More: make([]record.More, len(more))}
	for i, t := range more {
		x.More[i] = record.More{Account: t.account.account, Amount: t.amount, Leased: t.leased}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("%w: it was closed meanwhile", budget.ErrUnavailable)
	}
	for i, t := range more {
		if t.amount > math.MaxInt64-c.takes[i].amount {
			return fmt.Errorf("%d more in budget %s than the %d that it holds can't be counted", t.amount, t.account.account.Budget, c.takes[i].amount)
		}
	}
	if _, err := c.epoch.append(record.KindExtension, x.Org, func(b []byte) []byte { return record.AppendExtension(b, x) }); err != nil {
		return fmt.Errorf("%w: the journal can't take it: %w", budget.ErrUnavailable, err)
	}
	for i, t := range more {
		c.takes[i].amount += t.amount
		t.account.unsettledHeld.Add(int64(t.amount))
	}
	return nil
}
