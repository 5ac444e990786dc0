package frame

import (
	"math"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/structpb"
)

// A cursor goes over a message.
type cursor struct {
	data []byte
	text string // the same bytes, from base on: strings share one allocation
	base int
}

// texts gives a cursor its text.
func (c *cursor) texts() { c.text, c.base = string(c.data), 0 }

// field is the next field. ok is false at the end, and where the message is malformed or has a group:
// then data is not empty.
func (c *cursor) field() (number protowire.Number, value cursor, bits uint64, kind protowire.Type, ok bool) {
	if len(c.data) == 0 {
		return 0, cursor{}, 0, 0, false
	}
	if d := c.data; len(d) > 1 && d[0] >= 8 && d[0]|d[1] < 0x80 { // most are so short that tag and length, or value, are of one byte each
		switch number, kind = protowire.Number(d[0]>>3), protowire.Type(d[0]&7); kind {
		case protowire.VarintType:
			c.skip(2)
			return number, cursor{}, uint64(d[1]), kind, true
		case protowire.BytesType:
			if n := 2 + int(d[1]); n <= len(d) {
				value = cursor{d[2:n:n], c.text, c.base + 2}
				c.skip(n)
				return number, value, 0, kind, true
			}
		}
	}
	number, kind, n := protowire.ConsumeTag(c.data)
	if n < 0 {
		return 0, cursor{}, 0, 0, false
	}
	rest := c.data[n:]
	switch kind {
	case protowire.VarintType:
		v, m := protowire.ConsumeVarint(rest)
		if m < 0 {
			return 0, cursor{}, 0, 0, false
		}
		c.skip(n + m)
		return number, cursor{}, v, kind, true
	case protowire.Fixed64Type:
		v, m := protowire.ConsumeFixed64(rest)
		if m < 0 {
			return 0, cursor{}, 0, 0, false
		}
		c.skip(n + m)
		return number, cursor{}, v, kind, true
	case protowire.BytesType:
		v, m := protowire.ConsumeBytes(rest)
		if m < 0 {
			return 0, cursor{}, 0, 0, false
		}
		value = cursor{v[:len(v):len(v)], c.text, c.base + n + m - len(v)}
		c.skip(n + m)
		return number, value, 0, kind, true
	}
	return 0, cursor{}, 0, 0, false
}

func (c *cursor) skip(n int) {
	c.data = c.data[n:]
	c.base += n
}

func (c *cursor) done() bool { return len(c.data) == 0 }

// str is the value as a string; ok is false where the generic codec refuses it.
func (c *cursor) str() (string, bool) {
	s := c.text[c.base : c.base+len(c.data)]
	return s, utf8.ValidString(s)
}

// The tags of fields.
func isBytes(kind protowire.Type) bool  { return kind == protowire.BytesType }
func isVarint(kind protowire.Type) bool { return kind == protowire.VarintType }

// Read reads a message into an empty m, and keeps data, which must not change afterwards. It returns false where the generic codec
// has to: m may then have anything.
//
// Envoy sends the metadata along with every message. They are read where they are asked for: with headers and trailers, and not with bodies.
func Read(data []byte, m *extprocv3.ProcessingRequest) bool { return readInto(data, m, nil) }

// readInto is Read, with headers in h, which is made where it is nil.
func readInto(data []byte, m *extprocv3.ProcessingRequest, h *head) bool {
	c, body := cursor{data: data}, false
	for !c.done() {
		number, value, bits, kind, ok := c.field()
		if !ok {
			return false
		}
		if isBytes(kind) && number != 4 && number != 5 && !(body && number == 8) {
			value.texts()
		}
		if h == nil && (number == 2 || number == 3) {
			h = new(head)
		}
		switch {
		case body && number == 8 && isBytes(kind):
		case number == 2 && isBytes(kind) && m.Request == nil:
			m.Request, h.request.RequestHeaders, ok = &h.request, &h.headers, h.read(value)
		case number == 3 && isBytes(kind) && m.Request == nil:
			m.Request, h.response.ResponseHeaders, ok = &h.response, &h.headers, h.read(value)
		case number == 4 && isBytes(kind) && m.Request == nil:
			b := &extprocv3.HttpBody{}
			m.Request, ok, body = &extprocv3.ProcessingRequest_RequestBody{RequestBody: b}, readBody(value.data, b), true
		case number == 5 && isBytes(kind) && m.Request == nil:
			b := &extprocv3.HttpBody{}
			m.Request, ok, body = &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: b}, readBody(value.data, b), true
		case number == 6 && isBytes(kind) && m.Request == nil:
			trailers := &extprocv3.HttpTrailers{}
			m.Request, ok = &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: trailers}, readTrailers(value, trailers)
		case number == 7 && isBytes(kind) && m.Request == nil:
			trailers := &extprocv3.HttpTrailers{}
			m.Request, ok = &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: trailers}, readTrailers(value, trailers)
		case number == 8 && isBytes(kind) && m.MetadataContext == nil:
			m.MetadataContext = &corev3.Metadata{}
			ok = readMetadata(value, m.MetadataContext)
		case number == 9 && isBytes(kind):
			m.Attributes, ok = readStructEntry(value, m.Attributes)
		case number == 10 && isVarint(kind):
			m.ObservabilityMode = bits != 0
		case number == 11 && isBytes(kind) && m.ProtocolConfig == nil:
			m.ProtocolConfig = &extprocv3.ProtocolConfiguration{}
			ok = readProtocol(value, m.ProtocolConfig)
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	if body { // where another order had them first
		m.MetadataContext = nil
	}
	return true
}

// readHeaders reads headers into those that list gives, of which it asks for so many. Without any it is nil.
func readHeaders(c cursor, list func(int) []*corev3.HeaderValue) ([]*corev3.HeaderValue, bool) {
	count := c
	n := 0
	for !count.done() {
		if number, _, _, kind, ok := count.field(); !ok || number != 1 || !isBytes(kind) {
			return nil, false
		}
		n++
	}
	if n == 0 {
		return nil, true
	}
	all := list(n)
	for i, h := range all {
		_, value, _, _, _ := c.field()
		if !readHeader(value, h) {
			return all[:i+1], false
		}
	}
	return all, true
}

func readHeader(c cursor, h *corev3.HeaderValue) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok || !isBytes(kind) {
			return false
		}
		switch number {
		case 1:
			h.Key, ok = value.str()
		case 2:
			h.Value, ok = value.str()
		case 3:
			h.RawValue = value.data
			if len(value.data) == 0 {
				h.RawValue = nil
			}
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	return true
}

func readTrailers(c cursor, m *extprocv3.HttpTrailers) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok || number != 1 || !isBytes(kind) || m.Trailers != nil {
			return false
		}
		m.Trailers = &corev3.HeaderMap{}
		if m.Trailers.Headers, ok = readHeaders(value, new(head).list); !ok {
			return false
		}
	}
	return true
}

func readBody(data []byte, m *extprocv3.HttpBody) bool {
	c := cursor{data: data}
	for !c.done() {
		number, value, bits, kind, ok := c.field()
		switch {
		case !ok:
			return false
		case number == 1 && isBytes(kind):
			m.Body = value.data
			if len(value.data) == 0 {
				m.Body = nil
			}
		case number == 2 && isVarint(kind):
			m.EndOfStream = bits != 0
		case number == 3 && isVarint(kind):
			m.EndOfStreamWithoutMessage = bits != 0
		default:
			return false
		}
	}
	return true
}

// read reads a message that is a piece of a response body and nothing else, out of memory that the next one uses.
func (p *piece) read(data []byte) bool {
	c := cursor{data: data}
	number, body, _, kind, ok := c.field()
	if !ok || number != 5 || !isBytes(kind) {
		return false
	}
	for !c.done() {
		if number, _, _, kind, ok := c.field(); !ok || number != 8 || !isBytes(kind) {
			return false
		}
	}
	p.body.Body, p.body.EndOfStream, p.body.EndOfStreamWithoutMessage = nil, false, false
	p.kind.ResponseBody, p.request.Request = &p.body, &p.kind
	return readBody(body.data, &p.body)
}

func readMetadata(c cursor, m *corev3.Metadata) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok || number != 1 || !isBytes(kind) { // typed metadata is not forwarded
			return false
		}
		if m.FilterMetadata, ok = readStructEntry(value, m.FilterMetadata); !ok {
			return false
		}
	}
	return true
}

func readProtocol(c cursor, m *extprocv3.ProtocolConfiguration) bool {
	for !c.done() {
		number, _, bits, kind, ok := c.field()
		if !ok || !isVarint(kind) {
			return false
		}
		switch number {
		case 1:
			m.RequestBodyMode = extprocfilterv3.ProcessingMode_BodySendMode(bits)
		case 2:
			m.ResponseBodyMode = extprocfilterv3.ProcessingMode_BodySendMode(bits)
		case 3:
			m.SendBodyWithoutWaitingForHeaderResponse = bits != 0
		default:
			return false
		}
	}
	return true
}

// readEntry takes an entry of a map apart. A key or value that is missing reads as empty.
func readEntry(c cursor) (key string, value cursor, ok bool) {
	var hasKey, hasValue bool
	for !c.done() {
		number, v, _, kind, ok := c.field()
		switch {
		case !ok || !isBytes(kind):
			return "", cursor{}, false
		case number == 1 && !hasKey:
			if key, ok = v.str(); !ok {
				return "", cursor{}, false
			}
			hasKey = true
		case number == 2 && !hasValue:
			value, hasValue = v, true
		default:
			return "", cursor{}, false
		}
	}
	return key, value, true
}

func readStructEntry(c cursor, into map[string]*structpb.Struct) (map[string]*structpb.Struct, bool) {
	key, value, ok := readEntry(c)
	if !ok {
		return into, false
	}
	if into == nil {
		into = make(map[string]*structpb.Struct, 1)
	}
	s := &structpb.Struct{}
	into[key] = s
	return into, readStruct(value, s, maxDepth)
}

// maxDepth is how deep values are read before the generic codec, which has a bound of its own, has to.
const maxDepth = 16

func readStruct(c cursor, s *structpb.Struct, depth int) bool {
	if depth == 0 {
		return false
	}
	for !c.done() {
		number, entry, _, kind, ok := c.field()
		if !ok || number != 1 || !isBytes(kind) {
			return false
		}
		key, value, ok := readEntry(entry)
		if !ok {
			return false
		}
		v := readValue(value, depth-1)
		if v == nil {
			return false
		}
		if s.Fields == nil {
			s.Fields = make(map[string]*structpb.Value, 4)
		}
		s.Fields[key] = v
	}
	return true
}

// readValue reads a value. Nil is for one that the generic codec has to read.
func readValue(c cursor, depth int) *structpb.Value {
	if c.done() {
		return &structpb.Value{}
	}
	number, value, bits, kind, ok := c.field()
	if !ok || !c.done() {
		return nil
	}
	switch {
	case number == 1 && isVarint(kind):
		return &structpb.Value{Kind: &structpb.Value_NullValue{NullValue: structpb.NullValue(bits)}}
	case number == 2 && kind == protowire.Fixed64Type:
		v := new(struct { // in one piece of memory
			value structpb.Value
			kind  structpb.Value_NumberValue
		})
		v.value.Kind, v.kind.NumberValue = &v.kind, math.Float64frombits(bits)
		return &v.value
	case number == 3 && isBytes(kind):
		v := new(struct {
			value structpb.Value
			kind  structpb.Value_StringValue
		})
		v.value.Kind = &v.kind
		if v.kind.StringValue, ok = value.str(); !ok {
			return nil
		}
		return &v.value
	case number == 4 && isVarint(kind):
		return &structpb.Value{Kind: &structpb.Value_BoolValue{BoolValue: bits != 0}}
	case number == 5 && isBytes(kind):
		s := &structpb.Struct{}
		if !readStruct(value, s, depth) {
			return nil
		}
		return &structpb.Value{Kind: &structpb.Value_StructValue{StructValue: s}}
	case number == 6 && isBytes(kind):
		list := &structpb.ListValue{}
		if !readList(value, list, depth) {
			return nil
		}
		return &structpb.Value{Kind: &structpb.Value_ListValue{ListValue: list}}
	}
	return nil
}

func readList(c cursor, list *structpb.ListValue, depth int) bool {
	if depth == 0 {
		return false
	}
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok || number != 1 || !isBytes(kind) {
			return false
		}
		v := readValue(value, depth-1)
		if v == nil {
			return false
		}
		list.Values = append(list.Values, v)
	}
	return true
}
