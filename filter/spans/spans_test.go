package spans

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
)

// receiver is a tracing backend, as far as OTLP goes.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*otlp.Span
	fail  error
	wait  chan struct{} // nil, or closed when it answers
}

func (r *receiver) Export(ctx context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	if r.wait != nil {
		select {
		case <-r.wait:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return nil, r.fail
	}
	for _, of := range request.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			r.spans = append(r.spans, scope.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func start(t *testing.T, r *receiver, queue int) *Sender {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	s, err := Start(t.Context(), Options{Endpoint: "http://" + l.Addr().String(), Version: "v", Queue: queue, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sent() *Call {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	d := &budget.Decision{
		Call:   budget.Call{ID: uuid.MustParse("01a20cf0-1ec9-7d01-a4ee-2789ef60cc9d"), Org: "acme", At: at, API: "openai.chat", Provider: "openai", Model: "gpt-5", Subject: budget.Subject{"user": "ada"}},
		Action: budget.Substitute, Reason: "cheaper", Route: "chat", RoutedProvider: "google", RoutedModel: "gemini", Estimate: budget.Estimate{Expected: 3, Bound: 5},
	}
	return &Call{
		Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=b", Decision: d, Ended: at.Add(2 * time.Second),
		Closeout: &budget.Closeout{ID: d.ID, Org: "acme", At: at.Add(2 * time.Second), Outcome: budget.Complete, Metered: budget.ByProvider, Usage: &meter.Usage{meter.Input: 7, meter.Output: 11},
			Cost: pricing.Cost{Total: 4}, CostKnown: true, Attempts: 2, HTTPStatus: 200, Model: "gemini-2", ResponseID: "r1",
			AttemptRows: []budget.Attempt{
				{Number: 1, At: at.Add(time.Millisecond), Provider: "google", Model: "gemini", Ended: budget.AttemptFailed, Status: 503, FirstByte: time.Second, Cost: 1, Bound: 5, Basis: "bound", Detail: "overloaded"},
				{Number: 2, At: at.Add(time.Second), Provider: "google", Model: "gemini", Ended: budget.AttemptAnswered, Status: 200, Cost: 3, Bound: 5, Basis: "usage"},
			}},
	}
}

func attributes(s *otlp.Span) map[string]string {
	all := make(map[string]string)
	for _, kv := range s.Attributes {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			all[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			all[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			all[kv.Key] = fmt.Sprint(v.BoolValue)
		}
	}
	return all
}

// A call is a span below the client's, its attempts are below it, and money is exact. Nobody is named.
func TestSpans(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	s := start(t, r, 0)
	s.Send(sent())
	denied := sent()
	denied.Parent, denied.Closeout = "", nil
	denied.Decision.Action, denied.Decision.Denial = budget.Deny, &budget.Denial{Status: 429, Code: "budget_exceeded"}
	s.Send(denied)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.spans) != 4 || testutil.ToFloat64(s.sent) != 4 {
		t.Fatalf("%d spans, %v counted", len(r.spans), testutil.ToFloat64(s.sent))
	}
	var call, refused *otlp.Span
	var attempts []*otlp.Span
	for _, span := range r.spans {
		switch {
		case strings.HasPrefix(span.Name, "attempt "):
			attempts = append(attempts, span)
		case fmt.Sprintf("%x", span.TraceId) == "0af7651916cd43dd8448eb211c80319c":
			call = span
		default:
			refused = span
		}
		for _, v := range attributes(span) {
			if v == "ada" {
				t.Errorf("%s names who called", span.Name)
			}
		}
	}
	if call == nil || call.Name != "chat gpt-5" || fmt.Sprintf("%x", call.ParentSpanId) != "b7ad6b7169203331" || call.TraceState != "a=b" || call.EndTimeUnixNano-call.StartTimeUnixNano != 2e9 || call.Kind != otlp.Span_SPAN_KIND_CLIENT {
		t.Fatalf("%+v", call)
	}
	got := attributes(call)
	for key, want := range map[string]string{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gpt-5", "gen_ai.response.model": "gemini-2", "gen_ai.response.id": "r1",
		"gen_ai.usage.input_tokens": "7", "gen_ai.usage.output_tokens": "11", "http.response.status_code": "200",
		"keel.decision.id": "01a20cf0-1ec9-7d01-a4ee-2789ef60cc9d", "keel.org": "acme", "keel.action": "substitute", "keel.route": "chat", "keel.model": "gemini", "keel.outcome": "complete",
		"keel.metered": "provider", "keel.attempts": "2", "keel.cost_nanodollars": "4", "keel.estimate.expected_nanodollars": "3", "keel.estimate.bound_nanodollars": "5",
	} {
		if got[key] != want {
			t.Errorf("%s = %q, want %q", key, got[key], want)
		}
	}
	slices.SortFunc(attempts, func(a, b *otlp.Span) int { return int(a.StartTimeUnixNano) - int(b.StartTimeUnixNano) })
	if len(attempts) != 2 || string(attempts[0].ParentSpanId) != string(call.SpanId) || attempts[0].Status.GetCode() != otlp.Status_STATUS_CODE_ERROR ||
		attributes(attempts[0])["keel.cost_nanodollars"] != "1" || attempts[1].EndTimeUnixNano != call.EndTimeUnixNano || attempts[0].EndTimeUnixNano-attempts[0].StartTimeUnixNano != 1e9 {
		t.Errorf("%+v", attempts)
	}
	if refused == nil || len(refused.ParentSpanId) != 0 || attributes(refused)["error.type"] != "budget_exceeded" || refused.Status.GetCode() != otlp.Status_STATUS_CODE_ERROR {
		t.Errorf("%+v", refused)
	}
}

// A backend that hangs costs spans and no time: what does not fit is dropped and counted.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	r := &receiver{wait: make(chan struct{})}
	s := start(t, r, 4)
	const calls = 5000 // far more than the queue and the batches behind it take
	for range calls {
		s.Send(sent()) // would never return if it waited: nobody answers yet
	}
	dropped := testutil.ToFloat64(s.dropped)
	if dropped == 0 {
		t.Error("nothing was dropped")
	}
	close(r.wait)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := float64(len(r.spans)) / 3; took+dropped != calls {
		t.Errorf("%v calls came, %v were dropped, of %d", took, dropped, calls)
	}
}

// What the backend refuses is counted.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := start(t, &receiver{fail: status.Error(codes.InvalidArgument, "no")}, 0)
	s.Send(sent())
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(s.failed); n != 3 {
		t.Errorf("%v are counted", n)
	}
	var none *Sender
	none.Send(sent())
	if err := none.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, endpoint := range []string{"localhost:4317", "", "ftp://x"} {
		if _, err := Start(t.Context(), Options{Endpoint: endpoint}); err == nil || !strings.Contains(err.Error(), "want http://HOST:PORT") {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
