package bedrock

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"keel/filter/wire"
	"keel/filter/wire/anthropic"
	"keel/filter/wire/eventstream"
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// reader reads a JSON body or an event stream; which it is the first byte tells,
// because a stream is refused with JSON.
type reader struct {
	api    wire.API
	task   tokens.Task
	status int

	started bool
	stream  bool
	frames  eventstream.Reader
	body    framing.Reader
	claude  *anthropic.Message // of InvokeModel, nil for other families

	counts  counts
	results int64 // output of Titan, which tells it by result
	raw     []byte
	last    bool // the event behind which nothing comes
	ended   bool
	decoded []byte // of a chunk's bytes, used again
	reading wire.Reading
}

// Feed implements wire.ResponseReader.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	if !r.started && len(chunk) > 0 {
		r.started = true
		r.stream = chunk[0] == 0 // the length of a message: its first byte is 0 below 16 MiB
	}
	if r.stream {
		r.frames.Feed(chunk)
		for r.frames.Next() {
			r.message(r.frames.Message())
		}
	} else {
		r.body.Feed(chunk, end, r.document)
	}
	r.ended = r.ended || end
	return chunk
}

// Reading implements wire.ResponseReader.
func (r *reader) Reading() wire.Reading {
	out := r.reading
	if r.claude != nil {
		out = r.claudeReading()
	}
	switch {
	case r.stream:
		out.Terminal = r.last && r.frames.Err() == nil && r.frames.Pending() == 0
		if err := r.frames.Err(); err != nil && out.Failure == "" {
			out.Failure = err.Error()
		}
	default:
		out.Terminal = r.body.One()
		r.body.Finish(&out, r.status, r.task)
	}
	counts := r.counts
	if out.Usage != nil { // Claude's own, unless Bedrock had the last word
		if !out.Partial || !counts.metrics {
			return out
		}
		counts.cacheWrite1h = out.Usage[meter.CacheWrite1h] // the metrics don't tell lifetimes
	}
	// Headers come before the body: what they tell counts once the body is whole.
	if r.status < http.StatusBadRequest && counts.told() && (r.raw != nil || out.Terminal) {
		out.Usage, out.RawUsage = counts.usage(r.task == tokens.Count), r.rawUsage()
		out.Partial = r.stream && !r.last || r.counts.input < 0
	}
	return out
}

// rawUsage is the provider's own object, or one of its headers where the body has none.
func (r *reader) rawUsage() []byte {
	if r.raw != nil {
		return r.raw
	}
	fields := map[string]int64{}
	if r.counts.input >= 0 {
		fields["x-amzn-bedrock-input-token-count"] = r.counts.input
	}
	if r.counts.output >= 0 {
		fields["x-amzn-bedrock-output-token-count"] = r.counts.output
	}
	raw, _ := json.Marshal(fields) // numbers always marshal
	return raw
}

// message reads one message of a stream.
func (r *reader) message(m eventstream.Message) {
	switch m.Type {
	case "exception", "error":
		r.reading.Failure = m.Name + ": " + m.Text
		if m.Text == "" {
			r.reading.Failure = m.Name + ": " + messageOf(m.Payload)
		}
		return
	}
	switch m.Name {
	case "chunk":
		r.chunk(m.Payload)
	case "metadata":
		r.last = true
		fallthrough
	default:
		_ = r.document(m.Payload) // what is no JSON tells nothing
	}
}

func messageOf(payload []byte) string {
	text := ""
	_ = walk.Response(payload, func(c *walk.Cursor, key []byte) (err error) {
		if string(key) == "message" || string(key) == "Message" || string(key) == "originalMessage" {
			text, err = framing.Message(c)
		}
		return err
	})
	return text
}

// chunk reads {"bytes": base64 of the model's own event}.
func (r *reader) chunk(payload []byte) {
	_ = walk.Response(payload, func(c *walk.Cursor, key []byte) error {
		if string(key) != "bytes" {
			return nil
		}
		text, err := c.Text()
		if err != nil {
			return err
		}
		decoded, err := base64.StdEncoding.AppendDecode(r.decoded[:0], text)
		if err != nil {
			return err
		}
		r.decoded = decoded
		return r.document(decoded)
	})
}

// document reads a body or an event.
func (r *reader) document(doc []byte) error {
	if r.claude != nil {
		return r.claudeDocument(doc)
	}
	r.results = 0
	err := walk.Response(doc, func(c *walk.Cursor, key []byte) error { return r.member(c, key) })
	if r.results > 0 && !r.counts.metrics {
		r.counts.output = r.results
	}
	return err
}

func (r *reader) member(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "usage":
		return r.usage(c)
	case "amazon-bedrock-invocationMetrics":
		r.last, r.counts.metrics = true, true
		return r.usage(c)
	case "metadata": // Nova's own stream
		return c.Object(func(key []byte) error {
			if string(key) == "usage" {
				return r.usage(c)
			}
			return nil
		})
	case "message":
		if c.Kind() == '"' { // of an error, or Cohere
			return r.failure(c)
		}
		return r.written(c, key)
	case "Message":
		return r.failure(c)
	case "id":
		id, err := c.Text()
		r.reading.ID = string(id)
		return err
	case "model":
		name, err := c.Text()
		if r.reading.Model == "" {
			r.reading.Model = string(name)
		}
		return err
	case "trace":
		return r.trace(c)
	case "serviceTier":
		return oneText(c, "type", &r.reading.ServiceTier)
	case "performanceConfig":
		var mode string
		err := oneText(c, "latency", &mode)
		if mode == optimized {
			r.reading.Speed = "fast"
		}
		return err
	case "inputTokens", "inputTextTokenCount", "totalOutputTextTokenCount", "prompt_token_count", "generation_token_count":
		// Among a body's own members: CountTokens, Titan, Llama. An embedding has output 0.
		err := r.counts.member(c, key)
		if r.counts.told() && r.raw == nil {
			r.raw = bytes.Clone([]byte(`{"` + string(key) + `":` + string(c.Raw()) + `}`))
		}
		return err
	case "results": // Titan
		return c.Array(func() error {
			return c.Object(func(key []byte) error {
				if string(key) != "tokenCount" {
					return r.written(c, key)
				}
				n := int64(-1)
				err := count(c, &n)
				r.results += max(n, 0)
				return err
			})
		})
	}
	return r.written(c, key)
}

// usage takes over a usage object. Of a stream of Claude's events the first tells the
// input and later ones the output, so figures are laid over each other.
func (r *reader) usage(c *walk.Cursor) error {
	if c.Kind() != '{' {
		return nil
	}
	if err := c.Object(func(key []byte) error { return r.counts.member(c, key) }); err != nil {
		return err
	}
	if r.counts.told() {
		r.raw = bytes.Clone(c.Raw())
	}
	return nil
}

func (r *reader) failure(c *walk.Cursor) error {
	if r.status < http.StatusBadRequest {
		return nil
	}
	message, err := framing.Message(c)
	r.reading.Failure = message
	return err
}

// written adds up the texts that a model wrote, wherever its family has them.
func (r *reader) written(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "text", "completion", "generation", "outputText", "arguments", "partial_json", "thinking", "reasoning":
		if c.Kind() == '"' {
			n, err := c.TextLen()
			r.reading.OutputBytes += n
			return err
		}
	case "input":
		switch c.Kind() {
		case '"':
			n, err := c.TextLen()
			r.reading.OutputBytes += n
			return err
		case '{':
			raw, err := c.Value()
			r.reading.OutputBytes += int64(len(raw))
			return err
		}
	case "output", "message", "content", "delta", "toolUse", "reasoningContent", "reasoningText", "contentBlockDelta", "outputs", "choices",
		"generations", "completions", "data", "tool_calls", "function", "start", "contentBlock", "citation":
	default:
		return nil
	}
	return r.within(c)
}

func (r *reader) within(c *walk.Cursor) error {
	switch c.Kind() {
	case '[':
		return c.Array(func() error { return r.within(c) })
	case '{':
		return c.Object(func(key []byte) error {
			if string(key) == "usage" { // of message_start
				return r.usage(c)
			}
			if string(key) == "model" {
				return r.member(c, key)
			}
			return r.written(c, key)
		})
	case '"':
		n, err := c.TextLen() // content of OpenAI's form
		r.reading.OutputBytes += n
		return err
	}
	return nil
}
