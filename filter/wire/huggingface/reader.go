package huggingface

import (
	"net/http"
	"strconv"

	"keel/filter/wire"
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// NewReader implements wire.Codec. The server tells what was used in headers
// of a response that is not streamed, and otherwise in details, which have to be
// asked for outside of streams.
func (codec) NewReader(_ *wire.Request, status int, header wire.Header) wire.ResponseReader {
	r := &reader{status: status}
	if status < http.StatusBadRequest {
		r.input.header(header, "X-Prompt-Tokens")
		r.output.header(header, "X-Generated-Tokens")
	}
	return r
}

type reader struct {
	status        int
	frames        framing.Reader
	input, output count
	finished      bool
	reading       wire.Reading
}

// count is a number that may not be told.
type count struct {
	n    int64
	told bool
}

func (n *count) header(h wire.Header, name string) {
	v, err := strconv.ParseInt(h.Get(name), 10, 64)
	if err == nil && v >= 0 && v <= walk.MaxCount {
		*n = count{v, true}
	}
}

func (n *count) read(c *walk.Cursor) error {
	v, ok, err := c.Count()
	if ok {
		*n = count{v, true}
	}
	return err
}

// Feed implements wire.ResponseReader.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	r.frames.Feed(chunk, end, r.document)
	return chunk
}

func (r *reader) document(doc []byte) error {
	text := int64(0) // the whole of it, in the last event of a stream
	err := walk.Response(doc, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "generated_text":
			n, err := c.TextLen()
			text = n
			return err
		case "token":
			return c.Object(func(key []byte) error {
				if string(key) != "text" {
					return nil
				}
				n, err := c.TextLen()
				r.reading.OutputBytes += n
				return err
			})
		case "details":
			return c.Object(func(key []byte) error { return r.detail(c, key) })
		case "error", "message":
			message, err := framing.Message(c)
			if message != "" {
				r.reading.Failure = message
			}
			return err
		}
		return nil
	})
	if r.frames.Events() {
		r.reading.OutputBytes = max(r.reading.OutputBytes, text)
	} else {
		r.reading.OutputBytes += text
	}
	return err
}

func (r *reader) detail(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "generated_tokens":
		return r.output.read(c)
	case "input_length":
		return r.input.read(c)
	case "prefill": // the tokens of the prompt one by one, where they were asked for
		var n int64
		err := c.Array(func() error {
			n++
			return nil
		})
		if n > 0 && !r.input.told {
			r.input = count{n, true}
		}
		return err
	case "finish_reason":
		reason, err := c.Text()
		r.finished = r.finished || len(reason) > 0
		return err
	}
	return nil
}

// Reading implements wire.ResponseReader. Where the length of the prompt is not
// told, the usage is Partial.
func (r *reader) Reading() wire.Reading {
	out := r.reading
	out.Terminal = r.frames.One() || r.frames.Done() || r.finished && r.frames.Ended()
	if r.input.told || r.output.told {
		out.Usage = &meter.Usage{meter.Input: r.input.n, meter.Output: r.output.n}
		var raw []byte
		if r.input.told {
			raw = walk.Member(raw, "input_length", walk.Number(r.input.n))
		}
		if r.output.told {
			raw = walk.Member(raw, "generated_tokens", walk.Number(r.output.n))
		}
		out.RawUsage = walk.Object(raw)
		out.Partial = !r.input.told || !r.output.told
	}
	r.frames.Finish(&out, r.status, tokens.Generate)
	return out
}
