package ledger

import (
	"context"
	"sync"
	"time"

	"keel/budget"
	"keel/budget/ledger/escrow"
)

// notes are annotations that wait to be written, in memory and bounded: the
// access log is lossy anyway, and carries no money.
type notes struct {
	mu      sync.Mutex
	queue   []budget.Annotation
	spare   []budget.Annotation // memory of a queue that is written
	writing bool                // what was taken is not done
	bytes   int64               // of the queue, and of what is being written
	limit   int64
	dropped int64
	wake    chan struct{} // the queue is empty no more
	rush    chan struct{} // what is there need not wait for more
	empty   chan struct{} // closed when all is written; nil when nobody waits
}

func (n *notes) init(limit int64) {
	n.limit = limit
	n.wake, n.rush = make(chan struct{}, 1), make(chan struct{}, 1)
}

const (
	noteBatch = 1000 // bounds the annotations of one statement

	// noteGather is how long the first line waits for others: Envoy sends several at once.
	noteGather = 2 * time.Millisecond

	keptNotes = 4 * noteBatch // bounds the memory that is kept for the next ones
)

func noteSize(a *budget.Annotation) int64 {
	size := 256 + len(a.Flags) + len(a.Details)
	if a.Correction != nil {
		size += 512 + 512*len(a.Correction.AttemptRows)
	}
	return int64(size)
}

// Annotate implements budget.Ledger. Any replica's sweeper closes what stays open.
func (l *Ledger) Annotate(a budget.Annotation) {
	n, size := &l.notes, noteSize(&a)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bytes+size > n.limit {
		if n.dropped++; n.dropped&(n.dropped-1) == 0 { // the first, and ever less often
			l.log.Warn("ledger: access log lines dropped: too many wait to be written", "dropped", n.dropped)
		}
		return
	}
	n.queue = append(n.queue, a)
	n.bytes += size
	switch len(n.queue) {
	case 1:
		signal(n.wake)
	case noteBatch:
		signal(n.rush)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take waits until there is something to write, and for more of it, until notBefore at least where nobody is in a hurry. It returns all that is there; done must
// follow. It returns nothing when ctx ends.
func (n *notes) take(ctx context.Context, notBefore time.Time) []budget.Annotation {
	select {
	case <-ctx.Done():
		return nil
	case <-n.wake:
	}
	pause := time.NewTimer(max(noteGather, time.Until(notBefore)))
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-n.rush:
	case <-pause.C:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.queue
	n.queue, n.spare, n.writing = n.spare, nil, true
	return taken
}

// wrote says that some of what was taken need not be written any more.
func (n *notes) wrote(some []budget.Annotation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range some {
		n.bytes -= noteSize(&some[i])
	}
}

// done says so of all.
func (n *notes) done(taken []budget.Annotation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.writing = false; cap(taken) <= keptNotes {
		clear(taken)
		n.spare = taken[:0]
	}
	switch {
	case n.empty == nil:
	case len(n.queue) == 0:
		close(n.empty)
		n.empty = nil
	default: // who waits for all waits for what came meanwhile, too
		signal(n.rush)
	}
}

// flush waits until all is written or ctx ends.
func (n *notes) flush(ctx context.Context) error {
	n.mu.Lock()
	if len(n.queue) == 0 && !n.writing {
		n.mu.Unlock()
		return nil
	}
	if n.empty == nil {
		n.empty = make(chan struct{})
	}
	empty := n.empty
	signal(n.rush)
	n.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return explainError("write access log lines", ctx.Err())
	}
}

// writeNotes writes annotations until ctx ends.
func (l *Ledger) writeNotes(ctx context.Context) {
	var pace escrow.Pace
	var next time.Time
	for ctx.Err() == nil {
		taken := l.notes.take(ctx, next)
		most := noteBatch
		for rest, attempt := taken, 0; len(rest) > 0; {
			batch := rest[:min(len(rest), most)]
			err := l.bank.Annotate(ctx, batch)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && !permanent(err):
				sleep(ctx, 4*backoff(attempt))
				attempt++
				continue
			case err != nil && len(batch) > 1: // what one of them holds must not lose the others
				most = len(batch) / 2
				continue
			case err != nil:
				l.log.Warn("ledger: access log line dropped: the database refuses it", "decision", batch[0].ID, "error", err)
			}
			l.notes.wrote(batch)
			rest, attempt, most = rest[len(batch):], 0, noteBatch
		}
		l.notes.done(taken)
		next = time.Now().Add(pace.After(len(taken), len(taken) >= noteBatch))
	}
}
