// Package framing finds the JSON documents in a response as it arrives, however
// they are framed: one object, an array of objects, objects one a line, or
// server-sent events. Which it is, the first byte tells: the request decides
// which it should be, but errors and gateways do as they like.
//
// It does not know what documents mean, and decides for no API when a stream
// is whole.
package framing

import (
	"bytes"
	"net/http"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/ndjson"
	"keel/filter/wire/sse"
	"keel/pricing/tokens"
)

// A Reader takes the chunks of one body. The zero Reader is ready; it is used
// by one goroutine.
type Reader struct {
	kind   kind
	json   ndjson.Reader
	events sse.Reader
	head   []byte // the beginning of a body that is no JSON
	broken bool   // a document was none
	done   bool
	ended  bool
}

type kind uint8

const (
	unknown kind = iota
	values       // JSON
	stream       // server-sent events, or nothing that can be read
)

// Feed hands over the next bytes; end marks the last ones and may come with
// none. document is called with each document that they complete, which is valid
// during the call; an error says that it is none. The data "[DONE]" is no
// document.
func (r *Reader) Feed(chunk []byte, end bool, document func(doc []byte) error) {
	if r.kind == unknown {
		// Space in front, which may come in chunks of its own to keep the connection, is nothing.
		if chunk = bytes.TrimLeft(chunk, " \t\r\n"); len(chunk) > 0 {
			r.kind = stream
			if chunk[0] == '{' || chunk[0] == '[' {
				r.kind = values
			}
		}
	}
	switch r.kind {
	case values:
		r.json.Feed(chunk)
		for r.json.Next() {
			r.document(r.json.Object(), document)
		}
	case stream:
		r.keepHead(chunk)
		r.events.Feed(chunk)
		r.readEvents(document)
		if end {
			r.events.End()
			r.readEvents(document)
		}
	}
	r.ended = r.ended || end
}

func (r *Reader) readEvents(document func(doc []byte) error) {
	for r.events.Next() {
		if data := bytes.TrimSpace(r.events.Event().Data); string(data) == "[DONE]" {
			r.done = true
		} else if len(data) > 0 {
			r.document(data, document)
		}
	}
}

func (r *Reader) document(doc []byte, document func(doc []byte) error) {
	if err := document(doc); err != nil {
		r.broken = true
	}
}

// One reports whether the body is one whole JSON value so far: an object, or an
// array of objects.
func (r *Reader) One() bool { return r.kind == values && !r.broken && r.json.One() }

// Done reports whether the stream has told [DONE].
func (r *Reader) Done() bool { return r.done }

// Ended reports whether the body has ended behind a document and all of it could
// be read. A connection that breaks is never fed as an end.
func (r *Reader) Ended() bool {
	if !r.ended || r.broken {
		return false
	}
	if r.kind == values {
		return r.json.Whole()
	}
	_, unfinished := r.events.Undecided()
	return r.kind == stream && !unfinished && r.events.Err() == nil
}

// Events reports whether the body is server-sent events.
func (r *Reader) Events() bool { return r.kind == stream }

// most is how much of an error is kept, in bytes: enough to read, and no page of HTML.
const most = 500

func (r *Reader) keepHead(chunk []byte) {
	if room := most - len(r.head); room > 0 {
		r.head = append(r.head, chunk[:min(room, len(chunk))]...)
	}
}

// text is the beginning of a body that is neither JSON nor events: an error of a proxy.
func (r *Reader) text() string {
	if r.kind != stream || bytes.HasPrefix(r.head, []byte("data:")) || bytes.HasPrefix(r.head, []byte("event:")) {
		return ""
	}
	return strings.TrimSpace(clip(string(r.head)))
}

// Finish adds to a reading what the framing alone tells: the text of an error
// that is no JSON, and of a body that was cut all that it showed, because the
// model had made the whole of it. task is that of the request: vectors are no text.
func (r *Reader) Finish(reading *wire.Reading, status int, task tokens.Task) {
	if !reading.Terminal && reading.Usage == nil && status < http.StatusBadRequest && task == tokens.Generate {
		reading.OutputBytes += r.json.Pending()
	}
	if reading.Failure == "" && status >= http.StatusBadRequest {
		reading.Failure = r.text()
	}
}
