package filter

import (
	"fmt"
	"io"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"keel/budget"
)

// A job in the background is charged in full and awaited; the call that fetches
// its answer tells the ledger what it used, and is billed nothing itself.
func TestBackgroundJob(t *testing.T) {
	t.Parallel()
	const (
		queued    = `{"id":"resp_1","object":"response","created_at":1767225600,"status":"queued","background":true,"model":"gpt-4o-mini","output":[],"usage":null}`
		completed = `{"id":"resp_1","object":"response","created_at":1767225600,"status":"completed","background":true,"model":"gpt-4o-mini","output":[],` +
			`"usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":0},"output_tokens":1000,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":2000}}`
	)
	server, ledger := newServer(t)
	call := chatCall(`{"model":"gpt-4o-mini","background":true,"max_output_tokens":2000,"input":"hi"}`)
	call[0].GetRequestHeaders().Headers.Headers[1].RawValue = []byte("/v1/responses")
	call[3].GetResponseBody().Body = []byte(queued)
	server.Process(&fakeStream{in: call, end: io.EOF})
	if len(ledger.closeouts) != 1 {
		t.Fatalf("%d closeouts", len(ledger.closeouts))
	}
	if c := ledger.closeouts[0]; !c.Awaited || c.ResponseID != "resp_1" || c.Metered != budget.ByEstimate || c.Cost.Total == 0 || c.Cost.Total != ledger.permitted[0].Estimate.Bound {
		t.Errorf("the job: %+v", c)
	}

	fetch := func(body string, status string, end bool) {
		request := headers(":method", "GET", ":path", "/v1/responses/resp_1", ":authority", "localhost")
		request.EndOfStream = true
		in := []*extprocv3.ProcessingRequest{
			{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: request}},
			{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(":status", status, "content-type", "application/json")}},
			{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: end}}},
		}
		stream := &fakeStream{in: in, end: io.EOF}
		server.Process(stream)
		if stream.out[0].GetRequestHeaders() == nil || stream.out[0].GetModeOverride() != nil {
			t.Errorf("the fetching call is not let through with its response to be read: %v", stream.out[0])
		}
	}
	fetch(queued, "200", true)
	fetch(completed[:len(completed)-10], "200", false)
	fetch(`{"error":{"message":"no such response"}}`, "404", true)
	if len(ledger.fulfilled) != 0 {
		t.Fatalf("told of %d usages that nobody knows yet", len(ledger.fulfilled))
	}
	fetch(completed, "200", true)
	if len(ledger.fulfilled) != 1 {
		t.Fatalf("told of %d usages, want 1", len(ledger.fulfilled))
	}
	// gpt-4o-mini: 0.15 and 0.60 dollars a million.
	if c := ledger.fulfilled[0]; c.ResponseID != "resp_1" || c.Org != budget.DefaultOrg || !c.CostKnown || c.Cost.Total.String() != "0.00075" || c.Usage.OutputTokens() != 1000 {
		t.Errorf("fetched: %+v", c)
	}
	for _, c := range ledger.closeouts[1:] {
		if c.Outcome != budget.Unmetered || c.Cost.Total != 0 {
			t.Errorf("a fetching call: %+v", c)
		}
	}
}

// A batch tells zeros until it has ended: they are not what it used.
func TestBatch(t *testing.T) {
	t.Parallel()
	batch := func(status string, tokens int) string {
		return fmt.Sprintf(`{"id":"batch_1","object":"batch","created_at":1792195200,"status":%q,"model":"gpt-4o-mini","usage":{"input_tokens":%d,"output_tokens":%d,"total_tokens":%d}}`,
			status, tokens, tokens, 2*tokens)
	}
	server, ledger := newServer(t)
	call := chatCall(`{"input_file_id":"file-1","endpoint":"/v1/responses","completion_window":"24h"}`)
	call[0].GetRequestHeaders().Headers.Headers[1].RawValue = []byte("/v1/batches")
	call[3].GetResponseBody().Body = []byte(batch("validating", 0))
	server.Process(&fakeStream{in: call, end: io.EOF})
	if len(ledger.closeouts) != 1 {
		t.Fatalf("%d closeouts", len(ledger.closeouts))
	}
	if c := ledger.closeouts[0]; !c.Awaited || c.ResponseID != "batch_1" || c.Metered == budget.ByProvider {
		t.Errorf("the job: %+v", c)
	}
	for _, body := range []string{batch("in_progress", 0), batch("completed", 1000)} {
		request := headers(":method", "GET", ":path", "/v1/batches/batch_1", ":authority", "localhost")
		request.EndOfStream = true
		server.Process(&fakeStream{end: io.EOF, in: []*extprocv3.ProcessingRequest{
			{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: request}},
			{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(":status", "200", "content-type", "application/json")}},
			{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: true}}},
		}})
	}
	if len(ledger.fulfilled) != 1 {
		t.Fatalf("told of %d usages, want 1", len(ledger.fulfilled))
	}
	// gpt-4o-mini in a batch: half of 0.15 and 0.60 dollars a million.
	if c := ledger.fulfilled[0]; c.ResponseID != "batch_1" || !c.CostKnown || c.Cost.Total.String() != "0.000375" {
		t.Errorf("fetched: %+v", c)
	}
}

// A call without a body that should have one is refused as what it is.
func TestNoBody(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t)
	request := chatCall("")[0]
	request.GetRequestHeaders().EndOfStream = true
	stream := &fakeStream{in: []*extprocv3.ProcessingRequest{request}, end: io.EOF}
	server.Process(stream)
	if answer := stream.out[0].GetImmediateResponse(); answer.GetStatus().GetCode() != 400 {
		t.Errorf("%v", stream.out[0])
	}
}
