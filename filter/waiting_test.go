package filter

import (
	"net"
	"runtime"
	"runtime/debug"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// A stream that waits has a stack of 4 KiB, with all that gRPC has under it: pieces of its answer were read, and its first messages were
// answered. A goroutine that needs a few bytes more has twice as much, for as long as the call takes.
func TestStackOfAWaitingStream(t *testing.T) {
	const streams = 400
	piece := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{
		Body: []byte(`data: {"id":"x","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hello."}}]}` + "\n\n")}}}
	head := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(":status", "200", "content-type", "text/event-stream")}}
	call := chatCall(`{"model": "gpt-4o-mini", "stream": true, "max_tokens": 20, "messages": [{"role": "user", "content": "Hello."}]}`)
	for _, test := range []struct {
		name, phase string
		messages    []*extprocv3.ProcessingRequest
	}{
		{"call", "", []*extprocv3.ProcessingRequest{call[0], call[1], head, piece, piece, piece}},
		{"attempt", phaseUpstream, []*extprocv3.ProcessingRequest{attemptHeaders(carriedText, "", host("openai", "")), head}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, _ := newServer(t)
			server.few = 0 // as if there were many
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go server.Serve(l)
			defer server.grpc.Stop()
			conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			client := extprocv3.NewExternalProcessorClient(conn)
			open := func() {
				stream, err := client.Process(metadata.AppendToOutgoingContext(t.Context(), envoyPhase, test.phase))
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range test.messages {
					if err := stream.Send(m); err != nil {
						t.Fatal(err)
					}
					if _, err := stream.Recv(); err != nil {
						t.Fatal(err)
					}
				}
			}
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection halves stacks that are too large
			held := func() int64 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.StackInuse)
			}
			open()
			runtime.GC() // stacks of those that ended are used again, and count until then
			before := held()
			least := make(chan struct{})
			for range streams {
				go func() { <-least }()
			}
			started := (held() - before) / streams // the runtime begins with what goroutines needed at the last collection
			before = held()
			for range streams {
				open()
			}
			stack := (held()-before)/streams - started // of gRPC's goroutine for the client's end
			close(least)
			if n := server.Streams(); n != streams+1 {
				t.Errorf("%d streams are open", n)
			}
			t.Logf("a stream has a stack of %d bytes; a goroutine begins with %d", stack, started)
			if stack > stackBytes {
				t.Errorf("a waiting stream has a stack of %d bytes, at most %d", stack, stackBytes)
			}
		})
	}
}
