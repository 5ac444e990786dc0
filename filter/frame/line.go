package frame

import (
	"bytes"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A Line is what is read of one HTTPAccessLogEntry; Envoy tells all that it knows of a call, and has no setting for less. Bytes are
// of the message, and are overwritten by the next one.
type Line struct {
	Type      accesslogdatav3.AccessLogType
	Start     time.Time     // of the request; 1970 where it is not told
	Sent      bool          // a byte of it went to an upstream
	Answered  bool          // a byte of an answer came from there
	FirstByte time.Duration // from Start until that
	Upstream  bool          // the address of an upstream is told
	Flags     Flags
	Attempts  uint32
	StreamID  []byte

	Method                     corev3.RequestMethod
	Authority, Path, RequestID []byte

	Status  uint32 // 0 where there was no answer
	Bytes   uint64 // of the body of the answer
	Headers []Header
	Details []byte

	fields []Field
	spaces []space
	states []state
	tags   []Header // of the access log's own, those that tell of the state of a filter
}

// A Header is one of those of the answer that Envoy was told to log.
type Header struct{ Name, Value []byte }

type space struct {
	name     []byte
	from, to int // of the fields
}

// A state is what a filter has left, an Any.
type state struct{ filter, packed []byte }

// Metadata are the fields of a namespace.
func (l *Line) Metadata(name string) Fields {
	for i := range l.spaces {
		if s := &l.spaces[i]; string(s.name) == name {
			return l.fields[s.from:s.to:s.to]
		}
	}
	return nil
}

// stateTag is what the name of a custom tag begins with that is a field of the state of Keel's filter, as package envoy writes them.
const stateTag = "keel."

// State is what filters have left under a key in the state that is logged: whether one has, and whether one has it true. Envoy logs all of a state,
// fifteen numbers, or single fields as tags, which costs it a twentieth of a call less.
func (l *Line) State(key string) (there, isTrue bool) {
	for _, tag := range l.tags {
		if string(tag.Name[len(stateTag):]) == key {
			v := string(tag.Value) // a field that is missing is "-"
			there, isTrue = v != "" && v != "-", v == "1" || v == "true"
		}
	}
	for i := range l.states {
		found, yes := stateIn(cursor{data: l.states[i].packed}, key)
		there, isTrue = there || found, isTrue || yes
	}
	return there, isTrue
}

// read reads an entry into a line that may have been another. It returns false where it is not plain.
func (l *Line) read(c cursor) bool {
	*l = Line{Start: time.Unix(0, 0).UTC(), Headers: l.Headers[:0], fields: l.fields[:0], spaces: l.spaces[:0], states: l.states[:0], tags: l.tags[:0]}
	var parts seen
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok {
			return false
		}
		switch tagOf(number, kind) {
		case 1<<3 | lengthed:
			ok = !parts.again(number) && l.readCommon(value)
		case 3<<3 | lengthed:
			ok = !parts.again(number) && l.readRequest(value)
		case 4<<3 | lengthed:
			ok = !parts.again(number) && l.readResponse(value)
		}
		if !ok {
			return false
		}
	}
	return true
}

func (l *Line) readCommon(c cursor) bool {
	var parts seen
	for !c.done() {
		number, value, bits, kind, ok := c.field()
		if !ok {
			return false
		}
		switch tagOf(number, kind) {
		case 5<<3 | lengthed: // start_time
			seconds, nanos, plain := readTime(value)
			ok = plain && !parts.again(number)
			at := timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
			l.Start = at.AsTime()
		case 7<<3 | lengthed: // time_to_first_upstream_tx_byte
			l.Sent = true
		case 9<<3 | lengthed: // time_to_first_upstream_rx_byte
			seconds, nanos, plain := readTime(value)
			ok = plain && !parts.again(number)
			took := durationpb.Duration{Seconds: seconds, Nanos: nanos}
			l.Answered, l.FirstByte = true, took.AsDuration()
		case 13<<3 | lengthed: // upstream_remote_address
			l.Upstream = true
		case 16<<3 | lengthed: // response_flags
			ok = l.Flags.read(value)
		case 17<<3 | lengthed: // metadata
			ok = l.readMetadata(value)
		case 21<<3 | lengthed: // filter_state_objects
			ok = l.readState(value)
		case 22<<3 | lengthed: // custom_tags
			ok = l.readTag(value)
		case 24<<3 | varint: // upstream_request_attempt_count
			l.Attempts = uint32(bits)
		case 26<<3 | lengthed: // stream_id
			l.StreamID, ok = value.utf8()
		case 33<<3 | varint: // access_log_type
			l.Type = accesslogdatav3.AccessLogType(bits)
		}
		if !ok {
			return false
		}
	}
	return true
}

func (l *Line) readRequest(c cursor) bool {
	for !c.done() {
		number, value, bits, kind, ok := c.field()
		if !ok {
			return false
		}
		switch tagOf(number, kind) {
		case 1<<3 | varint: // request_method
			l.Method = corev3.RequestMethod(bits)
		case 3<<3 | lengthed: // authority
			l.Authority, ok = value.utf8()
		case 5<<3 | lengthed: // path
			l.Path, ok = value.utf8()
		case 9<<3 | lengthed: // request_id
			l.RequestID, ok = value.utf8()
		}
		if !ok {
			return false
		}
	}
	return true
}

func (l *Line) readResponse(c cursor) bool {
	for !c.done() {
		number, value, bits, kind, ok := c.field()
		if !ok {
			return false
		}
		switch tagOf(number, kind) {
		case 1<<3 | lengthed: // response_code
			ok = readCode(value, &l.Status)
		case 3<<3 | varint: // response_body_bytes
			l.Bytes = bits
		case 4<<3 | lengthed: // response_headers
			var h Header
			var text cursor
			if h.Name, text, ok = readPair(value); ok {
				h.Value, ok = text.utf8()
			}
			l.Headers = append(l.Headers, h)
		case 6<<3 | lengthed: // response_code_details
			l.Details, ok = value.utf8()
		}
		if !ok {
			return false
		}
	}
	return true
}

// readTime reads a Timestamp or a Duration.
func readTime(c cursor) (seconds int64, nanos int32, ok bool) {
	for !c.done() {
		number, _, bits, kind, ok := c.field()
		if !ok {
			return 0, 0, false
		}
		switch tagOf(number, kind) {
		case 1<<3 | varint:
			seconds = int64(bits)
		case 2<<3 | varint:
			nanos = int32(bits)
		}
	}
	return seconds, nanos, true
}

// readCode reads a UInt32Value over what is there: so two of them are one.
func readCode(c cursor, code *uint32) bool {
	for !c.done() {
		number, _, bits, kind, ok := c.field()
		if !ok {
			return false
		}
		if tagOf(number, kind) == 1<<3|varint {
			*code = uint32(bits)
		}
	}
	return true
}

func (l *Line) readMetadata(c cursor) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok {
			return false
		}
		if tagOf(number, kind) != 1<<3|lengthed {
			continue
		}
		name, fields, ok := readPair(value)
		if !ok || slices.ContainsFunc(l.spaces, func(s space) bool { return bytes.Equal(s.name, name) }) {
			return false
		}
		from := len(l.fields)
		if l.fields, ok = appendFields(l.fields, fields); !ok {
			return false
		}
		l.spaces = append(l.spaces, space{name, from, len(l.fields)})
	}
	return true
}

func (l *Line) readState(c cursor) bool {
	filter, packed, ok := readPair(c)
	if !ok || slices.ContainsFunc(l.states, func(s state) bool { return bytes.Equal(s.filter, filter) }) {
		return false
	}
	l.states = append(l.states, state{filter, packed.data})
	return true
}

func (l *Line) readTag(c cursor) bool {
	name, value, ok := readPair(c)
	if !ok {
		return false
	}
	text, ok := value.utf8()
	if !ok || !strings.HasPrefix(string(name), stateTag) {
		return ok
	}
	if slices.ContainsFunc(l.tags, func(h Header) bool { return bytes.Equal(h.Name, name) }) {
		return false // the last one counts
	}
	l.tags = append(l.tags, Header{name, text})
	return true
}
