package openai

import (
	"bytes"

	"keel/filter/wire/walk"
)

// responsesReading reads bodies and events of the Responses API.
type responsesReading struct{}

func (d *responsesReading) document(c *walk.Cursor, key []byte, b *body) error {
	return d.response(c, key, b, true)
}

// response reads a member of a response object. written: its output was not
// seen in deltas before.
func (d *responsesReading) response(c *walk.Cursor, key []byte, b *body, written bool) error {
	switch string(key) {
	case "model":
		return readName(c, &b.reading.Model)
	case "service_tier":
		return readName(c, &b.reading.ServiceTier)
	case "usage":
		_, err := b.readUsage(c)
		return err
	case "error":
		return b.readFailure(c)
	case "output":
		if c.Kind() != '[' {
			return nil
		}
		var searches int64
		outputBytes := b.reading.OutputBytes
		err := c.Array(func() error {
			search, err := d.item(c, b)
			if search {
				searches++
			}
			return err
		})
		if !written {
			b.reading.OutputBytes = outputBytes
		}
		b.searches = max(b.searches, searches)
		return err
	}
	return nil
}

// item reads an output item and reports whether it is a search that is billed
// as one: opening a page that was found is not.
func (d *responsesReading) item(c *walk.Cursor, b *body) (search bool, err error) {
	paid := true
	err = c.Object(func(key []byte) error {
		switch string(key) {
		case "type":
			kind, err := c.Text()
			search = string(kind) == "web_search_call"
			return err
		case "action":
			return c.Object(func(key []byte) error {
				if string(key) != "type" {
					return nil
				}
				kind, err := c.Text()
				paid = string(kind) == "search"
				return err
			})
		case "name", "arguments", "input", "code", "revised_prompt":
			return b.addText(c)
		case "content", "summary":
			return c.Array(func() error { return textsOf(c, b) })
		}
		return nil
	})
	return search && paid, err
}

func (d *responsesReading) event(data []byte, b *body) eventKind {
	var kind, message []byte
	var delta int64
	search, failed := false, false
	err := walk.Response(data, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "type":
			kind, err = c.Text()
		case "delta":
			delta, err = c.TextLen()
		case "item":
			before := b.reading.OutputBytes
			search, err = d.item(c, b)
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
	case "response.completed", "response.incomplete", "response.failed":
		return terminalEvent
	case "error":
		if !failed && len(message) > 0 {
			b.reading.Failure = string(message)
		}
	case "response.output_item.done":
		if search {
			b.searches++
		}
	case "response.audio.delta": // base64
	default:
		if bytes.HasSuffix(kind, []byte(".delta")) {
			b.reading.OutputBytes += delta
		}
	}
	b.running = true
	return plainEvent
}
