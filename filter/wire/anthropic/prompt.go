package anthropic

import (
	"strings"

	"keel/filter/wire/fields"
	"keel/filter/wire/framing"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// prompt reads what the model reads.
type prompt struct{ *tokens.Prompt }

// opaque notes a member whose presence says that there is more than the body.
func (p prompt) opaque(c *walk.Cursor, what string) error {
	raw, err := c.Value()
	if err == nil && raw[0] != 'n' && string(raw) != "[]" && string(raw) != "{}" {
		fields.Hosted(p.Prompt, what)
	}
	return err
}

// contextManagement has edits that clear what is old, which makes the input less
// than the body shows, and others that the provider makes by calls of models.
func (p prompt) contextManagement(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		if string(key) != "edits" {
			return nil
		}
		return c.Array(func() error {
			kind := ""
			err := c.Object(func(key []byte) error {
				if string(key) == "type" {
					return framing.Name(c, &kind)
				}
				return nil
			})
			if !strings.HasPrefix(kind, "clear_") {
				fields.Hosted(p.Prompt, "context_management")
			}
			return err
		})
	})
}

// system is a text or a list of blocks.
func (p prompt) system(c *walk.Cursor) error {
	before := len(p.Segments)
	err := p.content(c, tokens.Text)
	if len(p.Segments) > before {
		p.Messages++
		p.System = true
	}
	return err
}

func (p prompt) message(c *walk.Cursor) error {
	p.Messages++
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "role":
			role, err := c.Text()
			p.System = p.System || string(role) == "system"
			return err
		case "content":
			return p.content(c, tokens.Text)
		}
		return nil
	})
}

// content is a string, a list of blocks, or one object (the result of a
// hosted tool).
func (p prompt) content(c *walk.Cursor, class tokens.Class) error {
	switch c.Kind() {
	case '[':
		return c.Array(func() error {
			if c.Kind() != '{' {
				return p.text(c, class)
			}
			return p.block(c, class)
		})
	case '{':
		return p.block(c, class)
	}
	return p.text(c, class)
}

// text takes over every string in a value of any shape.
func (p prompt) text(c *walk.Cursor, class tokens.Class) error {
	switch c.Kind() {
	case '"':
		return c.Segment(p.Prompt, class)
	case '[':
		return c.Array(func() error { return p.text(c, class) })
	case '{':
		return c.Object(func([]byte) error { return p.text(c, class) })
	}
	return c.Skip()
}

// block is one content block. Its type may stand behind what it explains, so
// what depends on it is decided at the end.
func (p prompt) block(c *walk.Cursor, class tokens.Class) error {
	var kind string
	var src source
	before := len(p.Segments)
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "type":
			return framing.Name(c, &kind)
		case "source":
			if c.Kind() != '{' {
				return p.text(c, class) // of a search result
			}
			return src.read(c, p)
		case "content":
			return p.content(c, class)
		case "name", "server_name", "input":
			return c.Segment(p.Prompt, tokens.ToolCall)
		case "signature", "data", "encrypted_content", "encrypted_stdout":
			// The text of a thinking block may be a summary; the signature carries all
			// of it. A redacted one has nothing else.
			return c.Segment(p.Prompt, tokens.Hidden)
		case "citations":
			return p.citations(c)
		case "id", "tool_use_id", "file_id", "cache_control", "caller":
			return nil
		}
		return p.text(c, class)
	})
	switch {
	case kind == "container_upload":
		fields.Hosted(p.Prompt, kind)
	case strings.HasSuffix(kind, "tool_result"): // of hosted tools, too: web_search_tool_result
		for i := before; i < len(p.Segments); i++ {
			if s := &p.Segments[i]; s.Class == tokens.Text {
				s.Class = tokens.ToolResult
			}
		}
	}
	src.add(p, kind, class)
	return err
}

// citations is a switch on a document or a search result, which adds a prompt of the
// provider's. On a text it is a list that repeats what is not billed again
// (Anthropic, Citations).
func (p prompt) citations(c *walk.Cursor) error {
	if c.Kind() != '{' {
		return c.Skip()
	}
	return c.Object(func(key []byte) error {
		if string(key) != "enabled" {
			return nil
		}
		on, err := c.Bool()
		if on {
			p.Citations++
		}
		return err
	})
}

// source is where a block takes its media from.
type source struct {
	kind string // base64, text, content, url, file
	data []byte // a string as it stands in the body
}

func (s *source) read(c *walk.Cursor, p prompt) error {
	s.kind = "unknown source"
	return c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "type":
			return framing.Name(c, &s.kind)
		case "data":
			if c.Kind() == '"' {
				s.data, err = c.Value()
			}
		case "content":
			return p.content(c, tokens.Text)
		}
		return err
	})
}

// add adds what s is to p, once the type of its block is known.
func (s *source) add(p prompt, block string, class tokens.Class) {
	switch {
	case s.kind == "" || s.kind == "content":
	case s.kind == "base64" && len(s.data) > 2:
		encoded := s.data[1 : len(s.data)-1]
		if block == "image" {
			p.Images = append(p.Images, media.Image(encoded, ""))
		} else {
			p.Media = append(p.Media, media.File(tokens.Document, encoded))
		}
	case s.kind == "text" && len(s.data) > 2:
		p.Segments = append(p.Segments, tokens.Segment{Class: class, JSON: s.data})
	case s.kind != "base64" && s.kind != "text": // url, file and what comes next
		fields.Hosted(p.Prompt, block+" by "+s.kind)
		p.FarImages = p.FarImages || block == "image"
	}
}

// tool is a tool definition. Those of a type other than custom stand for
// definitions, and for hosted ones results, that only the provider knows.
func (p prompt) tool(c *walk.Cursor) error {
	kind := ""
	err := c.Object(func(key []byte) error {
		if string(key) == "type" {
			return framing.Name(c, &kind)
		}
		return nil
	})
	if err != nil {
		return err
	}
	raw := c.Raw()
	switch {
	case len(raw) == 0 || raw[0] != '{':
	case kind == "" || kind == "custom":
		p.Tools++
		p.Segments = append(p.Segments, tokens.Segment{Class: tokens.ToolSchema, JSON: raw})
	case strings.HasPrefix(kind, "advisor"): // another model, whose usage stands beside that of the call
		p.Hosted = "several models by tool " + kind
	default:
		fields.Hosted(p.Prompt, "tool "+kind)
	}
	return nil
}

// toolChoice sees whether a tool has to be called.
func (p prompt) toolChoice(c *walk.Cursor) error {
	kind := ""
	err := c.Object(func(key []byte) error {
		if string(key) == "type" {
			return framing.Name(c, &kind)
		}
		return nil
	})
	p.ToolChoice = p.ToolChoice || kind == "any" || kind == "tool"
	return err
}

// outputFormat reads a member of output_config, its format or output_format: it finds the schema.
func (p prompt) outputFormat(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "format":
		return c.Object(func(key []byte) error { return p.outputFormat(c, key) })
	case "schema":
		return c.Segment(p.Prompt, tokens.Schema)
	}
	return nil
}
