package filter

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"keel/budget"
	"keel/pricing"
)

// heldStream gives the messages of a call, makes each when it is asked for it, and then waits.
type heldStream struct {
	fakeStream
	next    func(n int) *extprocv3.ProcessingRequest // nil: there is no more
	n       int
	message *extprocv3.ProcessingRequest
	waiting *sync.WaitGroup
	goOn    chan struct{}
}

func (w *heldStream) Wait() (piece bool, err error) {
	w.out, w.message = nil, nil // what was sent is gone, and what was received
	w.message = w.next(w.n)
	if w.n++; w.message == nil {
		w.waiting.Done()
		<-w.goOn
		return false, io.EOF
	}
	return w.message.GetResponseBody() != nil, nil
}

func (w *heldStream) Recv() (*extprocv3.ProcessingRequest, error) { return w.message, nil }

// What a call keeps while it waits for the rest of its answer is bounded, whatever its request was: neither the body, nor the headers, nor the
// stack that its decision needed.
func TestWhatAWaitingCallKeeps(t *testing.T) {
	const (
		calls    = 50
		mostHeap = 5 << 10 // bytes a call; 4.1 kB were measured
	)
	server, _ := newServer(t)
	var documents budget.Documents
	for i := range 6 {
		documents.Budgets = append(documents.Budgets, budget.Budget{Meta: budget.Meta{Name: fmt.Sprint("budget-", i)}, Limit: 1e12, Window: "month", Mode: budget.Enforce})
	}
	config, err := budget.Compile(documents, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	server.config.Store(config)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection halves stacks that are too large
	var waiting, ended sync.WaitGroup
	goOn := make(chan struct{})
	measure := func() (heap, stacks int64) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		stacks = int64(m.StackInuse)
		runtime.GC()
		runtime.GC() // what was pooled is gone now
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc), stacks
	}
	one := func() {
		stream := &heldStream{waiting: &waiting, goOn: goOn, next: func(n int) *extprocv3.ProcessingRequest {
			padding := strings.Repeat("all work and no play ", 2000)
			call := chatCall(`{"model": "gpt-4o-mini", "stream": true, "max_tokens": 20, "messages": [{"role": "user", "content": "` + padding + `"}]}`)
			call[0].GetRequestHeaders().Headers.Headers = append(call[0].GetRequestHeaders().Headers.Headers, headers("x-padding", padding).Headers.Headers...)
			call[2] = &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{
				ResponseHeaders: headers(":status", "200", "content-type", "text/event-stream", "x-padding", padding)}}
			call = append(call[:3], &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{
				Body: []byte(`data: {"id":"x","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hello."}}]}` + "\n\n")}}})
			if n < len(call) {
				return call[n]
			}
			return nil
		}}
		waiting.Add(1)
		ended.Go(func() { server.Process(stream) })
		waiting.Wait()
	}
	one() // the first loads what all share
	heapBefore, stacksBefore := measure()
	for range calls {
		one()
	}
	heap, stack := measure()
	heap, stack = (heap-heapBefore)/calls, (stack-stacksBefore)/calls
	if n := server.calls.Load(); n != calls+1 {
		t.Errorf("%d calls are open", n)
	}
	t.Logf("a call keeps %d bytes, and a stack of %d", heap, stack)
	if heap > mostHeap || stack > stackBytes {
		t.Errorf("a waiting call keeps %d bytes on the heap, at most %d; a stack of %d, at most %d", heap, mostHeap, stack, stackBytes)
	}
	close(goOn)
	ended.Wait()
}

// A panic on another goroutine is one of who waits for it, and the goroutine goes on.
func TestStacks(t *testing.T) {
	t.Parallel()
	s := newStacks()
	var done atomic.Int64
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			defer func() {
				if p := recover(); (p != nil) != (i%10 == 0) {
					t.Errorf("%d panics with %v", i, p)
				} else if p != nil && !strings.Contains(p.(error).Error(), "a defect\n") {
					t.Errorf("%v", p)
				}
			}()
			s.run(func() {
				done.Add(1)
				if i%10 == 0 {
					panic("a defect")
				}
			})
		})
	}
	all.Wait()
	if n, most := s.idle.Load(), int64(2*runtime.GOMAXPROCS(0)); done.Load() != 100 || n > most {
		t.Errorf("%d of 100 were done, %d are idle, at most %d", done.Load(), n, most)
	}
}
