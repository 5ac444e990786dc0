package cohere

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// reader reads a body, lines of the first version, or events of either.
type reader struct {
	task   tokens.Task
	status int
	frames framing.Reader

	streams bool // an event was seen
	ended   bool // the last one, with the usage
	counts  counts
	reading wire.Reading
}

// Feed implements wire.ResponseReader.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	r.frames.Feed(chunk, end, r.document)
	return chunk
}

// Reading implements wire.ResponseReader. A stream is whole with its last event;
// as events may have [DONE] behind that, it has to come, or the body to end.
func (r *reader) Reading() wire.Reading {
	out := r.reading
	switch {
	case r.frames.Events():
		out.Terminal = r.frames.Done() || r.ended && r.frames.Ended()
	case r.streams:
		out.Terminal = r.ended
	default:
		out.Terminal = r.frames.One()
	}
	r.frames.Finish(&out, r.status, r.task)
	return out
}

func (r *reader) document(doc []byte) error {
	return walk.Response(doc, func(c *walk.Cursor, key []byte) error { return r.member(c, key) })
}

func (r *reader) member(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "id", "response_id":
		return r.id(c, true)
	case "generation_id":
		return r.id(c, false)
	case "event_type", "type":
		kind, err := c.Text()
		r.streams = true
		r.ended = r.ended || string(kind) == "stream-end" || string(kind) == "message-end"
		return err
	case "is_finished":
		finished, err := c.Bool()
		r.streams, r.ended = true, r.ended || finished
		return err
	case "usage", "meta":
		return r.usage(c)
	case "response": // of the last event of the first version: the whole once more
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "response_id", "meta", "error":
				return r.member(c, key)
			}
			return nil
		})
	case "delta": // of an event of the second version
		return c.Object(func(key []byte) error { return r.member(c, key) })
	case "message":
		if c.Kind() == '"' {
			return r.failure(c)
		}
		return r.written(c)
	case "error":
		return r.failure(c)
	case "text":
		return r.text(c)
	case "tool_calls", "tool_call_delta", "generations":
		return r.written(c)
	}
	return nil
}

// id reads a name of the response, the surest of those that it has.
func (r *reader) id(c *walk.Cursor, sure bool) error {
	id, err := c.Text()
	if len(id) > 0 && (sure || r.reading.ID == "") && string(id) != r.reading.ID {
		r.reading.ID = string(id)
	}
	return err
}

func (r *reader) usage(c *walk.Cursor) error {
	if c.Kind() != '{' {
		return nil
	}
	if err := r.counts.read(c); err != nil || r.counts.none {
		return err
	}
	u := r.counts.usage()
	r.reading.Usage, r.reading.RawUsage = &u, bytes.Clone(c.Raw())
	return nil
}

func (r *reader) failure(c *walk.Cursor) error {
	message, err := framing.Message(c)
	if message != "" {
		r.reading.Failure = message
	}
	return err
}

func (r *reader) text(c *walk.Cursor) error {
	n, err := c.TextLen()
	r.reading.OutputBytes += n
	return err
}

// written adds up what the model wrote in a value of any shape.
func (r *reader) written(c *walk.Cursor) error {
	switch c.Kind() {
	case '[':
		return c.Array(func() error { return r.written(c) })
	case '{':
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "text", "thinking", "tool_plan", "name", "arguments":
				if c.Kind() == '"' {
					return r.text(c)
				}
				return r.written(c)
			case "parameters": // of a call in the first version
				raw, err := c.Value()
				r.reading.OutputBytes += int64(len(raw))
				return err
			case "content", "tool_calls", "function":
				return r.written(c)
			}
			return nil
		})
	}
	return c.Skip()
}
