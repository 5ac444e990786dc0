package anthropic

import (
	"slices"

	"keel/filter/wire"
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// A Message is the response to a request as its documents tell it: one object, or the
// data of each event of a stream. It is used by one goroutine.
type Message struct {
	codec *codec
	// regional: the request goes to one place at Vertex AI, whatever the answer calls it.
	regional bool

	kind    string // type of the document under way
	object  []byte // its usage
	start   bool   // it is message_start
	results bool   // it is the results of a batch, a document each
	usage   usageObject
	total   meter.Usage  // of all results
	bills   []meter.Part // of all results
	split   bool         // the bills are not simply the total at one model
	ended   bool
	reading wire.Reading
}

// NewMessage returns the response to r, which ReadBody has read.
func NewMessage(r *wire.Request) *Message { return messages.newMessage(r) }

func (c *codec) newMessage(r *wire.Request) *Message {
	m := &Message{codec: c, results: c == results}
	if at, ok := r.Marks.(*marks); ok {
		m.reading.ID = at.batch
		m.regional = at.outside && r.Region != ""
	}
	return m
}

// Reading is what was read so far. Terminal tells that a stream has told its end.
func (m *Message) Reading() wire.Reading {
	out := m.reading
	out.Terminal = m.ended
	if m.split {
		out.Parts = slices.Clone(m.bills) // the next result changes them
	}
	return out
}

// Document reads the next document, which is valid during the call. An error says that it is none.
func (m *Message) Document(doc []byte) error {
	m.kind, m.object, m.start = "", nil, false
	err := walk.Response(doc, func(c *walk.Cursor, key []byte) error {
		if string(key) == "error" {
			return m.failure(c)
		}
		return m.codec.document(m, c, key)
	})
	if err != nil {
		return err
	}
	if m.kind == "message_stop" {
		m.ended = true
	}
	if m.object != nil {
		m.settle()
	}
	return nil
}

func (m *Message) failure(c *walk.Cursor) error {
	message, err := framing.Message(c)
	if message != "" {
		m.reading.Failure = message
	}
	return err
}

// settle makes the usage of a document that of the response.
func (m *Message) settle() {
	if m.results {
		m.usage = usageObject{} // each result has its own
	}
	m.usage.overlay(m.object)
	raw := m.usage.raw()
	f := readFigures(raw)
	u, whole := f.usage()
	if u == nil {
		return
	}
	parts := f.parts(u, m.reading.Model)
	if m.results {
		m.addResult(u, parts, raw)
	} else {
		m.reading.Usage, m.reading.Parts, m.reading.RawUsage = u, parts, raw
		// message_start has all of the input but a placeholder for the output.
		m.reading.Partial = m.start || !whole
	}
	if f.tier != "" {
		m.reading.ServiceTier = f.tier
	}
	if f.region != "" && !m.regional {
		m.reading.Region = f.region
	}
	if f.speed != "" {
		m.reading.Speed = f.speed
	}
}

// readMessage reads a member of a message or of an event: their names do not collide.
func readMessage(m *Message, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "type":
		return framing.Name(c, &m.kind)
	case "message": // of message_start; a text is the error of a proxy
		if c.Kind() == '"' {
			return m.failure(c)
		}
		if c.Kind() != '{' {
			return nil
		}
		m.start = true
		return c.Object(func(key []byte) error { return readMember(m, c, key) })
	case "content_block": // of content_block_start
		return m.generated(c)
	case "delta": // of content_block_delta and message_delta
		return m.generated(c)
	}
	return readMember(m, c, key)
}

// readMember reads a member of a message.
func readMember(m *Message, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "id":
		return framing.Name(c, &m.reading.ID)
	case "model":
		return framing.Name(c, &m.reading.Model)
	case "usage":
		raw, err := c.Value()
		if err == nil && raw[0] == '{' {
			m.object = raw
		}
		return err
	case "content":
		return c.Array(func() error { return m.generated(c) })
	}
	return nil
}

// generated adds the length of what the model wrote in a block or a delta.
// The results of hosted tools have none of these members.
func (m *Message) generated(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "text", "partial_json", "thinking":
			return m.written(c)
		case "content": // of compaction_delta; an array or object elsewhere
			if c.Kind() == '"' {
				return m.written(c)
			}
		case "input":
			raw, err := c.Value()
			if err == nil && len(raw) > len("{}") {
				m.reading.OutputBytes += int64(len(raw))
			}
			return err
		}
		return nil
	})
}

func (m *Message) written(c *walk.Cursor) error {
	n, err := c.TextLen()
	m.reading.OutputBytes += n
	return err
}

// readCount reads {input_tokens}. Counting is free: what was counted is input
// that nobody bills.
func readCount(m *Message, c *walk.Cursor, key []byte) error {
	if string(key) != "input_tokens" {
		return nil
	}
	n, ok, err := c.Count()
	if ok {
		m.reading.Usage = &meter.Usage{meter.UnbilledInput: n}
		m.reading.RawUsage = walk.Object(walk.Member(nil, "input_tokens", walk.Number(n)))
	}
	return err
}

// readCompletion reads a completion, or the part of one that an event has. The
// API tells no usage. A stream is whole when it told why it stopped.
func readCompletion(m *Message, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "id":
		return framing.Name(c, &m.reading.ID)
	case "model":
		return framing.Name(c, &m.reading.Model)
	case "completion":
		return m.written(c)
	case "stop_reason":
		m.ended = m.ended || c.Kind() == '"'
	}
	return nil
}
