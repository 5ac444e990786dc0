package frame

import (
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/structpb"
)

// BenchmarkRead reads headers as Envoy 1.40 sends them.
func BenchmarkRead(b *testing.B) {
	headers := &extprocv3.HttpHeaders{Headers: headerMap(":authority", "api.openai.com", ":path", "/v1/chat/completions", ":method", "POST", ":scheme", "http",
		"content-type", "application/json", "accept", "*/*", "user-agent", "keel-bench", "x-keel-team", "research", "x-keel-user", "ada", "x-keel-app", "ide",
		"x-keel-target", "openai/gpt-5-mini", "authorization", "Bearer sk-bench", "x-request-id", "4be55004-6284-48fa-b1cf-1cdcecce28f0", "x-forwarded-proto", "http", "content-length", "1000")}
	attributes := map[string]*structpb.Struct{"envoy.filters.http.ext_proc": structOf(b, map[string]any{"upstream.request_attempt_count": 1.0, "response.code_details": "via_upstream"})}
	codec := NewCodec()
	for name, request := range map[string]*extprocv3.ProcessingRequest{
		"request headers":  {Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers}},
		"response headers": {Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers}, Attributes: attributes},
	} {
		data := mem.BufferSlice{mem.SliceBuffer(marshal(b, request))}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var m Message
			for b.Loop() {
				m.forget()
				if err := codec.Unmarshal(data, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
