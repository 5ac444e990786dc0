package escrow

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// openCall is a permitted decision that nobody has closed yet.
type openCall struct {
	id    uuid.UUID
	org   string
	epoch *epoch
	takes []take   // with what was added since
	terms []terms  // of the holds, as they were permitted
	room  struct { // for both, of most calls
		takes [8]take
		terms [8]terms
	}

	opened time.Time
	askAt  time.Time // when the bank is asked next whether somebody else closed it; of the lock that it is found under

	// mu orders the records of the call in the journal: each extension is before the closeout.
	// Who has it writes one record, and waits for nothing else.
	mu     sync.Mutex
	debt   bool
	closed bool
}

// terms are what of a hold may be needed while its call is open, beside its account and amount. A call may be open for hours.
type terms struct {
	ceiling, limit, debt pricing.NanoUSD
	version              int64
	mode                 budget.Mode
}

// hold is the hold that was permitted in an account, of another amount.
func (c *openCall) hold(i int, amount pricing.NanoUSD) budget.Hold {
	t := &c.terms[i]
	return budget.Hold{Account: c.takes[i].account.account, Amount: amount, Ceiling: t.ceiling, Limit: t.limit, Mode: t.mode, Version: t.version, Debt: t.debt}
}

// call returns what a decision takes, before it is taken.
func (e *epoch) call(d *budget.Decision) *openCall {
	now := time.Now()
	c := &openCall{id: d.ID, org: d.Org, debt: d.Debt, epoch: e, opened: now, askAt: now.Add(askAfter)}
	c.takes, c.terms = c.room.takes[:0], c.room.terms[:0]
	for i := range d.Holds {
		h := &d.Holds[i]
		a := e.accounts.of(&h.Account)
		a.touch()
		c.takes = append(c.takes, take{a, h.Amount, record.Leased(d, h)})
		c.terms = append(c.terms, terms{h.Ceiling, h.Limit, h.Debt, h.Version, h.Mode})
	}
	return c
}

// close takes no more extensions: what is held is final.
func (c *openCall) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
}

// charges appends what a closeout settles in each account. c is closed.
func (c *openCall) charges(all []record.Charge, end *budget.Closeout) []record.Charge {
	for i := range c.takes {
		t := &c.takes[i]
		all = append(all, record.Charge{Account: t.account.account, Held: t.amount, Amount: Charge(end, t.amount), Leased: t.leased})
	}
	return all
}

// Charge is what a closeout settles where a decision held an amount: the cost,
// or where it is not known the full hold, and no less than what is known.
func Charge(end *budget.Closeout, held pricing.NanoUSD) pricing.NanoUSD {
	if end.CostKnown {
		return end.Cost.Total
	}
	return max(held, end.Cost.Total)
}

// openCalls are found by decision id. There are several locks, so that calls do not wait for each other.
type openCalls [64]struct {
	mu    sync.Mutex
	calls map[uuid.UUID]*openCall
}

func (o *openCalls) init() {
	for i := range o {
		o[i].calls = make(map[uuid.UUID]*openCall)
	}
}

func (o *openCalls) put(c *openCall) {
	shard := &o[c.id[15]%64] // random in a UUIDv7
	shard.mu.Lock()
	shard.calls[c.id] = c
	shard.mu.Unlock()
}

// find returns a call; nil if it is not there.
func (o *openCalls) find(id uuid.UUID) *openCall {
	shard := &o[id[15]%64]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	return shard.calls[id]
}

// take removes and returns a call; nil if it is not there.
func (o *openCalls) take(id uuid.UUID) *openCall {
	shard := &o[id[15]%64]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	c := shard.calls[id]
	delete(shard.calls, id)
	return c
}

func (o *openCalls) len() (n int) {
	for i := range o {
		o[i].mu.Lock()
		n += len(o[i].calls)
		o[i].mu.Unlock()
	}
	return n
}
