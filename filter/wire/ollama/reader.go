package ollama

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// NewReader implements wire.Codec. A response to chat or generate is whole with
// the object that is done, an error or a response to embed with any.
func (c *codec) NewReader(_ *wire.Request, status int, _ wire.Header) wire.ResponseReader {
	return &reader{task: c.task, status: status}
}

type reader struct {
	task   tokens.Task
	status int
	frames framing.Reader
	done   bool

	input, output int64
	hasIn, hasOut bool
	raw           []byte // members of the usage, which has no object of its own
	reading       wire.Reading
}

// Feed implements wire.ResponseReader.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	r.frames.Feed(chunk, end, r.document)
	return chunk
}

func (r *reader) document(doc []byte) error {
	return walk.Response(doc, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "model":
			return framing.Name(c, &r.reading.Model)
		case "created_at":
			return framing.Created(c, &r.reading.Created)
		case "message":
			return c.Object(func(key []byte) error { return r.written(c, key) })
		case "response", "thinking":
			return r.written(c, key)
		case "done":
			done, err := c.Bool()
			r.done = r.done || done
			return err
		case "prompt_eval_count":
			return r.count(c, "prompt_eval_count", &r.input, &r.hasIn)
		case "eval_count":
			return r.count(c, "eval_count", &r.output, &r.hasOut)
		case "error":
			message, err := framing.Message(c)
			r.reading.Failure = message
			return err
		}
		return nil
	})
}

func (r *reader) written(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "content", "response", "thinking":
		n, err := c.TextLen()
		r.reading.OutputBytes += n
		return err
	case "tool_calls":
		raw, err := c.Value()
		if err == nil && raw[0] == '[' {
			r.reading.OutputBytes += int64(len(raw))
		}
		return err
	}
	return nil
}

// count takes over a count; the last one told is the final one.
func (r *reader) count(c *walk.Cursor, name string, into *int64, told *bool) error {
	n, ok, err := c.Count()
	if !ok {
		return err
	}
	*into, *told = n, true
	r.raw = walk.Member(r.raw, name, walk.Number(n))
	return err
}

// Reading implements wire.ResponseReader. A prompt that the model has evaluated before and
// kept is not counted at all: how long it is nobody says, and the usage is Partial.
func (r *reader) Reading() wire.Reading {
	out := r.reading
	out.Terminal = r.done || r.frames.One() && (r.task == tokens.Embed || out.Failure != "")
	if r.hasIn || r.hasOut {
		out.Usage = &meter.Usage{meter.Input: r.input, meter.Output: r.output}
		out.RawUsage = walk.Object(bytes.Clone(r.raw))
		out.Partial = !r.hasIn || !out.Terminal || !r.hasOut && r.task != tokens.Embed
	}
	r.frames.Finish(&out, r.status, r.task)
	return out
}
