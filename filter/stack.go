package filter

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// stacks are goroutines with a deep stack, for what needs one and is over soon: a decision, a closeout. A stream of a call may be
// open for hours, and a goroutine keeps a stack as deep as it ever was; those of streams stay small by leaving what is
// deep to one of these. A stack that was grown before is also not grown again for each call.
//
// There are as many as work at once: nothing waits for one. A few are kept for what comes next.
//
// What reads a piece of an answer needs 8 KiB, too, where a stream that waits needs 4. With few streams that is nothing, and a piece is read
// where it was received; with many it is most of what a call keeps, and then that is left to one of these, for less than a microsecond a piece.
type stacks struct {
	work chan *errand
	idle atomic.Int64 // those that wait for work, or are about to
}

// errand is work for another goroutine, whose end somebody waits for. It is used again.
type errand struct {
	do       func()
	panicked error // of do, with its stack
	done     chan struct{}
}

var errands = sync.Pool{New: func() any { return &errand{done: make(chan struct{}, 1)} }}

// fewStreams is up to how many streams read the pieces of answers on their own stack.
const fewStreams = 256

func newStacks() *stacks { return &stacks{work: make(chan *errand)} }

// run calls do on a deep stack and returns when it has returned. A panic of do is one of run.
func (s *stacks) run(do func()) {
	e := errands.Get().(*errand)
	e.do = do
	select {
	case s.work <- e:
	default:
		go s.serve(e)
	}
	<-e.done
	panicked := e.panicked
	e.do, e.panicked = nil, nil
	errands.Put(e)
	if panicked != nil {
		panic(panicked)
	}
}

// serve does one errand after the other.
func (s *stacks) serve(e *errand) {
	for {
		e.run() // and is another's from here on
		if s.idle.Add(1) > int64(2*runtime.GOMAXPROCS(0)) {
			s.idle.Add(-1)
			return
		}
		e = <-s.work
		s.idle.Add(-1)
	}
}

func (e *errand) run() {
	defer func() {
		if p := recover(); p != nil {
			e.panicked = fmt.Errorf("%v\n%s", p, debug.Stack())
		}
		e.done <- struct{}{}
	}()
	e.do()
}
