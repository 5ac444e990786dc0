package anthropic

import (
	"bytes"
	"net/http"

	"keel/filter/wire"
	"keel/filter/wire/sse"
	"keel/filter/wire/walk"
)

// maxBody is how much of an unstreamed body is kept to be read; a larger one
// is passed on and reads as one that said nothing.
const maxBody = 64 << 20

// NewReader implements wire.Codec. Whether a body is one message or a stream
// is told by its first byte, since headers are lost or wrong behind gateways.
func (Codec) NewReader(*wire.Request, int, http.Header) wire.ResponseReader { return new(reader) }

type reader struct {
	framing framing
	body    []byte // of one message, until it is complete
	events  sse.Reader
	usage   usageObject
	reading wire.Reading
}

type framing int

const (
	unknown framing = iota
	message         // one JSON object
	stream          // server-sent events
	other           // nothing that can be read
)

// Reading implements wire.ResponseReader.
func (r *reader) Reading() wire.Reading { return r.reading }

// Feed implements wire.ResponseReader. Nothing is ever hidden in this API.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	if r.framing == unknown {
		if first := bytes.TrimLeft(chunk, " \t\r\n"); len(first) > 0 {
			r.framing = stream
			if first[0] == '{' || first[0] == '[' {
				r.framing = message
			}
		}
	}
	switch r.framing {
	case message:
		r.collect(chunk, end)
	case stream:
		r.events.Feed(chunk)
		r.readEvents()
		if end {
			r.events.End()
			r.readEvents()
		}
	}
	return chunk
}

// collect keeps the body and reads it as soon as it is complete, with or
// without the end of the body behind it.
func (r *reader) collect(chunk []byte, end bool) {
	if len(r.body)+len(chunk) > maxBody {
		*r = reader{framing: other}
		return
	}
	if len(chunk) == 0 && r.reading.Terminal {
		return
	}
	r.body = append(r.body, chunk...)
	doc := bytes.TrimSpace(r.body)
	if last := doc[len(doc)-1]; !end && last != '}' && last != ']' {
		return
	}
	if r.reading.Terminal {
		// It was complete before: was only space behind it?
		if walk.Response(unlist(doc), ignore) != nil {
			r.reading, r.usage = wire.Reading{}, usageObject{}
		}
		return
	}
	if doc = unlist(doc); walk.Response(doc, ignore) == nil {
		r.document(doc)
		r.reading.Terminal = true
	}
}

// unlist takes an error out of the list of one that Vertex AI puts it in.
func unlist(doc []byte) []byte {
	if len(doc) > 1 && doc[0] == '[' && doc[len(doc)-1] == ']' {
		return doc[1 : len(doc)-1]
	}
	return doc
}

func ignore(*walk.Cursor, []byte) error { return nil }

func (r *reader) readEvents() {
	for r.events.Next() {
		r.document(r.events.Event().Data)
	}
}

// document reads a message, an error, or the data of one event: their members
// do not collide.
func (r *reader) document(doc []byte) {
	var kind string
	var usage []byte
	start := false
	err := walk.Response(doc, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "type":
			var text []byte
			text, err = c.Text()
			kind = string(text)
		case "message": // of message_start
			start = true
			err = c.Object(func(key []byte) error { return r.member(c, string(key), &usage) })
		case "content_block": // of content_block_start
			err = r.generated(c)
		case "delta": // of content_block_delta and message_delta
			err = r.generated(c)
		case "error":
			err = r.failure(c)
		default:
			err = r.member(c, string(key), &usage)
		}
		return err
	})
	if err != nil {
		return // an event that is no JSON says nothing
	}
	if usage != nil {
		r.usage.overlay(usage)
		raw := r.usage.raw()
		figures := read(raw)
		if u, whole := figures.usage(); u != nil {
			r.reading.Usage, r.reading.RawUsage = u, raw
			// message_start has all of the input but a placeholder for the output.
			r.reading.Partial = start || !whole
		}
		if figures.tier != "" {
			r.reading.ServiceTier = figures.tier
		}
	}
	if kind == "message_stop" {
		r.reading.Terminal = true
	}
}

// member reads a member of a message.
func (r *reader) member(c *walk.Cursor, key string, usage *[]byte) error {
	switch key {
	case "model":
		model, err := c.Text()
		if len(model) > 0 {
			r.reading.Model = string(model)
		}
		return err
	case "usage":
		raw, err := c.Value()
		if err == nil && raw[0] == '{' {
			*usage = raw
		}
		return err
	case "content":
		return c.Array(func() error { return r.generated(c) })
	}
	return nil
}

// generated adds the length of what the model wrote in a block or a delta.
// The results of hosted tools have none of these members.
func (r *reader) generated(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "text", "partial_json", "thinking":
			n, err := c.TextLen()
			r.reading.OutputBytes += n
			return err
		case "content": // of compaction_delta; an array or object elsewhere
			if c.Kind() == '"' {
				n, err := c.TextLen()
				r.reading.OutputBytes += n
				return err
			}
		case "input":
			raw, err := c.Value()
			if err == nil && len(raw) > len("{}") {
				r.reading.OutputBytes += int64(len(raw))
			}
			return err
		}
		return nil
	})
}

// failure reads an error, which behind gateways may be just a text.
func (r *reader) failure(c *walk.Cursor) error {
	if c.Kind() == '"' {
		text, err := c.Text()
		r.reading.Failure = string(text)
		return err
	}
	return c.Object(func(key []byte) error {
		if string(key) != "message" {
			return nil
		}
		text, err := c.Text()
		r.reading.Failure = string(text)
		return err
	})
}
