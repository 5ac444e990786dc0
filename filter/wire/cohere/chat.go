package cohere

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// readChat1 reads a member of a chat request of the first version.
func readChat1(r *wire.Request, c *walk.Cursor, key []byte) error {
	p := &r.Prompt
	switch string(key) {
	case "message":
		p.Messages++
		return c.Segment(p, tokens.Text)
	case "preamble":
		if c.Kind() == '"' {
			p.Messages++
			p.System = true
		}
		return c.Segment(p, tokens.Text)
	case "chat_history":
		return c.Array(func() error {
			p.Messages++
			return c.Object(func(key []byte) error {
				switch string(key) {
				case "role":
					role, err := c.Text()
					p.System = p.System || string(role) == "SYSTEM"
					return err
				case "message":
					return c.Segment(p, tokens.Text)
				case "tool_calls":
					return c.Segment(p, tokens.ToolCall)
				case "tool_results":
					return c.Segment(p, tokens.ToolResult)
				}
				return nil
			})
		})
	case "tool_results":
		return c.Array(func() error { return c.Segment(p, tokens.ToolResult) })
	case "connectors":
		return c.Array(func() error {
			fields.Hosted(p, "connector")
			return nil
		})
	case "conversation_id":
		if c.Kind() != 'n' {
			fields.Hosted(p, "stored conversation")
		}
	}
	return readChat(p, c, key)
}

// readChat2 reads a member of a chat request of the second version.
func readChat2(r *wire.Request, c *walk.Cursor, key []byte) error {
	p := &r.Prompt
	switch string(key) {
	case "messages":
		return c.Array(func() error {
			p.Messages++
			return message(p, c)
		})
	case "thinking":
		return c.Object(func(key []byte) error {
			if string(key) != "type" {
				return nil
			}
			kind, err := c.Text()
			p.Thinking = string(kind) == "enabled"
			return err
		})
	case "tool_choice":
		choice, err := c.Text()
		p.ToolChoice = string(choice) == "REQUIRED"
		return err
	}
	return readChat(p, c, key)
}

// readChat reads what both versions have.
func readChat(p *tokens.Prompt, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "tools":
		return c.Array(func() error {
			p.Tools++
			return c.Segment(p, tokens.ToolSchema)
		})
	case "documents": // which answers cite
		return c.Array(func() error {
			p.Citations++
			return c.Segment(p, tokens.Text)
		})
	case "response_format":
		return c.Object(func(key []byte) error {
			if string(key) == "schema" || string(key) == "json_schema" {
				return c.Segment(p, tokens.Schema)
			}
			return nil
		})
	}
	return nil
}

// message reads a message of the second version. Who says it may stand behind what it says.
func message(p *tokens.Prompt, c *walk.Cursor) error {
	before, class := len(p.Segments), tokens.Text
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "role":
			role, err := c.Text()
			switch string(role) {
			case "system", "developer":
				p.System = true
			case "tool":
				class = tokens.ToolResult
			}
			return err
		case "content":
			return content(p, c)
		case "tool_plan":
			return c.Segment(p, tokens.Text)
		case "tool_calls":
			if c.Kind() != '[' {
				return nil
			}
			return c.Array(func() error { return toolCall(p, c) })
		}
		return nil
	})
	fields.Classify(p, before, class)
	return err
}

// toolCall reads {id, type, function: {name, arguments}}.
func toolCall(p *tokens.Prompt, c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		if string(key) != "function" {
			return nil
		}
		return c.Object(func(key []byte) error {
			if string(key) == "name" || string(key) == "arguments" {
				return c.Segment(p, tokens.ToolCall)
			}
			return nil
		})
	})
}

// content is a text, or a list of parts.
func content(p *tokens.Prompt, c *walk.Cursor) error {
	switch c.Kind() {
	case '[':
		return c.Array(func() error { return content(p, c) })
	case '{':
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "type":
				return nil
			case "image_url":
				return image(p, c)
			}
			return c.Segment(p, tokens.Text) // text, thinking, document
		})
	}
	return c.Segment(p, tokens.Text)
}

// image reads a URL, or an object around it, with the data in it or not.
func image(p *tokens.Prompt, c *walk.Cursor) error {
	var url []byte
	detail := ""
	err := error(nil)
	switch c.Kind() {
	case '{':
		err = c.Object(func(key []byte) (err error) {
			switch {
			case string(key) == "url" && c.Kind() == '"':
				url, err = c.Value()
			case string(key) == "detail":
				var text []byte
				text, err = c.Text()
				detail = string(text)
			}
			return err
		})
	case '"':
		url, err = c.Value()
	}
	switch {
	case len(url) <= 2:
	case bytes.HasPrefix(url, []byte(`"data:`)):
		p.Images = append(p.Images, media.Image(url[1:len(url)-1], detail))
	default:
		fields.Hosted(p, "image URL")
		p.FarImages = true
	}
	return err
}
