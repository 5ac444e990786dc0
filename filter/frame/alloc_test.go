//go:build !race

package frame

import (
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/structpb"
)

// What a message with headers costs in memory, however many it has: the text that its names are of, and the attributes.
// Under the race detector sync.Pool forgets on purpose, so this is not built there.
func TestAllocationsOfHeaders(t *testing.T) {
	headers := &extprocv3.HttpHeaders{Headers: headerMap(":method", "POST", ":path", "/v1/chat/completions", "content-type", "application/json", "authorization", "Bearer x", "x-keel-team", "a")}
	attributes := map[string]*structpb.Struct{"envoy.filters.http.ext_proc": structOf(t, map[string]any{"upstream.request_attempt_count": 1.0, "response.code_details": "via_upstream"})}
	codec := NewCodec()
	for name, tt := range map[string]struct {
		m    *extprocv3.ProcessingRequest
		most float64
	}{
		"request":  {&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers}}, 1},
		"response": {&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers}, Attributes: attributes}, 9},
	} {
		data := mem.BufferSlice{mem.SliceBuffer(marshal(t, tt.m))}
		var m Message
		n := testing.AllocsPerRun(1000, func() {
			if err := codec.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
		})
		if n > tt.most {
			t.Errorf("%s: %v allocations, of %v", name, n, tt.most)
		}
	}
}
