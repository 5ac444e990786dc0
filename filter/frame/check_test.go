package frame

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func peer(host string) *authv3.AttributeContext_Peer {
	return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 10002},
	}}}}
}

// checkOf is what Envoy 1.40 asks of a call.
func checkOf(t testing.TB, change func(*authv3.AttributeContext)) *authv3.CheckRequest {
	source := peer("192.0.2.7")
	source.Principal, source.Certificate = "spiffe://example.com/ada", "-----BEGIN%20CERTIFICATE-----"
	a := &authv3.AttributeContext{
		Source: source, Destination: peer("192.0.2.8"),
		Request: &authv3.AttributeContext_Request{Time: timestamppb.Now(), Http: &authv3.AttributeContext_HttpRequest{
			Id: "8764623654331087658", Method: "POST", Path: "/v1/chat/completions", Host: "api.openai.com", Scheme: "https", Size: 1000, Protocol: "HTTP/1.1",
			Headers: map[string]string{
				":authority": "api.openai.com", ":method": "POST", ":path": "/v1/chat/completions", ":scheme": "https", "authorization": "Bearer sk-0123456789abcdef",
				"content-length": "1000", "content-type": "application/json", "user-agent": "OpenAI/Python 2.8.0", "x-keel-team": "research", "x-keel-user": "ada",
				"x-request-id": "4be55004-6284-48fa-b1cf-1cdcecce28f0", "x-envoy-auth-partial-body": "false", "x-empty": "",
			},
			RawBody: bytes.Repeat([]byte("{\"a\":1}\xff"), 100),
		}},
		MetadataContext:      &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.jwt_authn": structOf(t, map[string]any{"payload": map[string]any{"sub": "ada"}})}},
		RouteMetadataContext: &corev3.Metadata{},
	}
	change(a)
	return &authv3.CheckRequest{Attributes: a}
}

// checks says which are read without the generic codec.
func checks(t testing.TB) map[*authv3.CheckRequest]bool {
	many := func(n int) map[string]string {
		all := make(map[string]string)
		for i := range n {
			all["x-"+strconv.Itoa(i)] = "v"
		}
		return all
	}
	return map[*authv3.CheckRequest]bool{
		checkOf(t, func(*authv3.AttributeContext) {}):                                                                true,
		checkOf(t, func(a *authv3.AttributeContext) { a.Request.Http.RawBody = nil }):                                true,
		checkOf(t, func(a *authv3.AttributeContext) { a.Request.Http.Headers = many(64) }):                           true,
		checkOf(t, func(a *authv3.AttributeContext) { a.Request.Http.Headers = many(65) }):                           false,
		checkOf(t, func(a *authv3.AttributeContext) { a.Request.Http.Body = "text" }):                                false,
		checkOf(t, func(a *authv3.AttributeContext) { a.Request.Http.HeaderMap = headerMap("a", "\xff") }):           false,
		checkOf(t, func(a *authv3.AttributeContext) { a.Source, a.MetadataContext, a.Request.Http = nil, nil, nil }): true,
		checkOf(t, func(a *authv3.AttributeContext) { a.MetadataContext.TypedFilterMetadata = nil }):                 true,
		{}: false,
	}
}

// read is what Keel reads of a check: headers in one form, in order.
func read(m *authv3.CheckRequest) *authv3.CheckRequest {
	m = proto.CloneOf(m)
	a := m.Attributes
	if a == nil {
		return m
	}
	a.Destination, a.RouteMetadataContext, a.TlsSession, a.ContextExtensions = nil, nil, nil, nil
	if s := a.Source; s != nil {
		s.Address, s.Service, s.Labels = nil, "", nil
	}
	if a.Request == nil {
		return m
	}
	if h := a.Request.Http; h != nil {
		h.Id, h.Method, h.Path, h.Host, h.Scheme, h.Query, h.Fragment, h.Protocol = "", "", "", "", "", "", "", ""
		for name, value := range h.Headers {
			if h.HeaderMap == nil {
				h.HeaderMap = &corev3.HeaderMap{}
			}
			h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: name, Value: value})
		}
		h.Headers = nil
		slices.SortFunc(h.GetHeaderMap().GetHeaders(), func(a, b *corev3.HeaderValue) int { return strings.Compare(a.Key+"\x00"+a.Value, b.Key+"\x00"+b.Value) })
	}
	return m
}

func TestReadCheck(t *testing.T) {
	codec := NewCodec()
	for m, fast := range checks(t) {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := ReadCheck(bytes.Clone(data), &authv3.CheckRequest{}); got != fast {
			t.Errorf("read by itself: %t, want %t: %.300v", got, fast, m)
		}
		for _, at := range []int{0, 1, len(data) / 2} {
			got := &authv3.CheckRequest{}
			if err := codec.Unmarshal(pieces(data, at), got); err != nil || !proto.Equal(read(got), read(m)) {
				t.Errorf("%v: read as\n%.2000v\nwant\n%.2000v", err, read(got), read(m))
			}
		}
	}
	twice := protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), []byte("\x0a\x01a\x12\x01b"))
	twice = append(twice, twice...)
	for _, n := range []protowire.Number{2, 4, 1} { // http, request, attributes
		twice = protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), twice)
	}
	if ReadCheck(twice, &authv3.CheckRequest{}) {
		t.Error("a header twice is read as two, where a map has one")
	}
	if err := codec.Unmarshal(pieces([]byte{10, 9, 1}, 1), &authv3.CheckRequest{}); err == nil {
		t.Error("a broken check is read")
	}
}

func checkResponses(t testing.TB) []*authv3.CheckResponse {
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
	}
	ok := func(m *authv3.OkHttpResponse) *authv3.CheckResponse_OkResponse {
		return &authv3.CheckResponse_OkResponse{OkResponse: m}
	}
	return []*authv3.CheckResponse{
		{Status: &status.Status{}, DynamicMetadata: structOf(t, map[string]any{"decision_id": "x", "call": `{"at":1}`, "pending": ""}), HttpResponse: ok(&authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{set("x-keel-target", "openai/gpt-5"), {}}, HeadersToRemove: []string{"accept-encoding", "x-keel-team"},
			ResponseHeadersToAdd: []*corev3.HeaderValueOption{set("x-keel-model", "gpt-5"), set("x-keel-empty", "")},
		})},
		{HttpResponse: ok(&authv3.OkHttpResponse{})},
		{Status: &status.Status{Code: 5}, HttpResponse: ok(&authv3.OkHttpResponse{QueryParametersToRemove: []string{"q"}})},
		{Status: &status.Status{Code: 7}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 429}, Body: "no"}}},
		{Status: &status.Status{Message: "m"}, HttpResponse: ok(nil)},
		{},
	}
}

func TestWriteCheck(t *testing.T) {
	codec := NewCodec()
	for i, m := range checkResponses(t) {
		data, err := codec.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got := &authv3.CheckResponse{}
		if err := proto.Unmarshal(data.Materialize(), got); err != nil || !proto.Equal(got, m) && m.GetOkResponse() != nil {
			t.Errorf("%d: %v, %v\nwant %v", i, err, got, m)
		}
	}
}

func FuzzReadCheck(f *testing.F) {
	for m := range checks(f) {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, want := &authv3.CheckRequest{}, &authv3.CheckRequest{}
		if !ReadCheck(bytes.Clone(data), got) || proto.Unmarshal(data, want) != nil { // what is not read may be broken
			return
		}
		if !proto.Equal(read(got), read(want)) {
			t.Fatalf("read as\n%v\nwant\n%v", read(got), read(want))
		}
	})
}

func FuzzWriteCheck(f *testing.F) {
	for _, m := range checkResponses(f) {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &authv3.CheckResponse{}
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, m) != nil { // Keel writes none that is unknown
			return
		}
		written, ok := WriteCheck(m)
		if !ok {
			return
		}
		got := &authv3.CheckResponse{}
		if err := proto.Unmarshal(written, got); err != nil || !proto.Equal(got, m) {
			t.Fatalf("%v: written as %x\n%v\nwant\n%v", err, written, got, m)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	data, err := proto.Marshal(checkOf(b, func(*authv3.AttributeContext) {}))
	if err != nil {
		b.Fatal(err)
	}
	codec, in, out := NewCodec(), pieces(data, len(data)), checkResponses(b)[0]
	b.Run("generic", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := codec.generic.Unmarshal(in, new(authv3.CheckRequest)); err != nil {
				b.Fatal(err)
			}
			written, err := codec.generic.Marshal(out)
			if err != nil {
				b.Fatal(err)
			}
			written.Free()
		}
	})
	b.Run("frame", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := codec.Unmarshal(in, new(authv3.CheckRequest)); err != nil {
				b.Fatal(err)
			}
			written, err := codec.Marshal(out)
			if err != nil {
				b.Fatal(err)
			}
			written.Free()
		}
	})
}
