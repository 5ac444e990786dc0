package gemini

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// NewReader implements wire.Codec.
//
// When is a response whole? JSON tells by its last bracket. The server-sent events
// of streamGenerateContent have no end marker, so such a stream is whole when every candidate that it
// showed has told its finishReason (or the prompt was blocked), and then the
// body has ended with no unfinished event behind it. A connection that breaks
// is never fed as an end, so a stream that was cut is not Terminal even if it
// was cut behind the last event.
func (c *codec) NewReader(r *wire.Request, status int, header wire.Header) wire.ResponseReader {
	out := &reader{codec: c, asked: r.Model, status: status, finished: make(map[int64]bool)}
	out.reading.ServiceTier = header.Get("X-Gemini-Service-Tier") // the body tells it too, at most models
	return out
}

type reader struct {
	codec    *codec
	asked    string // model
	status   int
	frames   framing.Reader
	finished map[int64]bool // by candidate index; false: seen, not finished
	blocked  bool           // the prompt was, so no candidate comes
	complete bool           // an interaction has told its end
	doc      []byte         // the document under way
	figures  figures        // the last ones
	raw      []byte         // the object of the document that they are from
	grounding
	images  int64 // made by predict
	reading wire.Reading
}

// Feed implements wire.ResponseReader. Nothing is ever hidden in this API.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	r.frames.Feed(chunk, end, r.document)
	return chunk
}

// document reads one object of the response.
func (r *reader) document(doc []byte) error {
	r.doc, r.raw = doc, nil
	err := walk.Response(doc, func(c *walk.Cursor, key []byte) error {
		if string(key) == "error" {
			message, err := framing.Message(c)
			if message != "" {
				r.reading.Failure = message
			}
			return err
		}
		return r.codec.document(r, c, key)
	})
	if err != nil {
		return err
	}
	r.settle()
	return nil
}

// usage takes over an object of figures, if it is one. It is settled when all of its
// document is read.
func (r *reader) usage(c *walk.Cursor, read func(c *walk.Cursor) (figures, error)) error {
	if c.Kind() != '{' {
		return c.Skip()
	}
	f, err := read(c)
	if err == nil {
		r.figures, r.raw = f, c.Raw()
	}
	return err
}

// settle makes the figures of a document the usage of the response.
//
// The last ones count, neither the largest nor the sum: the figures are
// cumulative, but with code execution they restart at each step and only
// the last chunk has the total.
//
// Zeros are left out, so a usage without any count could be zero or could
// be nothing; for a blocked prompt, which ran no model, it is zero.
func (r *reader) settle() {
	if r.raw == nil || r.figures.none && !r.blocked {
		return
	}
	u := r.figures.usage()
	r.reading.Usage, r.reading.RawUsage = &u, bytes.Clone(r.raw)
	if r.figures.tier != "" {
		r.reading.ServiceTier = r.figures.tier
	}
}

// Reading implements wire.ResponseReader.
func (r *reader) Reading() wire.Reading {
	out := r.reading
	switch {
	case r.frames.One(), r.frames.Done():
		out.Terminal = true
	case r.frames.Events():
		out.Terminal = r.frames.Ended() && r.done()
	}
	if out.Usage != nil {
		u := *out.Usage
		model := out.Model
		if model == "" {
			model = r.asked
		}
		u[meter.WebSearch], u[meter.HostedTools] = r.grounding.billed(model)
		out.Usage = &u
		out.Partial = !out.Terminal && !r.done()
	}
	switch images := (meter.Usage{meter.Images: r.images}); {
	case r.images == 0:
	case out.Usage == nil:
		out.Parts = []meter.Part{{Usage: images}} // billed, though no usage is reported
	default:
		out.Usage[meter.Images] = r.images
	}
	r.frames.Finish(&out, r.status, r.codec.task)
	return out
}

// done reports whether every candidate has finished.
func (r *reader) done() bool {
	for _, f := range r.finished {
		if !f {
			return false
		}
	}
	return r.blocked || r.complete || len(r.finished) > 0
}

// model reads the model of a response.
func (r *reader) model(c *walk.Cursor) error {
	err := framing.Name(c, &r.reading.Model)
	r.reading.Model = modelName(r.reading.Model)
	return err
}

// written adds the length of what the model wrote.
func (r *reader) written(c *walk.Cursor) error {
	n, err := c.TextLen()
	r.reading.OutputBytes += n
	return err
}

// writtenValue is written for a value that is made as it stands, such as a function call.
func (r *reader) writtenValue(c *walk.Cursor) error {
	raw, err := c.Value()
	if err == nil && raw[0] != 'n' {
		r.reading.OutputBytes += int64(len(raw))
	}
	return err
}
