package filter

import (
	"cmp"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/uuid"

	"keel/budget"
	"keel/filter/frame"
)

// A checked call is let out by an answer that Envoy may never read: its client left, or Envoy's patience ended, while that was on
// its way. Envoy's access log then has an entry without a decision, of a request that went nowhere; and what was held would stay so until a sweep finds
// that the call is a day old. So a check is remembered for a while by what both messages say of the request. Envoy sends its access log to one
// replica, which need not be the one that was asked: then the sweep it is.

// A requestKey is what a check and an access log entry say of the same request: its id, which a client may have chosen, and when it began, to the
// nanosecond, which it can't choose.
type requestKey struct {
	id    string
	start int64 // Unix nanoseconds
}

// keyOf returns false where one of both is not told: then the time is of 1970.
func keyOf(id string, start time.Time) (requestKey, bool) {
	key := requestKey{id, start.UnixNano()}
	return key, id != "" && key.start != 0
}

// checkedCall is one that was let out.
type checkedCall struct {
	id  uuid.UUID
	org string
}

const (
	forsakenFor  = 30 * time.Second // an entry comes a second after its call, or with the next connection
	forsakenMost = 100_000
)

// forsaken are the checks of the last while. The zero value is ready for use.
type forsaken struct {
	mu    sync.Mutex
	calls map[requestKey]checkedCall
	queue []checkedAt // the oldest first
}

type checkedAt struct {
	key requestKey
	at  time.Time
}

// remember notes a call that was let out. Of two with one key neither is found.
func (f *forsaken) remember(key requestKey, call checkedCall, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = make(map[requestKey]checkedCall)
	}
	old := 0
	for old < len(f.queue) && (now.Sub(f.queue[old].at) > forsakenFor || len(f.queue)-old >= forsakenMost) {
		delete(f.calls, f.queue[old].key)
		old++
	}
	f.queue = f.queue[old:]
	if _, twice := f.calls[key]; twice {
		call = checkedCall{}
	}
	f.calls[key] = call
	f.queue = append(f.queue, checkedAt{key, now})
}

// take finds a call, once.
func (f *forsaken) take(key requestKey) (checkedCall, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	call, ok := f.calls[key]
	if ok && call.id == uuid.Nil {
		return call, false
	}
	delete(f.calls, key)
	return call, ok
}

// rememberCheck notes a call that Check is about to let out, where something is held for it. forget takes that back.
func (s *Server) rememberCheck(call *Call, in *authv3.AttributeContext_Request) (forget func()) {
	if d := call.decision; d == nil || d.Unmetered || call.closed || call.retrieval {
		return func() {}
	}
	r := in.GetHttp() // which has its headers as a map, or as a list
	id := cmp.Or((*headerMap)(r.GetHeaderMap()).Get(headerRequestID), r.GetHeaders()[headerRequestID])
	key, ok := keyOf(id, in.GetTime().AsTime())
	if !ok { // an Envoy that gives requests no id
		return func() {}
	}
	s.forsaken.remember(key, checkedCall{call.id, call.org}, time.Now())
	return func() { s.forsaken.take(key) }
}

// endForsaken closes the call that an entry without a decision tells of, where it is one that was let out and that Envoy sent nowhere: it costs nothing.
func (s *Server) endForsaken(line *frame.Line) {
	if line.Attempts > 0 || line.Upstream || line.Sent || string(line.Details) == viaUpstream {
		return
	}
	key, ok := keyOf(string(line.RequestID), line.Start)
	if !ok {
		return
	}
	call, ok := s.forsaken.take(key)
	if !ok {
		return
	}
	end := neverLetOut(call.id, call.org, line)
	s.ledger.CloseOut(end)
	s.metrics.closeouts.WithLabelValues(string(end.Outcome), string(end.Metered)).Inc()
	s.ledger.Annotate(budget.Annotation{
		ID: call.id, Org: call.org, At: time.Now(), HTTPStatus: end.HTTPStatus, Flags: line.Flags.String(), Details: detailsOf(line),
	})
}
