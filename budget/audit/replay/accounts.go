package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/pricing"
)

// Accounts is a budget.Ledger in memory, for one goroutine: the rules of the interface, one processor, a database
// that never goes away. Every call is permitted at the time of its decision, which rises.
type Accounts struct {
	now      time.Time
	standing map[budget.Account]budget.Standing
	buckets  map[budget.Account][]budget.Account // of rolling windows, by the account without its bounds, oldest first
	open     map[uuid.UUID]*budget.Decision
}

var _ budget.Ledger = (*Accounts)(nil)

// NewAccounts returns a ledger in which nothing is spent.
func NewAccounts() *Accounts {
	return &Accounts{standing: make(map[budget.Account]budget.Standing), buckets: make(map[budget.Account][]budget.Account), open: make(map[uuid.UUID]*budget.Decision)}
}

func unbounded(a budget.Account) budget.Account {
	a.WindowStart, a.WindowEnd = time.Time{}, time.Time{}
	return a
}

// Permit implements budget.Ledger.
func (l *Accounts) Permit(_ context.Context, d *budget.Decision) error {
	l.now = d.At
	for i := range d.Holds {
		h := &d.Holds[i]
		s := l.Standing(h.Account)
		if h.Ceiling >= 0 && s.Settled+s.Held+h.Amount > h.Ceiling {
			return &budget.Refused{Hold: *h, Standing: s}
		}
	}
	for i := range d.Holds {
		l.add(d.Holds[i].Account, 0, d.Holds[i].Amount)
	}
	l.open[d.ID] = d
	return nil
}

// Extend implements budget.Ledger. Nothing is streamed here, so nothing is watched and nothing extended.
func (l *Accounts) Extend(context.Context, uuid.UUID, []pricing.NanoUSD) error {
	return fmt.Errorf("replay: %w: no answer streams here", budget.ErrUnavailable)
}

func (l *Accounts) add(a budget.Account, settled, held pricing.NanoUSD) {
	s, there := l.standing[a]
	if !there && a.Rolling > 0 {
		whole := unbounded(a)
		l.buckets[whole] = append(l.buckets[whole], a)
	}
	s.Settled += settled
	s.Held += held
	l.standing[a] = s
}

// Standing implements budget.Ledger.
func (l *Accounts) Standing(a budget.Account) budget.Standing {
	if a.Rolling == 0 {
		return l.standing[a]
	}
	var sum budget.Standing
	whole := unbounded(a)
	live := l.buckets[whole]
	for len(live) > 0 && !live[0].WindowEnd.After(l.now.Add(-a.Rolling)) && l.standing[live[0]].Held == 0 {
		delete(l.standing, live[0]) // it counts no more
		live = live[1:]
	}
	l.buckets[whole] = live
	for _, bucket := range live {
		if bucket.WindowEnd.After(l.now.Add(-a.Rolling)) {
			s := l.standing[bucket]
			sum.Settled += s.Settled
			sum.Held += s.Held
		}
	}
	return sum
}

// CloseOut implements budget.Ledger.
func (l *Accounts) CloseOut(c *budget.Closeout) budget.Receipt {
	d, ok := l.open[c.ID]
	if !ok {
		return budget.Receipt{}
	}
	delete(l.open, c.ID)
	for i := range d.Holds {
		h := &d.Holds[i]
		cost := c.Cost.Total
		if !c.CostKnown {
			cost = max(cost, h.Amount)
		}
		l.add(h.Account, cost, -h.Amount)
	}
	return budget.Receipt{}
}

// Record implements budget.Ledger: a denial holds nothing.
func (l *Accounts) Record(*budget.Decision) {}

// Owe implements budget.Ledger. The database never goes away, so nothing is owed.
func (l *Accounts) Owe(*budget.Decision) error { return budget.ErrUnavailable }

// Await implements budget.Ledger.
func (l *Accounts) Await(context.Context, budget.Receipt, budget.Durability) error { return nil }

// CloseOutResponse implements budget.Ledger: records name the decision.
func (l *Accounts) CloseOutResponse(*budget.Closeout) {}

// Annotate implements budget.Ledger.
func (l *Accounts) Annotate(budget.Annotation) {}
