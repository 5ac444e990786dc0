package gemini

import (
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
)

// readGenerate reads a GenerateContentResponse, the whole or a chunk.
func readGenerate(r *reader, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "usageMetadata":
		return r.usage(c, readUsage)
	case "modelVersion":
		return r.model(c)
	case "responseId":
		return framing.Name(c, &r.reading.ID)
	case "createTime":
		return framing.Created(c, &r.reading.Created)
	case "candidates":
		return c.Array(func() error { return r.candidate(c) })
	case "promptFeedback":
		return c.Object(func(key []byte) error {
			if string(key) != "blockReason" {
				return nil
			}
			reason, err := enum(c)
			r.blocked = r.blocked || reason != ""
			return err
		})
	}
	return nil
}

func (r *reader) candidate(c *walk.Cursor) error {
	var index int64
	finished := false
	err := c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "index":
			index, _, err = c.Int()
		case "finishReason":
			var reason string
			reason, err = enum(c)
			finished = reason != ""
		case "groundingMetadata":
			err = r.grounding.read(c)
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

func (r *reader) part(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "text":
			return r.written(c)
		case "functionCall", "executableCode", "toolCall":
			return r.writtenValue(c)
		}
		return nil
	})
}
