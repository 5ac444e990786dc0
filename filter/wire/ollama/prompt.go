package ollama

import (
	"keel/filter/wire/fields"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// readChat reads a member of a chat request.
func readChat(p *tokens.Prompt, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "messages":
		return c.Array(func() error {
			p.Messages++
			return message(p, c)
		})
	case "tools":
		return c.Array(func() error {
			p.Tools++
			return c.Segment(p, tokens.ToolSchema)
		})
	}
	return readCommon(p, c, key)
}

// readGenerate reads a member of a generate request.
func readGenerate(p *tokens.Prompt, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "prompt":
		p.Messages++
		return c.Segment(p, tokens.Text)
	case "suffix", "template":
		return c.Segment(p, tokens.Text)
	case "system":
		before := len(p.Segments)
		err := c.Segment(p, tokens.Text)
		if len(p.Segments) > before {
			p.Messages++
			p.System = true
		}
		return err
	case "context": // of the conversation so far, as token ids
		return c.Array(func() error {
			p.TokenIDs++
			return nil
		})
	case "images":
		return images(p, c)
	}
	return readCommon(p, c, key)
}

func readCommon(p *tokens.Prompt, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "format": // "json", "" or a schema
		if c.Kind() == '{' {
			return c.Segment(p, tokens.Schema)
		}
	case "think": // true, or an effort
		raw, err := c.Value()
		switch string(raw) {
		case "null", "false", `""`:
		default:
			p.Thinking = true
		}
		return err
	}
	return nil
}

// readEmbed reads a member of an embed request.
func readEmbed(p *tokens.Prompt, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "input", "prompt":
		if c.Kind() == '[' {
			return c.Array(func() error {
				p.Messages++
				return c.Segment(p, tokens.Text)
			})
		}
		p.Messages++
		return c.Segment(p, tokens.Text)
	}
	return nil
}

func message(p *tokens.Prompt, c *walk.Cursor) error {
	before, class := len(p.Segments), tokens.Text
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "role":
			role, err := c.Text()
			switch string(role) {
			case "system":
				p.System = true
			case "tool":
				class = tokens.ToolResult
			}
			return err
		case "content", "thinking":
			return c.Segment(p, tokens.Text)
		case "tool_calls":
			if c.Kind() != '[' {
				return c.Segment(p, tokens.ToolCall)
			}
			return c.Array(func() error { return c.Segment(p, tokens.ToolCall) })
		case "images":
			return images(p, c)
		}
		return nil
	})
	fields.Classify(p, before, class)
	return err
}

// images reads a list of base64.
func images(p *tokens.Prompt, c *walk.Cursor) error {
	return c.Array(func() error {
		if c.Kind() != '"' {
			return nil
		}
		raw, err := c.Value()
		if err == nil && len(raw) > 2 {
			p.Images = append(p.Images, media.Image(raw[1:len(raw)-1], ""))
		}
		return err
	})
}
