package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"keel/budget"
)

// itemKind orders the records of one decision within a batch.
type itemKind uint8

const (
	takenBack itemKind = iota // a permit whose answer was lost and that did not happen
	recorded
	closed
	annotated
	fulfilled // a closeout that knows its decision by the response alone
)

func (k itemKind) String() string {
	return [...]string{"take back", "decision", "closeout", "annotation", "closeout of a response"}[k]
}

// item is one record that waits to be written.
type item struct {
	kind     itemKind
	presumed bool // a closeout that the ledger makes up because nobody closed
	org      string
	id       uuid.UUID
	size     int64 // estimate of its memory, bytes
	decision *budget.Decision
	closeout *budget.Closeout
	note     *budget.Annotation
}

const itemSize = 512 // of an item without its strings and slices, bytes

// outbox is a bounded queue in memory: first in, first out, and what is taken
// stays counted until it is written.
type outbox struct {
	mu      sync.Mutex
	queue   []item
	taken   int // items of the batch that is being written, at the head of queue
	bytes   int64
	limit   int64
	shut    bool
	wake    chan struct{}
	written int64
	lost    int64
	empty   []chan struct{} // Flush callers
}

func (o *outbox) init(limit int64) {
	o.limit = limit
	o.wake = make(chan struct{}, 1)
}

// put appends i and reports whether there was room. The last quarter is kept
// for records that carry money.
func (o *outbox) put(i item) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	limit := o.limit
	if i.kind == annotated {
		limit -= limit / 4
	}
	if o.shut || o.bytes+i.size > limit {
		o.lost++
		return false
	}
	o.queue = append(o.queue, i)
	o.bytes += i.size
	o.signal()
	return true
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns the records at the head, of one org and at most n. done must
// follow. What needs to find an earlier closeout comes alone, after that was written.
func (o *outbox) take(n int) []item {
	o.mu.Lock()
	defer o.mu.Unlock()
	var batch []item
	for _, i := range o.queue {
		if len(batch) == n || len(batch) > 0 && (i.org != batch[0].org || i.kind == fulfilled || batch[0].kind == fulfilled) {
			break
		}
		batch = append(batch, i)
	}
	o.taken = len(batch)
	return batch
}

// done forgets what take returned.
func (o *outbox) done(written int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range o.queue[:o.taken] {
		o.bytes -= i.size
	}
	o.written += int64(written)
	o.lost += int64(o.taken - written)
	clear(o.queue[:o.taken]) // lets go of what they point to
	o.queue = o.queue[o.taken:]
	o.taken = 0
	if len(o.queue) == 0 {
		o.queue = nil
		for _, c := range o.empty {
			close(c)
		}
		o.empty = nil
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut = true
}

func (o *outbox) isClosed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shut
}

func (o *outbox) pending() (n int, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue), o.bytes
}

// OutboxStats says how the writing of decisions, closeouts and annotations goes.
type OutboxStats struct {
	Waiting      int   // records
	WaitingBytes int64 // estimated
	Written      int64 // since the start
	Lost         int64 // since the start: refused because the outbox was full or closed, or refused by Postgres for good. Each was logged as an error
}

// Outbox returns the state of the outbox, for metrics.
func (l *Ledger) Outbox() OutboxStats {
	l.outbox.mu.Lock()
	defer l.outbox.mu.Unlock()
	o := &l.outbox
	return OutboxStats{Waiting: len(o.queue), WaitingBytes: o.bytes, Written: o.written, Lost: o.lost}
}

// enqueue never blocks. What finds no room is logged with its money, so that
// it can be booked by hand, and counted as lost; its hold stays until the
// sweeper charges it in full.
func (l *Ledger) enqueue(i item) {
	if !l.outbox.put(i) {
		l.logLost("the outbox is full or closed", i, nil)
	}
}

func (l *Ledger) logLost(why string, i item, err error) {
	attrs := []any{"why", why, "record", i.kind.String(), "org", i.org, "decision", i.id}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	if c := i.closeout; c != nil {
		attrs = append(attrs, "outcome", c.Outcome, "cost_nano_usd", int64(c.Cost.Total), "cost_known", c.CostKnown, "model", c.Model)
	}
	if d := i.decision; d != nil {
		attrs = append(attrs, "action", d.Action, "debt", d.Debt, "reason", d.Reason, "bound_nano_usd", int64(d.Estimate.Bound))
	}
	l.log.Error("ledger: record lost", attrs...)
}

// Record implements budget.Ledger. d must not be changed afterwards.
func (l *Ledger) Record(d *budget.Decision) {
	size := int64(itemSize + len(d.Path) + len(d.Reason) + len(d.Model) + 256*len(d.Holds) + 64*len(d.Rules))
	for k, v := range d.Subject {
		size += int64(len(k) + len(v) + 64)
	}
	l.enqueue(item{kind: recorded, org: text(d.Org), id: d.ID, size: size, decision: d})
}

// CloseOut implements budget.Ledger. c must not be changed afterwards.
func (l *Ledger) CloseOut(c *budget.Closeout) {
	l.enqueue(item{kind: closed, org: text(c.Org), id: c.ID, size: closeoutSize(c), closeout: c})
}

// CloseOutResponse implements budget.Ledger. c must not be changed afterwards.
// A response that is fetched before the closeout that awaits it was written
// is not found; it counts when it is fetched again.
func (l *Ledger) CloseOutResponse(c *budget.Closeout) {
	l.enqueue(item{kind: fulfilled, org: text(c.Org), size: closeoutSize(c), closeout: c})
}

func closeoutSize(c *budget.Closeout) int64 {
	return int64(itemSize + len(c.RawUsage) + len(c.Detail) + len(c.Model) + len(c.ResponseID) + len(c.ProviderCost) + 64*len(c.Cost.Lines))
}

// Annotate implements budget.Ledger. Any replica's sweeper closes what stays open.
func (l *Ledger) Annotate(a budget.Annotation) {
	size := int64(itemSize + len(a.Flags) + len(a.Details))
	l.enqueue(item{kind: annotated, org: text(a.Org), id: a.ID, size: size, note: &a})
}

// Flush waits until everything that was enqueued before is written, or ctx ends.
func (l *Ledger) Flush(ctx context.Context) error {
	o := &l.outbox
	o.mu.Lock()
	if len(o.queue) == 0 {
		o.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	o.empty = append(o.empty, empty)
	o.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return explainError("flush", ctx.Err())
	}
}

// batchSize bounds the records of one transaction.
const batchSize = 500

// writeOutbox is the one writer of this replica. It goes on until ctx ends.
func (l *Ledger) writeOutbox(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		batch := l.outbox.take(batchSize)
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-l.outbox.wake:
			}
			continue
		}
		err := l.writeWithin(ctx, batch)
		switch {
		case err == nil:
			failures = 0
			l.setState(nil)
			l.outbox.done(len(batch))
		case permanent(err):
			// One record that Postgres will never take must not hold up the others.
			written, ok := l.writeSingly(ctx, batch)
			if ok {
				l.outbox.done(written)
			}
		default:
			if ctx.Err() != nil {
				return
			}
			failures++
			err = explainError("write outbox", err)
			if errors.Is(err, budget.ErrUnavailable) {
				l.setState(err)
			} else if failures == 1 {
				l.log.Error("ledger: can't write decisions and closeouts, will go on trying", "records", len(batch), "error", err)
			}
			sleep(ctx, 4*backoff(failures))
		}
	}
}

// writeTimeout bounds one transaction, so that a server that went silent is left.
const writeTimeout = 10 * time.Second

func (l *Ledger) writeWithin(ctx context.Context, batch []item) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return l.write(ctx, batch)
}

// writeSingly writes a batch record by record and gives up those that Postgres
// refuses for what they hold. It reports false when it has to be tried again.
func (l *Ledger) writeSingly(ctx context.Context, batch []item) (written int, ok bool) {
	for _, i := range batch {
		err := l.writeWithin(ctx, []item{i})
		for attempt := 0; retryable(err); attempt++ {
			sleep(ctx, backoff(attempt))
			err = l.writeWithin(ctx, []item{i})
		}
		switch {
		case err == nil:
			written++
		case permanent(err):
			l.logLost("Postgres refuses it", i, explainError("write "+i.kind.String(), err))
		default:
			return 0, false // every statement is idempotent: the whole batch can come again
		}
	}
	return written, true
}
