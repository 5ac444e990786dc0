package frame

import (
	"bytes"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

func structOf(t testing.TB, fields map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func headerMap(pairs ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return m
}

// requests are messages as Envoy sends them. Fast says that the generic codec is not asked.
func requests(t testing.TB) []struct {
	name string
	m    *extprocv3.ProcessingRequest
	fast bool
} {
	metadata := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"keel":                         structOf(t, map[string]any{"decision_id": "019aaf00-0000-7000-8000-000000000002", "org": "default", "call": `{"at":"2026"}`}),
		"envoy.filters.http.jwt_authn": structOf(t, map[string]any{"payload": map[string]any{"sub": "ada", "teams": []any{"a", 1.5, nil, true}, "none": map[string]any{}}}),
	}}
	attributes := map[string]*structpb.Struct{"envoy.filters.http.ext_proc": structOf(t, map[string]any{"upstream.request_attempt_count": 1.0, "response.code_details": "via_upstream"})}
	headers := &extprocv3.HttpHeaders{Headers: headerMap(":method", "POST", ":path", "/v1/chat/completions", "x-odd", "\xff", "x-empty", "")}
	typed, err := proto.Marshal(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	unknown := &extprocv3.ProcessingRequest{}
	if err := proto.Unmarshal(protowire.AppendVarint(protowire.AppendTag(typed, 77, protowire.VarintType), 1), unknown); err != nil {
		t.Fatal(err)
	}
	return []struct {
		name string
		m    *extprocv3.ProcessingRequest
		fast bool
	}{
		{"request headers", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers}, Attributes: attributes, MetadataContext: metadata,
			ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: extprocfilterv3.ProcessingMode_BUFFERED, ResponseBodyMode: extprocfilterv3.ProcessingMode_STREAMED, SendBodyWithoutWaitingForHeaderResponse: true}}, true},
		{"request headers that end", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{EndOfStream: true}}, ObservabilityMode: true}, true},
		{"request body", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: bytes.Repeat([]byte("{}"), 20000), EndOfStream: true}}, MetadataContext: metadata}, true},
		{"request trailers", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{Trailers: headerMap("a", "b")}}}, true},
		{"response headers", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers}, Attributes: attributes, MetadataContext: metadata}, true},
		{"piece", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte("data: {}\n\n")}}}, true},
		{"piece with metadata", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte("data: [DONE]\n\n"), EndOfStream: true}}, MetadataContext: metadata}, true},
		{"large piece", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: make([]byte, 64<<10)}}, MetadataContext: metadata}, true},
		{"end without a body", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{EndOfStream: true, EndOfStreamWithoutMessage: true}}}, true},
		{"response trailers", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}, MetadataContext: metadata}, true},
		{"nothing", &extprocv3.ProcessingRequest{}, true},
		{"a field of another version", unknown, false},
		{"gRPC", &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte("x"), GrpcMessageCompressed: true}}}, false},
		{"flow control", &extprocv3.ProcessingRequest{FlowControlInit: &extprocv3.ProcessingRequest_FlowControlInit{InitialWindowDownstreamToSidestream: 1}}, false},
	}
}

// marshal writes m as Envoy does: fields in the order of their numbers.
func marshal(t testing.TB, m *extprocv3.ProcessingRequest) []byte {
	rest := proto.CloneOf(m)
	rest.Request = nil
	var data []byte
	for _, part := range []*extprocv3.ProcessingRequest{{Request: m.Request}, rest} {
		var err error
		if data, err = (proto.MarshalOptions{}).MarshalAppend(data, part); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// withoutSide is m as it is read: bodies come without metadata.
func withoutSide(m *extprocv3.ProcessingRequest) *extprocv3.ProcessingRequest {
	m = proto.CloneOf(m)
	if m.GetRequestBody() != nil || m.GetResponseBody() != nil {
		m.MetadataContext = nil
	}
	return m
}

// slices of a frame, as grpc-go has them.
func pieces(data []byte, at int) mem.BufferSlice {
	at = min(at, len(data))
	return mem.BufferSlice{mem.SliceBuffer(data[:at]), mem.SliceBuffer(data[at:])}
}

func TestRead(t *testing.T) {
	codec := NewCodec()
	var m Message // one stream reads them all
	for _, tt := range requests(t) {
		data := marshal(t, tt.m)
		if got := Read(bytes.Clone(data), &extprocv3.ProcessingRequest{}); got != tt.fast {
			t.Errorf("%s: read by itself: %t, want %t", tt.name, got, tt.fast)
		}
		for _, at := range []int{0, 1, len(data) / 2, len(data)} {
			if err := codec.Unmarshal(pieces(data, at), &m); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			want := tt.m
			if tt.fast {
				want = withoutSide(want)
			}
			if !proto.Equal(m.request, want) {
				t.Errorf("%s, cut at %d:\n%.2000v\nwant\n%.2000v", tt.name, at, m.request, want)
			}
		}
	}
	if m.forget(); m.request != nil || m.piece != nil || m.head != nil {
		t.Errorf("what was forgotten is still there: %v", m)
	}
	if err := codec.Unmarshal(pieces([]byte{tagResponseBody, 5, 0}, 2), &m); err == nil || m.request != nil {
		t.Errorf("a broken message reads as %v, %v", m.request, err)
	}
}

// What request bodies and trailers are made of stays as it is when the next messages come.
func TestMessagesThatStay(t *testing.T) {
	codec := NewCodec()
	var m Message
	var kept []*extprocv3.ProcessingRequest
	for _, tt := range requests(t) {
		data := marshal(t, tt.m)
		if err := codec.Unmarshal(pieces(data, 3), &m); err != nil {
			t.Fatal(err)
		}
		clear(data) // the buffer is grpc-go's again
		if m.piece == nil && m.head == nil {
			kept = append(kept, m.request)
		}
	}
	if len(kept) < 5 {
		t.Fatalf("%d messages stay", len(kept))
	}
	for _, tt := range requests(t) {
		if len(kept) > 0 && proto.Equal(kept[0], withoutSide(tt.m)) || len(kept) > 0 && proto.Equal(kept[0], tt.m) {
			kept = kept[1:]
		}
	}
	if len(kept) > 0 {
		t.Errorf("%d messages changed, the first into %v", len(kept), kept[0])
	}
}

// Nothing of one message is in the next that uses its memory, however the first ended, and the strings of the first stay.
func TestHeadsAreUsedAgain(t *testing.T) {
	codec := NewCodec()
	full := requests(t)[0].m
	var m Message
	read := func(data []byte) error { return codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &m) }
	broken := marshal(t, full)
	broken = append(broken[:len(broken):len(broken)], 12<<3|2, 1) // of a field whose bytes are missing
	few := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{}, {Value: "v"}}}}}}
	for range 100 {
		if err := read(marshal(t, full)); err != nil || m.head == nil {
			t.Fatal(err, m.head)
		}
		kept := m.request.GetRequestHeaders().Headers.Headers[1].Key
		if err := read(broken); err == nil {
			t.Fatal("a broken message is read")
		}
		if err := read(marshal(t, few)); err != nil || !proto.Equal(m.request, few) || kept != ":path" {
			t.Fatalf("%v: %v, after a message with %q", err, m.request, kept)
		}
	}
	many := headerMap()
	for range 3 * keptHeaders {
		many.Headers = append(many.Headers, &corev3.HeaderValue{Key: "a"})
	}
	if err := read(marshal(t, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: many}}})); err != nil || len(m.request.GetRequestHeaders().Headers.Headers) != 3*keptHeaders {
		t.Errorf("%v: %d headers", err, len(m.request.GetRequestHeaders().Headers.Headers))
	}
	for range 10 {
		if h := headPool.Get().(*head); len(h.values) > keptHeaders {
			t.Errorf("%d headers are kept", len(h.values))
		}
	}
}

func replies(t testing.TB) []*extprocv3.ProcessingResponse {
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, RawValue: []byte(value)}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
	}
	headers := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{set("a", "1"), set("b", ""), {Header: &corev3.HeaderValue{Key: "c", Value: "3"}}, {}}, RemoveHeaders: []string{"x-keel-a", ""}}
	body := func(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: c}}}
	}
	return []*extprocv3.ProcessingResponse{
		{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: headers}}},
			DynamicMetadata: structOf(t, map[string]any{"keel": map[string]any{"decision_id": "x", "n": 1.5, "yes": true, "nothing": nil}}),
			ModeOverride:    &extprocfilterv3.ProcessingMode{RequestHeaderMode: 1, ResponseHeaderMode: 2, RequestBodyMode: 2, ResponseBodyMode: 1, RequestTrailerMode: 2, ResponseTrailerMode: 1}},
		{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{
			HeaderMutation: headers, BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: bytes.Repeat([]byte("y"), 70_000)}}, ClearRouteCache: true, Status: extprocv3.CommonResponse_CONTINUE_AND_REPLACE}}}},
		{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{}}}}, ModeOverride: &extprocfilterv3.ProcessingMode{}},
		body(&extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_ClearBody{ClearBody: true}}}),
		body(&extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: &extprocv3.StreamedBodyResponse{Body: []byte("z"), EndOfStream: true}}}}),
		body(&extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{}}),
		body(&extprocv3.CommonResponse{}),
		body(nil),
		RequestBodyUnchanged, RequestTrailersUnchanged, ResponseHeadersUnchanged, ResponseBodyUnchanged, ResponseTrailersUnchanged,
		{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{Body: []byte("no")}}},
	}
}

func TestWrite(t *testing.T) {
	codec := NewCodec()
	for i, reply := range replies(t) {
		before := proto.CloneOf(reply)
		data, err := codec.Marshal(reply)
		if err != nil {
			t.Fatal(err)
		}
		got := &extprocv3.ProcessingResponse{}
		if err := proto.Unmarshal(data.Materialize(), got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, reply) || !proto.Equal(before, reply) {
			t.Errorf("%d: %v\nwant %v", i, got, reply)
		}
	}
}

// asRead is a message without what is not read of it: the metadata that come with a body.
func asRead(data []byte) []byte {
	var rest []byte
	body := false
	for left := data; len(left) > 0; {
		number, kind, n := protowire.ConsumeField(left)
		if n < 0 {
			return data
		}
		body = body || (number == 4 || number == 5) && kind == protowire.BytesType
		if number != 8 || kind != protowire.BytesType {
			rest = append(rest, left[:n]...)
		}
		left = left[n:]
	}
	if body {
		return rest
	}
	return data
}

func FuzzRead(f *testing.F) {
	for _, tt := range requests(f) {
		data := marshal(f, tt.m)
		f.Add(data)
	}
	codec := NewCodec()
	f.Fuzz(func(t *testing.T, data []byte) {
		want := &extprocv3.ProcessingRequest{}
		wantErr := proto.Unmarshal(asRead(data), want)
		got := &extprocv3.ProcessingRequest{}
		if fast := Read(bytes.Clone(data), got); fast && (wantErr != nil || !proto.Equal(got, want)) {
			t.Fatalf("read as\n%v\nwant %v\n%v", got, wantErr, want)
		}
		var m Message
		err := codec.Unmarshal(pieces(data, len(data)/2), &m)
		if wantErr == nil && err != nil && proto.Unmarshal(data, &extprocv3.ProcessingRequest{}) != nil {
			return // broken metadata are skipped by one and not by the other
		}
		if (err != nil) != (wantErr != nil) || err == nil && !proto.Equal(withoutSide(m.request), withoutSide(want)) {
			t.Fatalf("a stream reads %v, %v\nwant %v, %v", m.request, err, want, wantErr)
		}
	})
}

func FuzzWrite(f *testing.F) {
	for _, reply := range replies(f) {
		data, err := proto.Marshal(reply)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reply := &extprocv3.ProcessingResponse{}
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, reply) != nil { // Keel writes none that is unknown
			return
		}
		written, ok := Write(reply)
		if !ok {
			return
		}
		got := &extprocv3.ProcessingResponse{}
		if err := proto.Unmarshal(written, got); err != nil || !proto.Equal(got, reply) {
			t.Fatalf("%v: written as %x\n%v\nwant\n%v", err, written, got, reply)
		}
	})
}

// A piece that passes unchanged allocates nothing, in and out.
func TestPieceAllocatesNothing(t *testing.T) {
	codec := NewCodec()
	data := marshal(t, requests(t)[6].m)
	var m Message
	in := pieces(data, len(data))
	if n := testing.AllocsPerRun(100, func() {
		_ = codec.Unmarshal(in, &m)
		_, _ = codec.Marshal(ResponseBodyUnchanged)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFrames(b *testing.B) {
	all := requests(b)
	call := []int{0, 2, 4, 6} // what a call is made of
	var frames []mem.BufferSlice
	for _, i := range call {
		m := all[i].m
		if body := m.GetRequestBody(); body != nil {
			body.Body = body.Body[:1000]
		}
		data := marshal(b, m)
		frames = append(frames, pieces(data, len(data)))
	}
	out := slices.Delete(replies(b)[:4], 1, 2)
	codec := NewCodec()
	b.Run("generic", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, frame := range frames {
				if err := codec.generic.Unmarshal(frame, new(extprocv3.ProcessingRequest)); err != nil {
					b.Fatal(err)
				}
			}
			for _, reply := range out {
				data, err := codec.generic.Marshal(reply)
				if err != nil {
					b.Fatal(err)
				}
				data.Free()
			}
		}
	})
	b.Run("frame", func(b *testing.B) {
		var m Message
		b.ReportAllocs()
		for b.Loop() {
			for _, frame := range frames {
				if err := codec.Unmarshal(frame, &m); err != nil {
					b.Fatal(err)
				}
			}
			for _, reply := range out {
				data, err := codec.Marshal(reply)
				if err != nil {
					b.Fatal(err)
				}
				data.Free()
			}
		}
	})
}
