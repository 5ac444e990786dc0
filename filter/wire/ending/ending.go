// Package ending ends a streamed response before its provider does, in the way of
// its API, so that client libraries finish or raise the error that they know
// instead of waiting for more.
//
// A [Stream] stands behind the reader of a response. What it forwards are whole
// events only: an ending can follow it at any time. It keeps of them what an
// ending has to refer to, such as the choices that have not finished.
//
// It does not know when a stream has to end, or why. It refuses formats for which no
// ending is known (see Known), and ends no body that turned out not to be a stream.
package ending

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/ndjson"
	"keel/filter/wire/sse"
)

// An Ending says how a stream ends and why.
type Ending struct {
	Code         string // machine-readable
	Message      string // for people
	DecisionID   string
	Error        []byte // what the codec's Refuse renders: the client gets an error; nil: an answer cut at its output limit
	OutputTokens int64  // that were made so far, where the API tells it with the end
}

// format is what the ending of an API needs.
type format interface {
	// see takes the data of an event, or a document, that the client gets.
	see(doc []byte)
	// finish returns the documents that end an answer as its output limit would,
	// nil if too little was seen for that.
	finish(e *Ending) []document
	// fail returns the documents that end it with an error.
	fail(e *Ending) []document
}

// document is one event or one element of an array.
type document struct {
	event string // its name, "" for none
	data  []byte
}

func formatOf(api wire.API) format {
	switch api {
	case wire.OpenAIChat:
		return &chat{object: "chat.completion.chunk"}
	case wire.OpenAICompletions:
		return &chat{object: "text_completion"}
	case wire.OpenAIResponses:
		return &responses{}
	case wire.Anthropic:
		return &messages{}
	case wire.GeminiGenerate, wire.GeminiStream:
		return &gemini{finished: make(map[int64]bool)}
	}
	return nil
}

// Known reports whether streams of an API can be ended.
func Known(api wire.API) bool { return formatOf(api) != nil }

// A Stream lets whole events pass. It is used by one goroutine.
type Stream struct {
	format format
	kind   kind
	events sse.Reader
	array  ndjson.Reader
	gate   sse.Gate
	seen   int64 // bytes that the gate was given
}

type kind uint8

const (
	unknown kind = iota
	events       // server-sent events
	array        // an array of objects
	other        // no stream
)

// New returns a Stream for a response of an API that is Known.
func New(api wire.API) *Stream { return &Stream{format: formatOf(api)} }

// Pass takes what the client would get next, cut anywhere, and returns what it gets
// now. end says that nothing follows: then nothing is kept back. What it returns is valid until
// the next call.
func (s *Stream) Pass(chunk []byte, end bool) []byte {
	if s.kind == unknown {
		// Space in front keeps the connection and is nothing.
		if chunk = bytes.TrimLeft(chunk, " \t\r\n"); len(chunk) == 0 {
			return nil
		}
		switch chunk[0] {
		case '[':
			s.kind = array
		case '{':
			s.kind = other
		default:
			s.kind = events
		}
	}
	s.seen += int64(len(chunk))
	whole := s.seen
	switch s.kind {
	case events:
		s.events.Feed(chunk)
		for s.events.Next() {
			s.format.see(bytes.TrimSpace(s.events.Event().Data))
		}
		if from, undecided := s.events.Undecided(); undecided {
			whole = from
		}
	case array:
		whole = s.passArray(chunk)
	case other:
		return chunk
	}
	if end {
		whole = s.seen
	}
	return s.gate.Pass(chunk, nil, whole)
}

// passArray returns the offset up to which the elements are whole.
func (s *Stream) passArray(chunk []byte) (whole int64) {
	whole = s.gate.Passed()
	s.array.Feed(chunk)
	for s.array.Next() {
		s.format.see(s.array.Object())
		whole = s.array.Offset()
	}
	if s.array.One() { // its bracket was there
		whole = s.seen
	}
	return whole
}

// Begun reports whether there is a stream that could be ended: the body has begun, and is one.
func (s *Stream) Begun() bool { return s.kind == events || s.kind == array }

// End returns what ends the stream behind what was passed; what is kept back is never told. ok is
// false where the response is no stream, or has not begun: then there is nothing to end. The
// caller does not ask for a stream that told its own end.
func (s *Stream) End(e *Ending) (last []byte, ok bool) {
	if !s.Begun() {
		return nil, false
	}
	var documents []document
	if e.Error == nil {
		documents = s.format.finish(e)
	}
	if documents == nil {
		documents = s.format.fail(e)
	}
	for i, d := range documents {
		if s.kind == events {
			last = appendEvent(last, d)
			continue
		}
		if i > 0 || s.gate.Passed() > 0 {
			last = append(last, ",\n"...)
		} else {
			last = append(last, '[')
		}
		last = append(last, d.data...)
	}
	if s.kind == array {
		last = append(last, "]\n"...)
	}
	return last, true
}

func appendEvent(b []byte, d document) []byte {
	if d.event != "" {
		b = append(append(append(b, "event: "...), d.event...), '\n')
	}
	return append(append(append(b, "data: "...), d.data...), "\n\n"...)
}
