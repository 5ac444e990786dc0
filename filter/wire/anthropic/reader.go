package anthropic

import (
	"keel/filter/wire"
	"keel/filter/wire/framing"
	"keel/pricing/tokens"
)

// NewReader implements wire.Codec. Whether a body is one message or a stream
// is told by its first byte, since headers are lost or wrong behind gateways.
func (c *codec) NewReader(r *wire.Request, status int, _ wire.Header) wire.ResponseReader {
	return &reader{message: c.newMessage(r), task: c.task, status: status}
}

type reader struct {
	frames  framing.Reader
	message *Message
	task    tokens.Task
	status  int
}

// Feed implements wire.ResponseReader. Nothing is ever hidden in this API.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	r.frames.Feed(chunk, end, r.message.Document)
	return chunk
}

// Reading implements wire.ResponseReader.
func (r *reader) Reading() wire.Reading {
	out := r.message.Reading()
	switch {
	case r.message.results: // lines, of which nothing says how many there are
		out.Terminal = r.frames.Ended()
		out.Partial = out.Usage != nil && !out.Terminal
	case r.frames.Events():
		out.Terminal = out.Terminal || r.frames.Done()
	default:
		out.Terminal = r.frames.One()
	}
	r.frames.Finish(&out, r.status, r.task)
	return out
}
