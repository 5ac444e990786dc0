package filter

import (
	"io"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"keel/filter/frame"
)

// benchLine is a line of a call in mode full, as Envoy 1.40 tells of it.
func benchLine(t testing.TB) *accesslogdatav3.HTTPAccessLogEntry {
	t.Helper()
	address := func(port uint32) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
	}
	state := map[string]any{
		"bytes_received": 928, "bytes_sent": 4104, "destination": "keel_processor", "failed_open": false, "grpc_status_before_first_call": 0, "received_immediate_response": false,
		"request_header_call_status": 0, "request_header_latency_us": 499, "request_header_processing_effect": 1, "request_trailer_processing_effect": 0,
		"response_header_call_status": 0, "response_header_latency_us": 267, "response_header_processing_effect": 1, "response_trailer_processing_effect": 0,
	}
	for _, body := range []string{"request_body_", "response_body_"} {
		for key, value := range map[string]any{"call_count": 1, "last_call_status": 0, "max_latency_us": 341, "processing_effect": 0, "total_latency_us": 341} {
			state[body+key] = value
		}
	}
	left, err := structpb.NewStruct(state)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := anypb.New(left)
	if err != nil {
		t.Fatal(err)
	}
	carried, err := structpb.NewStruct(map[string]any{"decision_id": "01a21b11-25a8-7125-80d1-3d4cb206b8ce", "org": "default", "pending": "", "call": carriedText})
	if err != nil {
		t.Fatal(err)
	}
	const id = "6d4f8003-8856-49e0-8525-e9a81b1f3532"
	took := durationpb.New
	return &accesslogdatav3.HTTPAccessLogEntry{
		CommonProperties: &accesslogdatav3.AccessLogCommon{
			DownstreamRemoteAddress: address(56888), DownstreamLocalAddress: address(41291), DownstreamDirectRemoteAddress: address(56888), UpstreamRemoteAddress: address(43109), UpstreamLocalAddress: address(36774),
			StartTime: timestamppb.New(time.Unix(1_800_000_000, 311372000)), TimeToLastRxByte: took(489455), TimeToFirstUpstreamTxByte: took(74762205), TimeToLastUpstreamTxByte: took(74766134),
			TimeToFirstUpstreamRxByte: took(75003351), TimeToLastUpstreamRxByte: took(75082580), TimeToFirstDownstreamTxByte: took(75708652), TimeToLastDownstreamTxByte: took(75719965), Duration: took(75726427),
			UpstreamCluster: "openai", RouteName: "openai", UpstreamRequestAttemptCount: 1, StreamId: id, AccessLogType: accesslogdatav3.AccessLogType_DownstreamEnd,
			DownstreamWireBytesSent: 558, DownstreamWireBytesReceived: 343, UpstreamWireBytesSent: 890, UpstreamWireBytesReceived: 628,
			Metadata:           &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keel": carried}},
			FilterStateObjects: map[string]*anypb.Any{"keel.ext_proc": packed},
		},
		ProtocolVersion: accesslogdatav3.HTTPAccessLogEntry_HTTP11,
		Request: &accesslogdatav3.HTTPRequestProperties{
			RequestMethod: corev3.RequestMethod_POST, Scheme: "http", Authority: "api.openai.com", Path: "/v1/chat/completions", UserAgent: "Go-http-client/1.1", RequestId: id,
			RequestHeadersBytes: 317, RequestBodyBytes: 103, RequestHeaders: map[string]string{"x-request-id": id}, UpstreamHeaderBytesSent: 608, DownstreamHeaderBytesReceived: 194,
		},
		Response: &accesslogdatav3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(200), ResponseHeadersBytes: 261, ResponseBodyBytes: 252, ResponseCodeDetails: viaUpstream, ResponseHeaders: map[string]string{"content-type": "application/json"},
			UpstreamHeaderBytesReceived: 181, DownstreamHeaderBytesSent: 287,
		},
	}
}

const linesAMessage = 8 // Envoy sends 16 KB, or what it has every 200 ms

func benchLines(t testing.TB) mem.BufferSlice {
	t.Helper()
	var all []*accesslogdatav3.HTTPAccessLogEntry
	for range linesAMessage {
		all = append(all, benchLine(t))
	}
	return frameOf(t, all...)
}

// benchLoggedLines are lines that end their calls, in mode light.
func benchLoggedLines(t testing.TB, server *Server) mem.BufferSlice {
	t.Helper()
	var all []*accesslogdatav3.HTTPAccessLogEntry
	for range linesAMessage {
		stream := &lightStream{fakeStream: fakeStream{in: benchCall(benchBody(1 << 10))[:2], end: io.EOF}}
		server.Process(stream)
		found, err := structpb.NewStruct(map[string]any{usageAnswer: `{"id":"chatcmpl-DjG1bJnO5fZ8X1m2","model":"gpt-5-mini-2025-08-07","service_tier":"default","usage":{"prompt_tokens":260,` +
			`"completion_tokens":295,"prompt_tokens_details":{"cached_tokens":128,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":64}}}`})
		if err != nil {
			t.Fatal(err)
		}
		line := benchLine(t)
		line.CommonProperties.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keel": {Fields: kept(stream.out)}, usageSpace: found}}
		all = append(all, line)
	}
	return frameOf(t, all...)
}

// BenchmarkLines is what a line of the access log costs the filter, from the frame to the ledger: one of a call whose end the filter has
// seen, and one that is the end.
func BenchmarkLines(b *testing.B) {
	server, codec := benchServer(b), frame.NewCodec()
	for name, data := range map[string]mem.BufferSlice{"full": benchLines(b), "light": benchLoggedLines(b, server)} {
		b.Run(name, func(b *testing.B) {
			m, note := new(frame.Logs), server.note
			b.ReportAllocs()
			for b.Loop() {
				if err := codec.Unmarshal(data, m); err != nil {
					b.Fatal(err)
				}
				for i := range m.Lines {
					server.noteSafely(note, &m.Lines[i])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/linesAMessage, "ns/line")
		})
	}
}
