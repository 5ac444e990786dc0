package watsonx

import (
	"keel/filter/wire"
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// NewReader implements wire.Codec. A stream has no end marker: it is whole when it
// has told why it stopped and has then ended.
func (codec) NewReader(_ *wire.Request, status int, _ wire.Header) wire.ResponseReader {
	return &reader{status: status}
}

type reader struct {
	status  int
	frames  framing.Reader
	stopped bool
	told    bool
	input   int64 // the largest seen: events behind the first say 0
	output  int64 // the largest seen: it is cumulative
	reading wire.Reading
}

// Feed implements wire.ResponseReader.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	r.frames.Feed(chunk, end, r.document)
	return chunk
}

func (r *reader) document(doc []byte) error {
	var now counts
	err := walk.Response(doc, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "model_id":
			return framing.Name(c, &r.reading.Model)
		case "created_at":
			return framing.Created(c, &r.reading.Created)
		case "results":
			return c.Array(func() error {
				return c.Object(func(key []byte) error { return r.result(c, key, &now) })
			})
		case "errors", "error":
			message, err := framing.Message(c)
			if message != "" {
				r.reading.Failure = message
			}
			return err
		}
		return nil
	})
	if now.told {
		r.told = true
		r.input, r.output = max(r.input, now.input), max(r.output, now.output)
	}
	return err
}

// counts are those of one document; each of its results has its own.
type counts struct {
	input, output int64
	told          bool
}

func (r *reader) result(c *walk.Cursor, key []byte, now *counts) error {
	switch string(key) {
	case "input_token_count":
		return now.add(c, &now.input)
	case "generated_token_count":
		return now.add(c, &now.output)
	case "generated_text":
		n, err := c.TextLen()
		r.reading.OutputBytes += n
		return err
	case "stop_reason":
		reason, err := c.Text()
		switch string(reason) {
		case "", "not_finished", "NOT_FINISHED":
		default:
			r.stopped = true
		}
		return err
	}
	return nil
}

func (n *counts) add(c *walk.Cursor, sum *int64) error {
	v, ok, err := c.Count()
	if ok {
		*sum, n.told = min(*sum+v, walk.MaxCount), true
	}
	return err
}

// Reading implements wire.ResponseReader.
func (r *reader) Reading() wire.Reading {
	out := r.reading
	out.Terminal = r.frames.One() || r.stopped && r.frames.Ended()
	if r.told {
		out.Usage = &meter.Usage{meter.Input: r.input, meter.Output: r.output}
		raw := walk.Member(nil, "input_token_count", walk.Number(r.input))
		out.RawUsage = walk.Object(walk.Member(raw, "generated_token_count", walk.Number(r.output)))
		out.Partial = !out.Terminal && !r.stopped
	}
	r.frames.Finish(&out, r.status, tokens.Generate)
	return out
}
