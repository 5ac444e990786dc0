//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// backend takes spans.
type backend struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans map[string]*otlp.Span // by name
}

func (b *backend) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, of := range request.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				b.spans[span.Name] = span
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// A call through the real Envoy is a span below the one that the client names, with its attempt below it and its cost in it.
func TestSpans(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{spans: make(map[string]*otlp.Span)}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, b)
	go server.Serve(l)
	defer server.Stop()

	p := admit(t, nil)
	p.replica.args = append(p.replica.args, "--grpc", p.replica.connection().Target(), "--otlp", "http://"+l.Addr().String())
	p.restart(syscall.SIGTERM)
	var a *answer
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if a = p.post(t, "/v1/chat/completions", chatCall, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"); a.status == http.StatusOK {
			break // Envoy has found the processor again
		}
	}
	r := p.record(t, a.decision())
	var call, attempt *otlp.Span
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		b.mu.Lock()
		call, attempt = b.spans["chat gpt-4o-mini"], b.spans["attempt openai/gpt-4o-mini"]
		b.mu.Unlock()
		if call != nil && attempt != nil {
			break
		}
	}
	if call == nil || attempt == nil {
		t.Fatalf("no spans: %v", b.spans)
	}
	if fmt.Sprintf("%x %x", call.TraceId, call.ParentSpanId) != "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331" || string(attempt.ParentSpanId) != string(call.SpanId) {
		t.Errorf("not below the client's: %v", call)
	}
	text := fmt.Sprint(call.Attributes)
	for _, want := range []string{a.decision(), fmt.Sprintf(`"keel.cost_nanodollars" value:{int_value:%d}`, nano(t, r["actual_cost_usd"]))} {
		if !strings.Contains(strings.ReplaceAll(text, "  ", " "), want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	if strings.Contains(text, "Hello") {
		t.Error("the span says what was said")
	}
}
