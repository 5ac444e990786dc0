package openai

import (
	"bytes"
	"cmp"
	"mime"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/sse"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// maxBody is how much of a unary body is kept to read it when it is whole: ten
// large images in base64. A larger one has no usage for us.
const maxBody = 64 << 20

// dialect is what differs between the responses of the APIs.
type dialect interface {
	// document reads a whole unary body.
	document(c *walk.Cursor, key []byte, b *body) error
	// event reads the data of one event, which is an object, and reports what
	// it is.
	event(data []byte, b *body) eventKind
	// settle adds to out what the usage object does not tell of a successful
	// call; out.Usage is nil where there is none.
	settle(b *body, out *wire.Reading)
	// writes reports whether what a body shows is text that a model made.
	writes() bool
}

type eventKind uint8

const (
	plainEvent    eventKind = iota
	terminalEvent           // the stream is whole with it
	usageEvent              // carries usage and nothing else
)

// body is what was read of a response so far.
type body struct {
	reading  wire.Reading
	counts   counts
	reported bool   // counts and raw are set
	raw      []byte // the usage object
	running  bool   // counts may be replaced by a later event

	parts          []meter.Part // usage by model
	calls          hostedCalls  // seen as output
	searchRequests int64        // told beside usage
	imageCounts    *counts      // of images that a hosted tool made
	imageTold      bool
	imageModel     string
	duration       int64 // seconds of sound, told beside usage; -1 for none
}

func newBody() body { return body{duration: -1} }

type form uint8

const (
	unknown form = iota
	document
	stream
	sound // sound: nothing to read
)

// reader is the wire.ResponseReader of all APIs.
type reader struct {
	dialect dialect
	body
	status  int
	form    form
	streams bool  // asked for or declared
	seen    int64 // bytes behind the white space in front

	// Document.
	buffer []byte
	parsed bool // buffer was read as it is now

	// Stream.
	events  sse.Reader
	hide    bool
	gate    sse.Gate
	dropped []sse.Extent
}

func newReader(d dialect, request *wire.Request, status int, header wire.Header) *reader {
	contentType, _, _ := mime.ParseMediaType(header.Get("content-type"))
	r := &reader{
		dialect: d, body: newBody(), status: status,
		streams: request.Stream || contentType == "text/event-stream",
		hide:    request.UsageForced && !request.WantsUsage,
	}
	if strings.HasPrefix(contentType, "audio/") {
		r.form = sound
	}
	return r
}

// Feed implements wire.ResponseReader. What it returns is valid until the next
// call.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	rest := chunk
	if r.form == sound {
		return chunk
	}
	if r.form == unknown {
		rest = bytes.TrimLeft(chunk, " \t\r\n") // what hosts send to keep the connection
		if len(rest) == 0 {
			return chunk
		}
		r.form = document
		if rest[0] != '{' && rest[0] != '[' && r.streams {
			r.form = stream
		}
	}
	r.seen += int64(len(rest))
	if r.form == stream {
		forward := r.feedStream(rest, end)
		if lead := len(chunk) - len(rest); lead > 0 {
			if len(forward) == len(rest) {
				return chunk
			}
			forward = append(bytes.Clone(chunk[:lead]), forward...)
		}
		return forward
	}
	r.parsed = r.parsed && len(rest) == 0
	if r.seen > maxBody {
		r.buffer = nil
	} else {
		r.buffer = append(r.buffer, rest...)
	}
	return chunk
}

// feedStream reads the events that chunk completes and returns what to forward.
func (r *reader) feedStream(chunk []byte, end bool) []byte {
	r.dropped = r.dropped[:0]
	r.events.Feed(chunk)
	r.readEvents()
	if end {
		r.events.End()
		r.readEvents()
	}
	if !r.hide {
		return chunk
	}
	from, undecided := r.events.Undecided()
	if end || !undecided {
		from = r.seen
	}
	return r.gate.Pass(chunk, r.dropped, from)
}

func (r *reader) readEvents() {
	for r.events.Next() {
		e := r.events.Event()
		if r.readEvent(e) && r.hide {
			r.dropped = append(r.dropped, sse.Extent{Start: e.Start, End: e.End})
		}
	}
}

// readEvent reads one event and reports whether it is only there because usage was
// asked for.
func (r *reader) readEvent(e *sse.Event) (usageOnly bool) {
	data := bytes.TrimSpace(e.Data)
	if string(data) == "[DONE]" {
		r.reading.Terminal = true
		return false
	}
	if len(data) == 0 || data[0] != '{' {
		return false
	}
	switch r.dialect.event(data, &r.body) {
	case terminalEvent:
		r.reading.Terminal = true
	case usageEvent:
		return true
	}
	return false
}

// Reading implements wire.ResponseReader.
func (r *reader) Reading() wire.Reading {
	if r.form == document {
		r.readDocument()
	}
	out := r.reading
	if r.reported {
		usage, partial := r.counts.normalise()
		out.Usage, out.RawUsage = &usage, bytes.Clone(r.raw)
		out.Partial = partial || r.running && !r.reading.Terminal
		out.ReportedCost, out.SearchContext = r.counts.cost, r.counts.searchContext
		out.ServiceTier = cmp.Or(out.ServiceTier, r.counts.tier)
	}
	if r.status < 400 {
		r.dialect.settle(&r.body, &out)
	}
	return out
}

// readDocument reads the buffered body. One that is cut is no JSON, and then
// everything it showed counts as output: the provider made it all before it sent
// the first byte.
func (r *reader) readDocument() {
	if r.parsed {
		return
	}
	r.parsed = true
	r.body = newBody()
	doc := bytes.TrimSpace(r.buffer)
	if len(doc) > 1 && doc[0] == '[' && doc[len(doc)-1] == ']' { // Google puts an error in an array
		doc = doc[1 : len(doc)-1]
	}
	err := walk.Response(doc, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "message", "detail": // Cohere, Mistral, FastAPI
			if r.status >= 400 {
				return r.readFailure(c)
			}
		}
		return r.dialect.document(c, key, &r.body)
	})
	if err == nil {
		r.reading.Terminal = true
		return
	}
	r.body = newBody()
	switch {
	case r.status >= 400:
		r.reading.Failure = string(clip(doc))
	case r.dialect.writes():
		r.reading.OutputBytes = r.seen
	}
}
