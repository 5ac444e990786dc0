package ledger

import (
	"context"
	"sync"

	"keel/budget"
)

// notes are annotations that wait to be written, in memory and bounded: the
// access log is lossy anyway, and carries no money.
type notes struct {
	mu      sync.Mutex
	queue   []budget.Annotation
	taken   int
	bytes   int64
	limit   int64
	dropped int64
	wake    chan struct{}
	empty   chan struct{} // closed when the queue is empty; nil when nobody waits
}

func (n *notes) init(limit int64) {
	n.limit = limit
	n.wake = make(chan struct{}, 1)
}

// noteBatch bounds the annotations of one transaction.
const noteBatch = 500

func noteSize(a *budget.Annotation) int64 {
	size := 256 + len(a.Flags) + len(a.Details)
	if a.Correction != nil {
		size += 512 + 512*len(a.Correction.AttemptRows)
	}
	return int64(size)
}

// Annotate implements budget.Ledger. Any replica's sweeper closes what stays open.
func (l *Ledger) Annotate(a budget.Annotation) {
	n := &l.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bytes+noteSize(&a) > n.limit {
		if n.dropped++; n.dropped&(n.dropped-1) == 0 { // the first, and ever less often
			l.log.Warn("ledger: access log lines dropped: too many wait to be written", "dropped", n.dropped)
		}
		return
	}
	n.queue = append(n.queue, a)
	n.bytes += noteSize(&a)
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// take returns the first of the queue; done must follow.
func (n *notes) take() []budget.Annotation {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken = min(len(n.queue), noteBatch)
	return n.queue[:n.taken]
}

func (n *notes) done() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.queue[:n.taken] {
		n.bytes -= noteSize(&n.queue[i])
	}
	n.queue = append([]budget.Annotation(nil), n.queue[n.taken:]...)
	if len(n.queue) == 0 && n.empty != nil {
		close(n.empty)
		n.empty = nil
	}
}

// flush waits until all is written or ctx ends.
func (n *notes) flush(ctx context.Context) error {
	n.mu.Lock()
	if len(n.queue) == 0 {
		n.mu.Unlock()
		return nil
	}
	if n.empty == nil {
		n.empty = make(chan struct{})
	}
	empty := n.empty
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
	for attempt := 0; ctx.Err() == nil; {
		batch := l.notes.take()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-l.notes.wake:
			}
			continue
		}
		err := l.bank.Annotate(ctx, batch)
		if err == nil || permanent(err) {
			if err != nil {
				l.log.Warn("ledger: access log lines dropped: the database refuses them", "lines", len(batch), "error", err)
			}
			l.notes.done()
			attempt = 0
			continue
		}
		sleep(ctx, 4*backoff(attempt))
		attempt++
	}
}
