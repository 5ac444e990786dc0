package filter

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/tokens"
)

// However a stream ends, Process returns an error: a clean end would make Envoy
// pass the rest of the call through.
func TestProcessNeverEndsCleanly(t *testing.T) {
	t.Parallel()
	call := chatCall(`{"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}`)
	for name, end := range map[string]error{
		"EOF":         io.EOF,
		"canceled":    status.Error(codes.Canceled, "context canceled"),
		"broken":      errors.New("connection reset"),
		"unavailable": status.Error(codes.Unavailable, "going away"),
	} {
		for cut := range len(call) + 1 {
			stream := &fakeStream{in: call[:cut], end: end}
			server, _ := newServer(t)
			if err := server.Process(stream); status.Code(err) != codes.Unavailable {
				t.Errorf("%s after %d messages: %v, want Unavailable", name, cut, err)
			}
		}
	}
}

// Beyond the limit a call fails closed before anything of it is read; when one ends, there is room again.
func TestOpenCallLimit(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t)
	server.most = 1
	call := chatCall(`{"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}`)
	inside, leave := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() { first <- server.Process(&waitingStream{fakeStream{in: call, end: io.EOF}, inside, leave}) }()
	<-inside
	for range 3 {
		if err := server.Process(&fakeStream{in: call, end: io.EOF}); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the second call: %v", err)
		}
	}
	if n := testutil.ToFloat64(server.metrics.overloaded); n != 3 {
		t.Errorf("%v are counted", n)
	}
	close(leave)
	if err := <-first; status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	if err := server.Process(&fakeStream{in: call, end: io.EOF}); status.Code(err) != codes.Unavailable {
		t.Errorf("with room again: %v", err)
	}
	if n := server.open.Load(); n != 0 {
		t.Errorf("%d calls are in flight", n)
	}
}

// waitingStream begins when it is told to.
type waitingStream struct {
	fakeStream
	inside, leave chan struct{}
}

func (s *waitingStream) Recv() (*extprocv3.ProcessingRequest, error) {
	if s.inside != nil {
		close(s.inside)
		s.inside = nil
		<-s.leave
	}
	return s.fakeStream.Recv()
}

func TestProcessRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t)
	if err := server.Process(&fakeStream{in: []*extprocv3.ProcessingRequest{{}}, end: io.EOF}); status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want Unavailable", err)
	}
}

// A panic fails its own call closed, and closes it out; the server goes on.
func TestProcessSurvivesAPanic(t *testing.T) {
	t.Parallel()
	server, ledger := newServer(t)
	call := chatCall(`{"model": "gpt-4o-mini", "messages": []}`)
	ledger.panics = true
	if err := server.Process(&fakeStream{in: call, end: io.EOF}); status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want Unavailable", err)
	}
	ledger.panics, ledger.panicsAtEnd = false, true
	if err := server.Process(&fakeStream{in: call, end: io.EOF}); status.Code(err) != codes.Unavailable {
		t.Errorf("at its end: %v, want Unavailable", err)
	}
	ledger.panicsAtEnd = false
	stream := &fakeStream{in: call, end: io.EOF}
	if err := server.Process(stream); status.Code(err) != codes.Unavailable || len(stream.out) != len(call) {
		t.Errorf("the next call: %v, %d answers of %d", err, len(stream.out), len(call))
	}
}

// Each way that a call can end closes it out, once, and says which way it was.
func TestEveryEndIsClosedOut(t *testing.T) {
	t.Parallel()
	call := chatCall(`{"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}`)
	for _, test := range []struct {
		name     string
		messages int // that Envoy sends before it is gone
		sendFail int // the answer that can't be sent, from 1; 0 for none
		outcome  budget.Outcome
		metered  budget.Metered
	}{
		{"before the decision", 1, 0, "", ""},
		{"the permit never reached Envoy", 2, 2, budget.Aborted, budget.NothingSeen},
		{"before the response", 2, 0, budget.Aborted, budget.ByEstimate},
		{"after the response headers", 3, 0, budget.Aborted, budget.ByEstimate},
		{"complete", 4, 0, budget.Complete, budget.ByProvider},
	} {
		server, ledger := newServer(t)
		server.Process(&fakeStream{in: call[:test.messages], end: io.EOF, sendFail: test.sendFail})
		if test.outcome == "" {
			if len(ledger.closeouts) != 0 {
				t.Errorf("%s: %d closeouts, want none", test.name, len(ledger.closeouts))
			}
			continue
		}
		if len(ledger.closeouts) != 1 {
			t.Errorf("%s: %d closeouts, want 1", test.name, len(ledger.closeouts))
			continue
		}
		c := ledger.closeouts[0]
		if c.Outcome != test.outcome || c.Metered != test.metered || !c.CostKnown {
			t.Errorf("%s: outcome %s, metered %s, cost known %t; want %s, %s, true", test.name, c.Outcome, c.Metered, c.CostKnown, test.outcome, test.metered)
		}
		if free := test.metered == budget.NothingSeen; free != (c.Cost.Total == 0) {
			t.Errorf("%s: cost %s", test.name, c.Cost.Total)
		}
	}
}

// chatCall is what Envoy sends of a whole unary call.
func chatCall(body string) []*extprocv3.ProcessingRequest {
	const answer = `{"id":"x","object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}`
	return []*extprocv3.ProcessingRequest{
		{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers(":method", "POST", ":path", "/v1/chat/completions", ":authority", "localhost", "content-type", "application/json")}},
		{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: true}}},
		{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(":status", "200", "content-type", "application/json")}},
		{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(answer), EndOfStream: true}}},
	}
}

func headers(pairs ...string) *extprocv3.HttpHeaders {
	m := new(corev3.HeaderMap)
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return &extprocv3.HttpHeaders{Headers: m}
}

func newServer(t *testing.T, documents ...budget.SubjectRule) (*Server, *notes) {
	t.Helper()
	ledger := new(notes)
	return serverOf(t, budget.Documents{Subjects: documents}, ledger), ledger
}

// serverOf has a configuration and a ledger, until the test ends.
func serverOf(t testing.TB, documents budget.Documents, ledger budget.Ledger) *Server {
	t.Helper()
	config, err := budget.Compile(documents, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	current := new(atomic.Pointer[budget.Config])
	current.Store(config)
	server := New(Options{
		Config: current, Decider: &budget.Decider{Ledger: ledger, Estimator: tokens.New()}, Ledger: ledger,
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	t.Cleanup(server.grpc.Stop)
	return server
}

// notes is a ledger that permits everything and remembers what it was told.
// The real one is tested with Envoy, in e2e.
type notes struct {
	mu          sync.Mutex
	panics      bool
	panicsAtEnd bool
	permitted   []*budget.Decision
	recorded    []*budget.Decision
	closeouts   []*budget.Closeout
	fulfilled   []*budget.Closeout
	awaited     []budget.Durability
	annotations []budget.Annotation
}

func (n *notes) Permit(_ context.Context, d *budget.Decision) error {
	if n.panics {
		panic("a defect")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.permitted = append(n.permitted, d)
	return nil
}

func (n *notes) Record(d *budget.Decision) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.recorded = append(n.recorded, d)
}

func (n *notes) Extend(context.Context, uuid.UUID, []pricing.NanoUSD) error { return nil }

func (n *notes) Owe(d *budget.Decision) error { return n.Permit(context.Background(), d) }

func (n *notes) CloseOut(c *budget.Closeout) budget.Receipt {
	if n.panicsAtEnd {
		panic("a defect")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closeouts = append(n.closeouts, c)
	return budget.Receipt{Seq: uint64(len(n.closeouts))}
}

func (n *notes) Await(_ context.Context, r budget.Receipt, as budget.Durability) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.awaited = append(n.awaited, as)
	return nil
}

func (n *notes) CloseOutResponse(c *budget.Closeout) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fulfilled = append(n.fulfilled, c)
}

func (n *notes) Annotate(a budget.Annotation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.annotations = append(n.annotations, a)
}

func (n *notes) Standing(budget.Account) budget.Standing { return budget.Standing{} }

// fakeStream is Envoy's side of a stream: in, then end.
type fakeStream struct {
	grpc.ServerStream
	in       []*extprocv3.ProcessingRequest
	out      []*extprocv3.ProcessingResponse
	end      error
	sendFail int
}

func (f *fakeStream) Context() context.Context { return context.Background() }

func (f *fakeStream) Recv() (*extprocv3.ProcessingRequest, error) {
	if len(f.in) == 0 {
		return nil, f.end
	}
	next := f.in[0]
	f.in = f.in[1:]
	return next, nil
}

func (f *fakeStream) Send(answer *extprocv3.ProcessingResponse) error {
	if f.sendFail == len(f.out)+1 {
		return io.EOF
	}
	f.out = append(f.out, answer)
	return nil
}
