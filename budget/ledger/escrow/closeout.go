package escrow

import (
	"context"
	"fmt"
	"sync"

	"keel/budget"
	"keel/budget/ledger/record"
)

// closeouts hold a closeout on its way to the journal. One that waits for a journal is not used again.
var closeouts = sync.Pool{New: func() any { return new(record.Closeout) }}

// keptCharges bounds what of a closeout is kept for the next one.
const keptCharges = 64

// CloseOut implements budget.Ledger.
func (r *Replica) CloseOut(end *budget.Closeout) budget.Receipt {
	c := r.open.take(end.ID)
	rec := closeouts.Get().(*record.Closeout)
	rec.Closeout = *end
	switch {
	case c != nil:
		c.close()
		rec.Known, rec.Lease, rec.Charges = true, c.epoch.id, c.charges(rec.Charges, end)
	case end.Outcome == budget.Unmetered: // it holds nothing
		rec.Known, rec.Lease = true, r.Epoch()
	}
	receipt, err := r.keep(later{closeout: rec})
	if err != nil {
		r.keepLater(later{closeout: rec})
	}
	if c != nil {
		r.release(c, rec)
	}
	if err == nil && cap(rec.Charges) <= keptCharges {
		clear(rec.Charges)
		*rec = record.Closeout{Charges: rec.Charges[:0]}
		closeouts.Put(rec)
	}
	return receipt
}

// release gives back what a closed call did not use. It is charged from now on, also
// where its closeout could not be written: then it is open for the bank, at the full hold.
func (r *Replica) release(c *openCall, end *record.Closeout) {
	for i, t := range c.takes {
		a, charge := t.account, end.Charges[i].Amount
		a.unsettledHeld.Add(-int64(t.amount))
		a.unsettled.Add(int64(charge))
		if !t.leased {
			continue
		}
		if a.free(t.amount - charge); a.returning() {
			r.giveBack(c.epoch, a)
		}
	}
}

// CloseOutResponse implements budget.Ledger.
func (r *Replica) CloseOutResponse(end *budget.Closeout) {
	if _, err := r.keep(later{response: end}); err != nil {
		r.keepLater(later{response: end})
	}
}

// Await implements budget.Ledger.
func (r *Replica) Await(ctx context.Context, receipt budget.Receipt, as budget.Durability) error {
	if as == budget.DurabilityOS {
		return nil
	}
	e := r.current.Load()
	if receipt.Seq == 0 || e == nil || e.id != receipt.Epoch {
		return fmt.Errorf("ledger: the closeout is in no journal that is written now")
	}
	if as == budget.DurabilityFsync {
		return e.journal.Sync(ctx, receipt.End)
	}
	return e.upload.await(ctx, receipt.Org, receipt.Seq)
}

// later is a record that waits for a journal. One of the pointers is set.
type later struct {
	decision *budget.Decision
	closeout *record.Closeout
	response *budget.Closeout
}

// keep writes a record to the journal.
func (r *Replica) keep(l later) (budget.Receipt, error) {
	e := r.current.Load()
	if e == nil {
		return budget.Receipt{}, unavailable("no journal can be written")
	}
	var receipt budget.Receipt
	var err error
	switch {
	case l.decision != nil:
		receipt, err = e.append(record.KindDecision, l.decision.Org, func(b []byte) []byte { return record.AppendDecision(b, l.decision) })
	case l.closeout != nil:
		receipt, err = e.append(record.KindCloseout, l.closeout.Org, func(b []byte) []byte { return record.AppendCloseout(b, l.closeout) })
	default:
		receipt, err = e.append(record.KindResponse, l.response.Org, func(b []byte) []byte { return record.AppendResponse(b, l.response) })
	}
	if err != nil {
		r.reopen(e)
	}
	return receipt, err
}

// unkept are records in memory while no journal can be written, bounded.
type unkept struct {
	mu    sync.Mutex
	queue []later
}

// keepLater never blocks. What finds no room is logged with its money, so that
// it can be booked by hand, and counted.
func (r *Replica) keepLater(l later) {
	u := &r.unkept
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.queue) < r.o.MaxUnkept {
		u.queue = append(u.queue, l)
		return
	}
	r.counts.unrecorded.Add(1)
	switch {
	case l.decision != nil:
		r.log.Error("ledger: decision unrecorded: no journal can be written, and memory for it is full", "decision", l.decision.ID, "org", l.decision.Org, "action", l.decision.Action)
	case l.closeout != nil:
		r.log.Error("ledger: closeout unrecorded: the call will be charged at its full hold", "decision", l.closeout.ID, "org", l.closeout.Org,
			"outcome", l.closeout.Outcome, "cost_nano_usd", int64(l.closeout.Cost.Total), "cost_known", l.closeout.CostKnown)
	default:
		r.log.Error("ledger: closeout of a response unrecorded", "response", l.response.ResponseID, "org", l.response.Org, "cost_nano_usd", int64(l.response.Cost.Total))
	}
}

// keepNow writes what waited for a journal, in order, as far as it goes.
func (r *Replica) keepNow() {
	u := &r.unkept
	u.mu.Lock()
	queue := u.queue
	u.queue = nil
	u.mu.Unlock()
	for i, l := range queue {
		if _, err := r.keep(l); err != nil {
			u.mu.Lock()
			u.queue = append(queue[i:len(queue):len(queue)], u.queue...)
			u.mu.Unlock()
			return
		}
	}
}

// waiting is how many records are in memory only.
func (u *unkept) waiting() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.queue)
}
