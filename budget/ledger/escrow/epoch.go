package escrow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/journal"
	"keel/budget/ledger/record"
)

// epoch is a journal and what was leased under its name. A process has one,
// and another after each journal that failed.
type epoch struct {
	id       uuid.UUID
	journal  *journal.Journal
	accounts *accounts
	upload   upload
	ending   sync.RWMutex // written when the last record is
	ended    bool
	kept     bool // nobody writes the journal any more, and nobody waits for its records; guarded by upload.turn
	// The bank lost what it had granted: claim it again.
	forgotten atomic.Bool
}

func newEpoch(j *journal.Journal) *epoch {
	e := &epoch{id: j.Epoch(), journal: j, accounts: newAccounts()}
	e.upload.init()
	return e
}

// buffers hold a record on its way to the journal.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// append writes one record, which encode appends to what it is given.
func (e *epoch) append(kind record.Kind, org string, encode func([]byte) []byte) (budget.Receipt, error) {
	e.ending.RLock()
	defer e.ending.RUnlock()
	if e.ended {
		return budget.Receipt{}, errEnded
	}
	b := buffers.Get().(*[]byte)
	*b = encode((*b)[:0])
	org = record.Text(org)
	at, err := e.journal.Append(org, byte(kind), *b)
	if cap(*b) <= 1<<20 {
		buffers.Put(b)
	}
	if err != nil {
		return budget.Receipt{}, err
	}
	return budget.Receipt{Epoch: e.id, Org: org, Seq: at.Seq, End: at.End}, nil
}

var errEnded = errors.New("the epoch has ended")

// end takes no more records, so that what is settled next is all.
func (e *epoch) end() {
	e.ending.Lock()
	e.ended = true
	e.ending.Unlock()
}

// begin makes a journal and its epoch the current one.
func (r *Replica) begin() error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an epoch: %w", err)
	}
	j, err := r.folder.Create(id)
	if err != nil {
		return err
	}
	e := newEpoch(j)
	r.current.Store(e)
	r.background(func() { r.uploadLoop(r.run, e) })
	return nil
}

// reopen is told that a journal did not take a record. If it failed for good, calls
// are refused, or go on unrecorded, until there is a new one; what the old one holds
// is settled to its end, and what it left open is charged in full.
func (r *Replica) reopen(failed *epoch) {
	if failed.journal.Err() == nil || !r.current.CompareAndSwap(failed, nil) {
		return // full for the moment, or somebody else came first
	}
	r.log.Error("ledger: the journal failed; enforced calls are denied until another can be written", "epoch", failed.id, "error", failed.journal.Err())
	r.background(func() { r.recover(r.run, failed) })
	r.background(func() {
		for sleep(r.run, time.Second) {
			if err := r.begin(); err != nil {
				r.log.Error("ledger: still no journal", "error", err)
				continue
			}
			r.log.Info("ledger: a new journal is in use", "epoch", r.Epoch())
			r.keepNow()
			return
		}
	})
}

// recover settles a journal that nobody writes any more to its end, and finishes its epoch.
func (r *Replica) recover(ctx context.Context, e *epoch) {
	e.upload.turn.Lock()
	e.kept = true
	e.upload.turn.Unlock()
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := r.flush(ctx, e)
		if err == nil {
			err = r.finish(ctx, e)
		}
		if err == nil {
			r.log.Info("ledger: an earlier epoch is settled and finished", "epoch", e.id)
			return
		}
		if ctx.Err() == nil && attempt == 0 {
			r.log.Warn("ledger: an earlier epoch can't be settled yet, will go on trying", "epoch", e.id, "error", err)
		}
		sleep(ctx, backoff(attempt))
	}
}

// finish ends an epoch whose records are all settled.
func (r *Replica) finish(ctx context.Context, e *epoch) error {
	err := r.bank.Finish(ctx, e.id, e.upload.all())
	if gap := (*GapError)(nil); errors.As(err, &gap) {
		e.upload.again()
		return unavailable("%w", err)
	}
	if err != nil {
		return err
	}
	return e.journal.Finished()
}

// backoff doubles from 10 ms to 1 s.
func backoff(attempt int) time.Duration {
	return min(10*time.Millisecond<<min(attempt, 7), time.Second)
}
