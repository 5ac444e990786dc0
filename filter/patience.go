package filter

import (
	"context"
	"sync"
	"time"
)

// patience is the context of a decision. It ends at a deadline as any other does, but has a timer only once somebody waits for it or hands
// it on: a decision out of slices in memory waits for nothing.
type patience struct {
	deadline time.Time

	mu      sync.Mutex
	waiting context.Context // nil while nobody has asked
	cancel  context.CancelFunc
}

// patient returns one that ends in some time, and has to be ended.
func patient(timeout time.Duration) *patience { return &patience{deadline: time.Now().Add(timeout)} }

// ended is what is left of a patience.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
		return
	}
	p.waiting = ended
}

func (p *patience) context() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting, p.cancel = context.WithDeadline(context.Background(), p.deadline)
	}
	return p.waiting
}

// Deadline implements context.Context.
func (p *patience) Deadline() (time.Time, bool) { return p.deadline, true }

// Done implements context.Context.
func (p *patience) Done() <-chan struct{} { return p.context().Done() }

// Err implements context.Context.
func (p *patience) Err() error { return p.context().Err() }

// Value implements context.Context.
func (p *patience) Value(key any) any { return p.context().Value(key) }
