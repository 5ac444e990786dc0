package frame

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// logs is a message as Envoy sends it: with more than anybody reads.
func logs(t testing.TB) *accesslogv3.StreamAccessLogsMessage {
	address := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 443}}}}
	state, err := anypb.New(structOf(t, map[string]any{"request_header_latency_us": 12.0, "failed_open": true}))
	if err != nil {
		t.Fatal(err)
	}
	entry := func(flags *accesslogdatav3.ResponseFlags) *accesslogdatav3.HTTPAccessLogEntry {
		return &accesslogdatav3.HTTPAccessLogEntry{
			CommonProperties: &accesslogdatav3.AccessLogCommon{
				SampleRate: 1, DownstreamRemoteAddress: address, DownstreamLocalAddress: address, DownstreamDirectRemoteAddress: address, UpstreamRemoteAddress: address, UpstreamLocalAddress: address,
				StartTime: timestamppb.New(time.Unix(1_800_000_000, 5)), TimeToLastRxByte: durationpb.New(1), TimeToFirstUpstreamRxByte: durationpb.New(time.Millisecond), Duration: durationpb.New(time.Second),
				UpstreamCluster: "openai", RouteName: "openai", ResponseFlags: flags, UpstreamRequestAttemptCount: 2, StreamId: "4a6f", AccessLogType: accesslogdatav3.AccessLogType_DownstreamEnd,
				Metadata:           &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keel": structOf(t, map[string]any{"decision_id": "019a", "org": "default"}), "keel.usage": structOf(t, map[string]any{"usage": map[string]any{"total": 7.0}})}},
				FilterStateObjects: map[string]*anypb.Any{"keel.ext_proc": state}, CustomTags: map[string]string{"a": "b"}, DownstreamWireBytesSent: 1234,
			},
			ProtocolVersion: accesslogdatav3.HTTPAccessLogEntry_HTTP11,
			Request:         &accesslogdatav3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_POST, Scheme: "http", Authority: "llm", Path: "/v1/chat/completions", UserAgent: "sdk", RequestId: "4a6f", RequestBodyBytes: 1024},
			Response: &accesslogdatav3.HTTPResponseProperties{
				ResponseCode: wrapperspb.UInt32(200), ResponseHeadersBytes: 100, ResponseBodyBytes: 512, ResponseCodeDetails: "via_upstream", ResponseHeaders: map[string]string{"content-type": "application/json"},
			},
		}
	}
	return &accesslogv3.StreamAccessLogsMessage{
		Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{LogName: "keel", Node: &corev3.Node{Id: "envoy"}},
		LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*accesslogdatav3.HTTPAccessLogEntry{
			entry(nil), entry(&accesslogdatav3.ResponseFlags{UpstreamConnectionFailure: true}), {}, {CommonProperties: &accesslogdatav3.AccessLogCommon{}},
		}}},
	}
}

// asKept is m without what is not read.
func asKept(m *accesslogv3.StreamAccessLogsMessage) *accesslogv3.StreamAccessLogsMessage {
	m = proto.CloneOf(m)
	m.ProtoReflect().SetUnknown(nil)
	if tcp := m.GetTcpLogs(); tcp != nil {
		m.LogEntries = nil
	}
	if http := m.GetHttpLogs(); http != nil {
		http.ProtoReflect().SetUnknown(nil)
	}
	for _, e := range m.GetHttpLogs().GetLogEntry() {
		e.ProtoReflect().SetUnknown(nil)
		e.ProtocolVersion = 0
		if c := e.CommonProperties; c != nil {
			e.CommonProperties = &accesslogdatav3.AccessLogCommon{
				StartTime: c.StartTime, TimeToFirstUpstreamTxByte: c.TimeToFirstUpstreamTxByte, TimeToFirstUpstreamRxByte: c.TimeToFirstUpstreamRxByte, UpstreamRemoteAddress: c.UpstreamRemoteAddress, ResponseFlags: c.ResponseFlags, Metadata: c.Metadata,
				FilterStateObjects: c.FilterStateObjects, UpstreamRequestAttemptCount: c.UpstreamRequestAttemptCount, StreamId: c.StreamId, AccessLogType: c.AccessLogType,
			}
		}
		if r := e.Request; r != nil {
			e.Request = &accesslogdatav3.HTTPRequestProperties{RequestMethod: r.RequestMethod, Authority: r.Authority, Path: r.Path, RequestId: r.RequestId, RequestHeaders: r.RequestHeaders}
		}
		if r := e.Response; r != nil {
			e.Response = &accesslogdatav3.HTTPResponseProperties{ResponseCode: r.ResponseCode, ResponseBodyBytes: r.ResponseBodyBytes, ResponseHeaders: r.ResponseHeaders, ResponseCodeDetails: r.ResponseCodeDetails}
		}
	}
	return m
}

func TestLogs(t *testing.T) {
	want := logs(t)
	data, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 1, len(data) / 2, len(data)} {
		var got accesslogv3.StreamAccessLogsMessage
		if err := NewCodec().Unmarshal(pieces(data, at), &got); err != nil || !proto.Equal(&got, asKept(want)) {
			t.Errorf("cut at %d: %v\n%v\nwant\n%v", at, err, &got, asKept(want))
		}
	}
	var got accesslogv3.StreamAccessLogsMessage
	if err := NewCodec().Unmarshal(pieces(data[:len(data)-1], 0), &got); err == nil {
		t.Error("a broken message is read")
	}
}

// What is dropped is asked for nowhere in package filter. Other messages have fields of the same names: where one of those is
// asked for, keep the field here, too.
func TestNothingThatIsReadIsDropped(t *testing.T) {
	files, err := filepath.Glob("../*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	asked := map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.Get([A-Za-z0-9]+)\(\)`).FindAllSubmatch(source, -1) {
			asked[strings.ToLower(string(m[1]))] = file
		}
	}
	entry := (*(*keptOfLogs)[2])[1]
	for number, m := range map[int]proto.Message{1: &accesslogdatav3.AccessLogCommon{}, 3: &accesslogdatav3.HTTPRequestProperties{}, 4: &accesslogdatav3.HTTPResponseProperties{}} {
		fields, kept := m.ProtoReflect().Descriptor().Fields(), *(*entry)[number]
		for i := range fields.Len() {
			f := fields.Get(i)
			if n := int(f.Number()); n < len(kept) && kept[n] != nil {
				continue
			}
			if file, ok := asked[strings.ReplaceAll(string(f.Name()), "_", "")]; ok {
				t.Errorf("%s is dropped, and %s asks for it", f.FullName(), file)
			}
		}
	}
}

// What the generic codec makes of a message is what is read, but for what is dropped; and what it refuses is refused, or is in what is dropped.
func FuzzLogs(f *testing.F) {
	data, err := proto.Marshal(logs(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{10, 2, 18, 0, 26, 0})
	generic, codec := encoding.GetCodecV2(protocodec.Name), NewCodec()
	f.Fuzz(func(t *testing.T, data []byte) {
		var want, got accesslogv3.StreamAccessLogsMessage
		refused := generic.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &want)
		err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &got)
		switch {
		case refused == nil && err != nil:
			t.Fatalf("refused: %v", err)
		case refused == nil && !proto.Equal(asKept(&got), asKept(&want)):
			t.Fatalf("read as\n%v\nwant\n%v", &got, asKept(&want))
		}
	})
}

func BenchmarkLogs(b *testing.B) {
	data, err := proto.Marshal(logs(b))
	if err != nil {
		b.Fatal(err)
	}
	for name, codec := range map[string]encoding.CodecV2{"generic": encoding.GetCodecV2(protocodec.Name), "frame": NewCodec()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var m accesslogv3.StreamAccessLogsMessage
				if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
