package filter

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"keel/budget"
	"keel/filter/frame"
	"keel/pricing"
)

// forgetful is a ledger that permits everything and keeps nothing: what a benchmark measures is the filter.
type forgetful struct{}

func (forgetful) Permit(context.Context, *budget.Decision) error { return nil }
func (forgetful) Record(*budget.Decision)                        {}
func (forgetful) Extend(context.Context, uuid.UUID, []pricing.NanoUSD) error {
	return nil
}
func (forgetful) Owe(*budget.Decision) error                   { return nil }
func (forgetful) CloseOut(*budget.Closeout) (r budget.Receipt) { return r }
func (forgetful) CloseOutResponse(*budget.Closeout)            {}
func (forgetful) Annotate(budget.Annotation)                   {}
func (forgetful) Standing(budget.Account) (s budget.Standing)  { return s }
func (forgetful) Await(context.Context, budget.Receipt, budget.Durability) error {
	return nil
}

// benchServer has six budgets and twenty policies that match, and do not match, as in e2e/bench.
func benchServer(t testing.TB) *Server {
	t.Helper()
	var docs budget.Documents
	for _, label := range []string{"team", "user", "app"} {
		docs.Subjects = append(docs.Subjects, budget.SubjectRule{Meta: budget.Meta{Name: label, Version: 1}, Label: label, From: budget.Source{Header: "x-keel-" + label}})
	}
	for i, selector := range []map[string]string{nil, {"team": "research"}, {"user": "ada"}, {"app": "ide"}, {"model": "gpt-5*"}, {"provider": "openai"}} {
		docs.Budgets = append(docs.Budgets, budget.Budget{
			Meta: budget.Meta{Name: fmt.Sprint("budget-", i), Version: 1}, Limit: 1_000_000_000_000_000_000, Window: "month", Mode: budget.Enforce, Selector: selector,
		})
	}
	policy := func(when string, do budget.PolicyAction) {
		docs.Policies = append(docs.Policies, budget.Policy{Meta: budget.Meta{Name: fmt.Sprintf("policy-%02d", len(docs.Policies)), Version: 1}, When: when, Do: do})
	}
	policy(`subject.team == "research" && request.bound_cost > usd("500")`, budget.PolicyAction{Deny: "too dear"})
	policy(`request.model.startsWith("gpt-5") && request.input_tokens > 10`, budget.PolicyAction{Tag: map[string]string{"size": "some"}})
	policy(`budgets["budget-1"].used_percent >= 0 && request.choices < 2`, budget.PolicyAction{Warn: "budget-1 is in use"})
	for i := range 17 {
		policy(fmt.Sprintf(`subject.team == "team-%d" && request.model in ["gpt-5", "o3"] && request.input_tokens > 1000`, i), budget.PolicyAction{Deny: "no"})
	}
	server := serverOf(t, docs, forgetful{})
	server.decider.Health = budget.NewHealth()
	return server
}

// benchWords are in every request, in another order.
var benchWords = strings.Fields("the budget of a team is what it may spend in a window and every call holds what it can cost at most before a provider sees it " +
	"while policies say what is denied or constrained and a route says where it goes instead of where it was asked to go")

// benchBody is a request of about so many bytes that nobody has seen.
func benchBody(size int) []byte {
	var b strings.Builder
	b.WriteString(`{"model":"gpt-5-mini","max_completion_tokens":200,"messages":[{"role":"system","content":"`)
	for i := range 2 {
		if i > 0 {
			b.WriteString(`"},{"role":"user","content":"`)
		}
		fmt.Fprintf(&b, "%016x", rand.Uint64())
		for end := size * (i + 1) / 2; b.Len() < end; {
			b.WriteString(" " + benchWords[rand.IntN(len(benchWords))])
		}
	}
	b.WriteString(`"}]}`)
	return []byte(b.String())
}

// benchCall is a whole call as Envoy sends it.
func benchCall(body []byte) []*extprocv3.ProcessingRequest {
	call := chatCall("")
	call[0].Request.(*extprocv3.ProcessingRequest_RequestHeaders).RequestHeaders = headers(":method", "POST", ":path", "/v1/chat/completions", ":authority", "bench.test", ":scheme", "http",
		"content-type", "application/json", "accept", "*/*", "user-agent", "keel-bench", "x-keel-team", "research", "x-keel-user", "ada", "x-keel-app", "ide",
		"x-keel-target", "openai/gpt-5-mini", "authorization", "Bearer sk-bench", "x-request-id", "4a6f", "x-forwarded-proto", "http", "content-length", "1000")
	call[1].Request.(*extprocv3.ProcessingRequest_RequestBody).RequestBody.Body = body
	return call
}

// BenchmarkCall is what the filter does for a call, from parsed messages to replies, with a ledger that does nothing.
func BenchmarkCall(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10} {
		b.Run(fmt.Sprintf("%d KB", size>>10), func(b *testing.B) {
			server := benchServer(b)
			bodies := make([][]byte, 4096)
			for i := range bodies {
				bodies[i] = benchBody(size)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				stream := &fakeStream{in: benchCall(bodies[n%len(bodies)]), end: io.EOF}
				n++
				server.Process(stream)
				if len(stream.out) != 4 {
					b.Fatal(len(stream.out), stream.out)
				}
			}
		})
	}
}

// BenchmarkCheck is the same for a call that ext_authz asks about, from the frame to the frame, on a goroutine that had others
// before, as gRPC has it (see streamWorkers).
func BenchmarkCheck(b *testing.B) {
	server, codec := benchServer(b), frame.NewCodec()
	frames := make([][]byte, 4096)
	for i := range frames {
		call := benchCall(benchBody(1 << 10))
		headers := make(map[string]string)
		for _, h := range call[0].GetRequestHeaders().Headers.Headers {
			headers[h.Key] = headerValue(h)
		}
		data, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Headers: headers, RawBody: call[1].GetRequestBody().Body},
		}}})
		if err != nil {
			b.Fatal(err)
		}
		frames[i] = data
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		in := new(authv3.CheckRequest)
		if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(frames[n%len(frames)])}, in); err != nil {
			b.Fatal(err)
		}
		n++
		out, err := server.Check(context.Background(), in)
		if err == nil {
			_, err = codec.Marshal(out)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
