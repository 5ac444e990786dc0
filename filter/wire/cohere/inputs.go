package cohere

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// maxChoices is more generations than Cohere makes at once (5).
const maxChoices = 128

// readGenerate reads a member of a generate request.
func readGenerate(r *wire.Request, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "prompt":
		r.Prompt.Messages++
		return c.Segment(&r.Prompt, tokens.Text)
	case "num_generations":
		n, ok, err := c.Int()
		if err == nil && ok && (n < 1 || n > maxChoices) {
			return c.Fail("must be from 1 to %d, not %d", maxChoices, n)
		}
		if ok {
			r.Choices = n
		}
		return err
	}
	return nil
}

// readEmbed reads a member of an embed request: texts, images, or inputs that mix them.
func readEmbed(r *wire.Request, c *walk.Cursor, key []byte) error {
	p := &r.Prompt
	switch string(key) {
	case "texts":
		return c.Array(func() error {
			p.Messages++
			return c.Segment(p, tokens.Text)
		})
	case "images":
		return c.Array(func() error {
			p.Messages++
			return image(p, c)
		})
	case "inputs":
		return c.Array(func() error {
			p.Messages++
			return c.Object(func(key []byte) error {
				if string(key) == "content" {
					return content(p, c)
				}
				return nil
			})
		})
	}
	return nil
}

// readRerank reads a member of a rerank request.
func readRerank(r *wire.Request, c *walk.Cursor, key []byte) error {
	p := &r.Prompt
	switch string(key) {
	case "query":
		p.Messages++
		return c.Segment(p, tokens.Text)
	case "documents":
		return c.Array(func() error {
			p.Messages++
			return c.Segment(p, tokens.Text)
		})
	}
	return nil
}
