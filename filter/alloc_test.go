//go:build !race

package filter

import (
	"io"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"

	"keel/filter/frame"
)

// What a call may cost in memory, so that a change that costs more is noticed. Under the race detector sync.Pool
// forgets on purpose, so this is not built there.
const mostAllocationsACall = 100

func TestAllocationsOfACall(t *testing.T) {
	server, body := benchServer(t), benchBody(1<<10)
	given := testing.AllocsPerRun(100, func() { benchCall(body) })
	n := testing.AllocsPerRun(200, func() { server.Process(&fakeStream{in: benchCall(body), end: io.EOF}) })
	if n -= given; n > mostAllocationsACall {
		t.Errorf("%v allocations a call, of %d", n, mostAllocationsACall)
	} else {
		t.Logf("%v allocations a call", n)
	}
}

// What a line of the access log may cost that ends its call, in mode light.
const mostAllocationsALoggedLine = 31

// A line of the access log of a call whose end the filter has seen costs no memory.
func TestAllocationsOfALine(t *testing.T) {
	server, codec := benchServer(t), frame.NewCodec()
	ofLine := func(data mem.BufferSlice) float64 {
		m := new(frame.Logs)
		read := func() {
			if err := codec.Unmarshal(data, m); err != nil || len(m.Lines) != linesAMessage {
				t.Fatal(err, len(m.Lines))
			}
			for i := range m.Lines {
				server.noteSafely(server.note, &m.Lines[i])
			}
		}
		read()
		return testing.AllocsPerRun(200, read) / linesAMessage
	}
	if n := ofLine(benchLines(t)); n >= 1 {
		t.Errorf("%v allocations a line", n)
	}
	if n := ofLine(benchLoggedLines(t, server)); n > mostAllocationsALoggedLine {
		t.Errorf("%v allocations a line that ends its call, of %d", n, mostAllocationsALoggedLine)
	} else {
		t.Logf("%v allocations a line that ends its call", n)
	}
}

// A chunk of a stream that goes on as it is costs no memory.
func TestNoAllocationAChunk(t *testing.T) {
	server := benchServer(t)
	messages := benchCall([]byte(`{"model":"gpt-5-mini","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":200,"messages":[{"role":"user","content":"Hello"}]}`))
	messages[2].Request.(*extprocv3.ProcessingRequest_ResponseHeaders).ResponseHeaders = headers(":status", "200", "content-type", "text/event-stream")
	call := new(Call)
	for _, m := range messages[:3] {
		answer, err := server.answer(call, nil, m)
		if err != nil || answer.GetImmediateResponse() != nil {
			t.Fatal(answer, err)
		}
	}
	call.sent = true
	chunk := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{
		Body: []byte(`data: {"id":"x","object":"chat.completion.chunk","model":"gpt-5-mini","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"),
	}}}
	pass := func() {
		if _, err := server.answer(call, nil, chunk); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	if n := testing.AllocsPerRun(1000, pass); n >= 1 {
		t.Errorf("%v allocations a chunk", n)
	}
}
