package frame

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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
				FilterStateObjects: map[string]*anypb.Any{"keel.ext_proc": state}, CustomTags: map[string]string{"a": "b", "keel.failed_open": "0", "keel.response_header_latency_us": "-"}, DownstreamWireBytesSent: 1234,
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

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// told is all that a line says, as text.
func told(l *Line) string {
	headers := make(map[string]string)
	for _, h := range l.Headers {
		headers[string(h.Name)] = string(h.Value)
	}
	spaces := make(map[string]map[string]string)
	for _, s := range l.spaces {
		fields := make(map[string]string)
		for _, f := range l.Metadata(string(s.name)) {
			fields[string(f.Key)] = fmt.Sprintf("%d %q %x", f.Kind, f.Text, math.Float64bits(f.Number))
		}
		spaces[string(s.name)] = fields
	}
	return fmt.Sprintf("%v %v %v %v %v %v %q %d %q | %v %q %q %q | %d %d %q %q | %q", l.Type, l.Start.UnixNano(), l.Sent, l.Answered, l.FirstByte, l.Upstream, l.Flags, l.Attempts, l.StreamID,
		l.Method, l.Authority, l.Path, l.RequestID, l.Status, l.Bytes, headers, l.Details, spaces)
}

// toldBy is the same of an entry as the generic codec reads it.
func toldBy(e *accesslogdatav3.HTTPAccessLogEntry) string {
	c, q, r := e.GetCommonProperties(), e.GetRequest(), e.GetResponse()
	headers := r.GetResponseHeaders()
	if headers == nil {
		headers = make(map[string]string)
	}
	spaces := make(map[string]map[string]string)
	for name, s := range c.GetMetadata().GetFilterMetadata() {
		fields := make(map[string]string)
		for key, v := range s.GetFields() {
			kind, number := Other, v.GetNumberValue()
			switch v.GetKind().(type) {
			case *structpb.Value_NumberValue:
				kind = Number
			case *structpb.Value_StringValue:
				kind = String
			case *structpb.Value_BoolValue:
				if kind = Bool; v.GetBoolValue() {
					number = 1
				}
			}
			fields[key] = fmt.Sprintf("%d %q %x", kind, v.GetStringValue(), math.Float64bits(number))
		}
		spaces[name] = fields
	}
	return fmt.Sprintf("%v %v %v %v %v %v %q %d %q | %v %q %q %q | %d %d %q %q | %q", c.GetAccessLogType(), c.GetStartTime().AsTime().UnixNano(), c.GetTimeToFirstUpstreamTxByte() != nil,
		c.GetTimeToFirstUpstreamRxByte() != nil, c.GetTimeToFirstUpstreamRxByte().AsDuration(), c.GetUpstreamRemoteAddress() != nil, flagsOf(c.GetResponseFlags()), c.GetUpstreamRequestAttemptCount(), c.GetStreamId(),
		q.GetRequestMethod(), q.GetAuthority(), q.GetPath(), q.GetRequestId(), r.GetResponseCode().GetValue(), r.GetResponseBodyBytes(), headers, r.GetResponseCodeDetails(), spaces)
}

// flagsOf names the response flags that are set, by reflection.
func flagsOf(f *accesslogdatav3.ResponseFlags) string {
	var set []string
	f.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Kind() != protoreflect.BoolKind || value.Bool() {
			set = append(set, string(field.Name()))
		}
		return true
	})
	slices.Sort(set)
	return strings.Join(set, ",")
}

// sameStates compares what filters have left, under every key that one has, with what the generic codec makes of it.
func sameStates(t *testing.T, l *Line, packed map[string]*anypb.Any, tags map[string]string) {
	t.Helper()
	type state struct{ there, isTrue bool }
	want := map[string]state{"failed_open": {}}
	for _, p := range packed {
		var s structpb.Struct
		if p.UnmarshalTo(&s) != nil {
			return // what of it is read is left open
		}
		for key, v := range s.GetFields() {
			want[key] = state{true, want[key].isTrue || v.GetBoolValue()}
		}
	}
	for name, v := range tags {
		if key, ours := strings.CutPrefix(name, stateTag); ours {
			want[key] = state{want[key].there || v != "" && v != "-", want[key].isTrue || v == "1" || v == "true"}
		}
	}
	for key, want := range want {
		if there, isTrue := l.State(key); want != (state{there, isTrue}) {
			t.Errorf("state %q: %t %t, want %+v", key, there, isTrue, want)
		}
	}
}

// same compares a message with what the generic codec makes of it.
func same(t *testing.T, got *Logs, want *accesslogv3.StreamAccessLogsMessage) {
	t.Helper()
	entries := want.GetHttpLogs().GetLogEntry()
	if got.Name != want.GetIdentifier().GetLogName() || len(got.Lines) != len(entries) {
		t.Fatalf("read %q with %d lines, want %q with %d", got.Name, len(got.Lines), want.GetIdentifier().GetLogName(), len(entries))
	}
	for i, e := range entries {
		if got, want := told(&got.Lines[i]), toldBy(e); got != want {
			t.Errorf("line %d is read as\n%s\nwant\n%s", i, got, want)
		}
		for name, s := range e.GetCommonProperties().GetMetadata().GetFilterMetadata() {
			for key, v := range s.GetFields() {
				if got := got.Lines[i].Metadata(name).Text(key); string(got) != v.GetStringValue() {
					t.Errorf("line %d: %s/%s is %q, want %q", i, name, key, got, v.GetStringValue())
				}
			}
		}
		sameStates(t, &got.Lines[i], e.GetCommonProperties().GetFilterStateObjects(), e.GetCommonProperties().GetCustomTags())
	}
}

func TestLogs(t *testing.T) {
	want := logs(t)
	data := encoded(t, want)
	var got Logs // one stream reads them all
	for _, at := range []int{0, 1, len(data) / 2, len(data)} {
		if err := NewCodec().Unmarshal(pieces(data, at), &got); err != nil {
			t.Fatalf("cut at %d: %v", at, err)
		}
		same(t, &got, want)
		if !new(Logs).readPlain(cursor{data: data}) {
			t.Error("a message as Envoy sends it is not read by itself")
		}
		got.forget()
	}
	if err := NewCodec().Unmarshal(pieces(data[:len(data)-1], 0), &got); err == nil {
		t.Error("a broken message is read")
	}
	if err := NewCodec().Unmarshal(pieces(nil, 0), &got); err != nil || got.Name != "" || len(got.Lines) > 0 {
		t.Errorf("an empty message: %v, %+v", err, got)
	}
}

// inside is data as a field of a field and so on, the innermost first.
func inside(data []byte, numbers ...protowire.Number) []byte {
	for _, n := range numbers {
		data = protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), data)
	}
	return data
}

// unplain are messages that no Envoy writes, most with something twice.
func unplain(t testing.TB) map[string][]byte {
	twice := func(a, b *accesslogv3.StreamAccessLogsMessage) []byte { return append(encoded(t, a), encoded(t, b)...) }
	entry := func(number protowire.Number, a, b proto.Message) []byte {
		return inside(append(inside(encoded(t, a), number), inside(encoded(t, b), number)...), 1, 2)
	}
	tagged := func(key, value string) *accesslogdatav3.AccessLogCommon {
		return &accesslogdatav3.AccessLogCommon{CustomTags: map[string]string{stateTag + key: value}}
	}
	common := func(parts ...*accesslogdatav3.AccessLogCommon) []byte {
		var data []byte
		for _, p := range parts {
			data = append(data, encoded(t, p)...)
		}
		return inside(data, 1, 1, 2)
	}
	space := func(name string, fields map[string]any) *accesslogdatav3.AccessLogCommon {
		return &accesslogdatav3.AccessLogCommon{Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{name: structOf(t, fields)}}}
	}
	left := func(filter string, open bool) *accesslogdatav3.AccessLogCommon {
		state, err := anypb.New(structOf(t, map[string]any{"failed_open": open}))
		if err != nil {
			t.Fatal(err)
		}
		return &accesslogdatav3.AccessLogCommon{FilterStateObjects: map[string]*anypb.Any{filter: state}}
	}
	tcp := &accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_TcpLogs{TcpLogs: &accesslogv3.StreamAccessLogsMessage_TCPAccessLogEntries{}}}
	two := slices.Concat(encoded(t, structpb.NewStringValue("a")), encoded(t, structpb.NewNumberValue(2)), encoded(t, structpb.NewBoolValue(true)))
	pair := slices.Concat(inside([]byte("failed_open"), 1), inside(two, 2))
	packed := &anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.Struct", Value: inside(pair, 1)}
	return map[string][]byte{
		"two names": twice(&accesslogv3.StreamAccessLogsMessage{Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{LogName: "a", Node: &corev3.Node{}}},
			&accesslogv3.StreamAccessLogsMessage{Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: "x"}}}),
		"lines of two":          twice(logs(t), logs(t)),
		"lines, and of TCP":     twice(logs(t), tcp),
		"lines after some":      twice(tcp, logs(t)),
		"two commons":           entry(1, &accesslogdatav3.AccessLogCommon{UpstreamRequestAttemptCount: 2}, &accesslogdatav3.AccessLogCommon{StreamId: "x"}),
		"two commons, one time": entry(1, &accesslogdatav3.AccessLogCommon{StartTime: &timestamppb.Timestamp{Seconds: 5}}, &accesslogdatav3.AccessLogCommon{StartTime: &timestamppb.Timestamp{Nanos: 7}}),
		"two requests":          entry(3, &accesslogdatav3.HTTPRequestProperties{Path: "/a"}, &accesslogdatav3.HTTPRequestProperties{Authority: "b"}),
		"two answers":           entry(4, &accesslogdatav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200)}, &accesslogdatav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(0), ResponseHeaders: map[string]string{"a": "b"}}),
		"two times":             common(&accesslogdatav3.AccessLogCommon{StartTime: &timestamppb.Timestamp{Seconds: 5}}, &accesslogdatav3.AccessLogCommon{StartTime: &timestamppb.Timestamp{Nanos: 7}}),
		"two durations":         common(&accesslogdatav3.AccessLogCommon{TimeToFirstUpstreamRxByte: durationpb.New(time.Second)}, &accesslogdatav3.AccessLogCommon{TimeToFirstUpstreamRxByte: durationpb.New(1)}),
		"flags of two":          common(&accesslogdatav3.AccessLogCommon{ResponseFlags: &accesslogdatav3.ResponseFlags{RateLimited: true}}, &accesslogdatav3.AccessLogCommon{ResponseFlags: &accesslogdatav3.ResponseFlags{LocalReset: true}}),
		"one space twice":       common(space("keel", map[string]any{"a": "b", "c": 1}), space("keel", map[string]any{"a": true})),
		"one space, and none":   common(space("keel", map[string]any{"a": "b"}), space("keel", nil)),
		"another space":         common(space("keel", map[string]any{"a": "b"}), space("other", map[string]any{"a": "c"})),
		"one state twice":       common(left("keel.ext_proc", true), left("keel.ext_proc", false)),
		"two states":            common(left("a", true), left("b", false)),
		"two states, the other": common(left("a", false), left("b", true)),
		"one tag twice":         common(tagged("failed_open", "1"), tagged("failed_open", "0")),
		"a tag and a state":     common(tagged("failed_open", "0"), left("keel.ext_proc", true)),
		"two tags":              common(tagged("failed_open", "1"), tagged("other", "")),
		"a flag taken back":     inside([]byte{4 << 3, 1, 4 << 3, 0}, 16, 1, 1, 2),
		"a field of two values": inside(pair, 1, 2, 1, 17, 1, 1, 2),
		"a state of two values": common(&accesslogdatav3.AccessLogCommon{FilterStateObjects: map[string]*anypb.Any{"x": packed}}),
	}
}

// What is not plain means what the generic codec makes of it.
func TestLogsThatNoEnvoyWrites(t *testing.T) {
	var got Logs
	for name, data := range unplain(t) {
		t.Run(name, func(t *testing.T) {
			var want accesslogv3.StreamAccessLogsMessage
			if err := proto.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			if err := NewCodec().Unmarshal(pieces(data, 3), &got); err != nil {
				t.Fatal(err)
			}
			same(t, &got, &want)
		})
	}
}

// Each field of an entry by itself means what it does in the generic codec, or nothing, as that of a line that is not read.
func TestEachFieldOfALine(t *testing.T) {
	var fill func(m protoreflect.Message, deep int)
	fill = func(m protoreflect.Message, deep int) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			switch f := fields.Get(i); {
			case f.IsMap() || f.IsList():
			case f.Kind() == protoreflect.MessageKind:
				if inner := m.Mutable(f).Message(); deep > 0 {
					fill(inner, deep-1)
				}
			case f.Kind() == protoreflect.StringKind:
				m.Set(f, protoreflect.ValueOfString(string(f.Name())))
			case f.Kind() == protoreflect.EnumKind:
				m.Set(f, protoreflect.ValueOfEnum(3))
			case f.Kind() == protoreflect.BoolKind:
				m.Set(f, protoreflect.ValueOfBool(true))
			case f.Kind() == protoreflect.Uint32Kind:
				m.Set(f, protoreflect.ValueOfUint32(300))
			case f.Kind() == protoreflect.Int32Kind:
				m.Set(f, protoreflect.ValueOfInt32(301))
			case f.Kind() == protoreflect.Uint64Kind:
				m.Set(f, protoreflect.ValueOfUint64(302))
			case f.Kind() == protoreflect.Int64Kind:
				m.Set(f, protoreflect.ValueOfInt64(303))
			}
		}
	}
	for number := range protowire.Number(5) {
		all := new(accesslogdatav3.HTTPAccessLogEntry)
		part := all.ProtoReflect().Descriptor().Fields().ByNumber(number)
		if part == nil || part.Kind() != protoreflect.MessageKind {
			continue
		}
		parts := all.ProtoReflect().Mutable(part).Message()
		fill(parts, 1)
		check := func(e *accesslogdatav3.HTTPAccessLogEntry) {
			t.Helper()
			var got Logs
			if data := inside(encoded(t, e), 1, 2); !got.readPlain(cursor{data: data}) || len(got.Lines) != 1 || told(&got.Lines[0]) != toldBy(e) {
				t.Errorf("read as\n%s\nwant\n%s", told(&got.Lines[0]), toldBy(e))
			}
		}
		check(all)
		parts.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			one := new(accesslogdatav3.HTTPAccessLogEntry)
			one.ProtoReflect().Mutable(part).Message().Set(f, v)
			check(one)
			return true
		})
	}
}

func TestFlags(t *testing.T) {
	fields := (*accesslogdatav3.ResponseFlags)(nil).ProtoReflect().Descriptor().Fields()
	all := new(accesslogdatav3.ResponseFlags)
	read := func(m *accesslogdatav3.ResponseFlags) (f Flags) {
		if !f.read(cursor{data: encoded(t, m)}) {
			t.Errorf("%v can't be read", m)
		}
		return f
	}
	for i := range fields.Len() {
		one, field := new(accesslogdatav3.ResponseFlags), fields.Get(i)
		for _, m := range []*accesslogdatav3.ResponseFlags{one, all} {
			if field.Kind() == protoreflect.BoolKind {
				m.ProtoReflect().Set(field, protoreflect.ValueOfBool(true))
			} else {
				m.ProtoReflect().Mutable(field)
			}
		}
		for _, m := range []*accesslogdatav3.ResponseFlags{one, all} {
			if got, want := read(m).String(), flagsOf(m); got != want {
				t.Errorf("flags %q, want %q", got, want)
			}
		}
	}
	for flag, m := range map[Flags]*accesslogdatav3.ResponseFlags{
		NoHealthyUpstream: {NoHealthyUpstream: true}, UpstreamConnectionFailure: {UpstreamConnectionFailure: true},
		UpstreamOverflow: {UpstreamOverflow: true}, DownstreamConnectionTermination: {DownstreamConnectionTermination: true},
	} {
		if got := read(m); got != flag {
			t.Errorf("%v is read as %v", m, got)
		}
	}
}

// A stream that waits keeps the memory of messages as they mostly are, and no more.
func TestLogsForget(t *testing.T) {
	var m Logs
	read := func(data []byte) {
		t.Helper()
		if err := NewCodec().Unmarshal(pieces(data, 0), &m); err != nil {
			t.Fatal(err)
		}
		m.forget()
	}
	usual := encoded(t, logs(t))
	read(usual)
	kept := cap(m.Lines)
	if kept == 0 || cap(m.memory) < len(usual) {
		t.Errorf("%d lines and %d bytes are kept of a message of %d", kept, cap(m.memory), len(usual))
	}
	first := logs(t)
	first.Identifier.Node.Cluster = strings.Repeat("x", keptLogBytes)
	if read(encoded(t, first)); cap(m.memory) > 0 || cap(m.Lines) > 0 {
		t.Errorf("%d lines and %d bytes are kept of a long message", cap(m.Lines), cap(m.memory))
	}
	many := logs(t)
	for len(many.GetHttpLogs().LogEntry) <= keptLines {
		many.GetHttpLogs().LogEntry = append(many.GetHttpLogs().LogEntry, &accesslogdatav3.HTTPAccessLogEntry{})
	}
	if read(encoded(t, many)); cap(m.Lines) > 0 {
		t.Errorf("%d lines are kept", cap(m.Lines))
	}
	wide := logs(t)
	for i := range 2 * keptFields {
		wide.GetHttpLogs().LogEntry[0].CommonProperties.Metadata.FilterMetadata["keel"].Fields[fmt.Sprint(i)] = structpb.NewBoolValue(true)
	}
	if read(encoded(t, wide)); cap(m.Lines[:1][0].fields) > keptFields {
		t.Errorf("%d fields of a line are kept", cap(m.Lines[:1][0].fields))
	}
}

// What the generic codec makes of a message is what is read; and what it refuses is refused, or is in what is dropped.
func FuzzLogs(f *testing.F) {
	f.Add(encoded(f, logs(f)))
	f.Add([]byte{10, 2, 18, 0, 26, 0})
	for _, data := range unplain(f) {
		f.Add(data)
	}
	generic, codec := encoding.GetCodecV2(protocodec.Name), NewCodec()
	f.Fuzz(func(t *testing.T, data []byte) {
		var want accesslogv3.StreamAccessLogsMessage
		if err := generic.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &want); err != nil {
			codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, new(Logs))
			return
		}
		var got Logs
		for range 2 { // in the memory of another, too
			if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &got); err != nil {
				t.Fatalf("refused: %v", err)
			}
			same(t, &got, &want)
			got.forget()
		}
	})
}
