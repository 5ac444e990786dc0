package openai

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// responsesReading reads bodies and events of the Responses API.
type responsesReading struct {
	marked bool // see Responses
}

func (d *responsesReading) writes() bool { return true }

func (d *responsesReading) document(c *walk.Cursor, key []byte, b *body) error {
	return d.response(c, key, b, true)
}

// response reads a member of a response object. written: its output was not
// seen in deltas before.
func (d *responsesReading) response(c *walk.Cursor, key []byte, b *body, written bool) error {
	if read, err := b.describes(c, key); read {
		return err
	}
	switch string(key) {
	case "usage":
		_, err := b.readUsage(c)
		return err
	case "error":
		return b.readFailure(c)
	case "tools":
		return b.readImageModel(c)
	case "tool_usage":
		return b.readToolUsage(c)
	case "output":
		if c.Kind() != '[' {
			return nil
		}
		var calls hostedCalls
		outputBytes := b.reading.OutputBytes
		err := c.Array(func() error { return d.item(c, b, &calls) })
		if !written {
			b.reading.OutputBytes = outputBytes
		}
		b.calls.atLeast(&calls)
		return err
	}
	return nil
}

// item reads an output item, and counts it if it is a call that is billed.
func (d *responsesReading) item(c *walk.Cursor, b *body, calls *hostedCalls) error {
	var kind, action, container string
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "type":
			return readName(c, &kind)
		case "action":
			if c.Kind() != '{' {
				return nil
			}
			return c.Object(func(key []byte) error {
				if string(key) == "type" {
					return readName(c, &action)
				}
				return nil
			})
		case "container_id":
			return readName(c, &container)
		case "name", "arguments", "input", "code", "revised_prompt":
			return b.addText(c)
		case "content", "summary":
			return c.Array(func() error { return textsOf(c, b) })
		}
		return nil
	})
	calls.count(kind, action, container)
	return err
}

func (d *responsesReading) event(data []byte, b *body) eventKind {
	var kind, message []byte
	var delta int64
	var calls hostedCalls
	failed := false
	err := walk.Response(data, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "type":
			kind, err = c.Text()
		case "delta":
			delta, err = c.TextLen()
		case "item":
			before := b.reading.OutputBytes
			err = d.item(c, b, &calls)
			b.reading.OutputBytes = before // the deltas told it
		case "response":
			return c.Object(func(key []byte) error { return d.response(c, key, b, false) })
		case "error":
			failed = c.Kind() != 'n'
			return b.readFailure(c)
		case "message":
			message, err = c.Text()
		}
		return err
	})
	if err != nil {
		return plainEvent
	}
	switch string(kind) {
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled":
		b.running = false
		if d.marked {
			return plainEvent
		}
		return terminalEvent
	case "error":
		if !failed && len(message) > 0 {
			b.reading.Failure = string(message)
		}
	case "response.output_item.done":
		b.calls.plus(&calls)
	case "response.audio.delta": // base64
	default:
		if bytes.HasSuffix(kind, []byte(".delta")) {
			b.reading.OutputBytes += delta
		}
	}
	b.running = true
	return plainEvent
}

func (d *responsesReading) settle(b *body, out *wire.Reading) {
	if out.Usage != nil {
		b.settleCalls(out)
	}
}
