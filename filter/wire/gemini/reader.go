package gemini

import (
	"bytes"
	"net/http"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/sse"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// NewReader implements wire.Codec. One object, a list of them and server-sent
// events are told apart by the first byte: the request's alt decides which it
// should be, but errors and gateways do as they like.
//
// When is a response whole? JSON tells by its last bracket. Server-sent events
// have no end marker here, so a stream is whole when every candidate that it
// showed has told its finishReason (or the prompt was blocked), and then the
// body has ended with no unfinished event behind it. A connection that breaks
// is never fed as an end, so a stream that was cut is not Terminal even if it
// was cut behind the last event.
func (Codec) NewReader(r *wire.Request, _ int, _ http.Header) wire.ResponseReader {
	return &reader{asked: r.Model, finished: make(map[int64]bool)}
}

type reader struct {
	asked    string // model
	framing  framing
	json     elements
	events   sse.Reader
	bad      bool           // an element or event was no JSON, or too large
	finished map[int64]bool // by candidate index; false: seen, not finished
	blocked  bool
	queries  int64 // searches in the chunk that told the most; the list grows
	reading  wire.Reading
}

type framing int

const (
	unknown framing = iota
	values          // JSON
	stream          // server-sent events
)

// Reading implements wire.ResponseReader.
func (r *reader) Reading() wire.Reading { return r.reading }

// Feed implements wire.ResponseReader. Nothing is ever hidden in this API.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	if r.framing == unknown {
		if first := bytes.TrimLeft(chunk, " \t\r\n"); len(first) > 0 {
			r.framing = stream
			if first[0] == '{' || first[0] == '[' {
				r.framing = values
			}
		}
	}
	switch r.framing {
	case values:
		r.json.feed(chunk, r.document)
		r.reading.Terminal = r.json.state == complete && !r.bad
		if r.reading.Terminal {
			r.reading.Partial = r.json.anyLost && r.reading.Usage != nil
		}
	case stream:
		r.events.Feed(chunk)
		r.readEvents()
		if end {
			r.events.End()
			r.readEvents()
			_, unfinished := r.events.Undecided()
			r.reading.Terminal = r.done() && !unfinished && !r.bad && r.events.Err() == nil
			if r.reading.Terminal {
				r.reading.Partial = false // nothing came that would have replaced it
			}
		}
	}
	return chunk
}

func (r *reader) readEvents() {
	for r.events.Next() {
		r.document(r.events.Event().Data)
	}
}

// done reports whether every candidate has finished.
func (r *reader) done() bool {
	for _, f := range r.finished {
		if !f {
			return false
		}
	}
	return r.blocked || len(r.finished) > 0
}

// document reads one GenerateContentResponse or error.
func (r *reader) document(doc []byte) {
	var usage []byte
	var queries int64
	err := walk.Response(doc, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "usageMetadata":
			var raw []byte
			if raw, err = c.Value(); err == nil && raw[0] == '{' {
				usage = raw
			}
		case "modelVersion":
			var model []byte
			if model, err = c.Text(); len(model) > 0 {
				r.reading.Model = string(model)
			}
		case "candidates":
			err = c.Array(func() error { return r.candidate(c, &queries) })
		case "promptFeedback":
			err = c.Object(func(key []byte) error {
				if string(key) != "blockReason" {
					return nil
				}
				kind := c.Kind()
				r.blocked = r.blocked || kind != 'n'
				return c.Skip()
			})
		case "error":
			err = r.failure(c)
		}
		return err
	})
	if err != nil {
		r.bad = true
		return
	}
	r.queries = max(r.queries, queries)
	// The last one counts, neither the largest nor the sum: the figures are
	// cumulative, but with code execution they restart at each step and only
	// the last chunk has the total.
	//
	// Zeros are left out, so a usage without any count could be zero or could
	// be nothing; for a blocked prompt, which ran no model, it is zero.
	if f := readUsage(usage); usage != nil && (!f.none || r.blocked) {
		r.reading.Usage, r.reading.RawUsage = f.usage(), bytes.Clone(usage)
		r.reading.Partial = !r.done()
		if f.tier != "" {
			r.reading.ServiceTier = f.tier
		}
	}
	if r.reading.Usage != nil {
		r.reading.Usage[meter.WebSearch] = r.billedSearches()
	}
}

// billedSearches counts what Google bills for grounding, which usageMetadata
// does not tell: each query since Gemini 3, one for a grounded call before.
// https://ai.google.dev/gemini-api/docs/google-search#pricing
func (r *reader) billedSearches() int64 {
	model := r.reading.Model
	if model == "" {
		model = r.asked
	}
	if strings.HasPrefix(model, "gemini-1") || strings.HasPrefix(model, "gemini-2") {
		return min(r.queries, 1)
	}
	return r.queries
}

func (r *reader) candidate(c *walk.Cursor, queries *int64) error {
	var index int64
	finished := false
	err := c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "index":
			index, _, err = c.Int()
		case "finishReason":
			finished = c.Kind() != 'n'
		case "groundingMetadata":
			err = c.Object(func(key []byte) error {
				if string(key) != "webSearchQueries" {
					return nil
				}
				return c.Array(func() error {
					*queries++
					return c.Skip()
				})
			})
		case "content":
			err = c.Object(func(key []byte) error {
				if string(key) != "parts" {
					return nil
				}
				return each(c, func() error { return r.part(c) })
			})
		}
		return err
	})
	r.finished[index] = r.finished[index] || finished
	return err
}

// part adds the length of what the model wrote.
func (r *reader) part(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "text":
			n, err := c.TextLen()
			r.reading.OutputBytes += n
			return err
		case "functionCall", "executableCode":
			raw, err := c.Value()
			r.reading.OutputBytes += int64(len(raw))
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
