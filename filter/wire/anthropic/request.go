package anthropic

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// ReadRequest implements wire.Codec. At Vertex AI the model is in the path.
func (Codec) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: wire.Anthropic, Choices: 1}
	var at marks
	in := prompt{&r.Prompt}
	object, err := walk.Request(body, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "model":
			model, err := c.Text()
			r.Model, at.model = string(model), c.Span()
			return err
		case "max_tokens":
			n, ok, err := c.Int()
			r.MaxOutputTokens, at.maxTokens = n, c.Span()
			if err == nil && ok && n <= 0 {
				return c.Fail("must be at least 1, not %d", n)
			}
			return err
		case "stream":
			stream, err := c.Bool()
			r.Stream = stream
			return err
		case "thinking":
			return c.Object(func(key []byte) (err error) {
				if string(key) == "budget_tokens" {
					at.budgetTokens, _, err = c.Int()
					at.budget = c.Span()
				}
				return err
			})
		case "service_tier":
			tier, err := c.Text()
			r.ServiceTier = string(tier)
			return err
		case "system":
			return in.content(c)
		case "messages":
			return c.Array(func() error { return in.message(c) })
		case "tools":
			return c.Array(func() error { return in.tool(c) })
		case "output_config", "output_format":
			return in.outputFormat(c)
		case "mcp_servers", "container", "context_management":
			// Remote tools, files of an earlier call, and a context that the
			// provider edits or compacts in model calls of its own.
			return in.opaque(c, string(key))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if model := modelOf(path); model != "" {
		if r.Model != "" && r.Model != model {
			return nil, &wire.RequestError{Field: "model", Reason: "must be " + model + " as in the path, or absent"}
		}
		r.Model, at.modelInPath = model, true
	}
	if r.Model == "" {
		return nil, &wire.RequestError{Field: "model", Reason: "is required: name the model to call"}
	}
	at.object = object
	r.Marks = at
	return r, nil
}

// marks is what Rewrite needs to find again.
type marks struct {
	object, model, maxTokens, budget wire.Span
	budgetTokens                     int64 // thinking.budget_tokens, 0 if none
	modelInPath                      bool
}

// prompt measures what the model reads.
type prompt struct{ *tokens.Prompt }

// unseen notes the first thing that the body does not show.
func (p prompt) unseen(what string) {
	if p.Opaque == "" {
		p.Opaque = what
	}
}

// opaque notes a member whose presence says that there is more than the body.
func (p prompt) opaque(c *walk.Cursor, what string) error {
	kind := c.Kind()
	raw, err := c.Value()
	if err == nil && kind != 'n' && string(raw) != "[]" && string(raw) != "{}" {
		p.unseen(what)
	}
	return err
}

func (p prompt) message(c *walk.Cursor) error {
	p.Messages++
	return c.Object(func(key []byte) error {
		if string(key) == "content" {
			return p.content(c)
		}
		return nil
	})
}

// content is a string, a list of blocks, or one object (the result of a
// hosted tool).
func (p prompt) content(c *walk.Cursor) error {
	switch c.Kind() {
	case '[':
		return c.Array(func() error {
			if c.Kind() != '{' {
				return p.text(c)
			}
			return p.block(c)
		})
	case '{':
		return p.block(c)
	}
	return p.text(c)
}

// text adds every string in a value of any shape.
func (p prompt) text(c *walk.Cursor) error {
	switch c.Kind() {
	case '"':
		n, err := c.TextLen()
		p.TextBytes += n
		return err
	case '[':
		return c.Array(func() error { return p.text(c) })
	case '{':
		return c.Object(func([]byte) error { return p.text(c) })
	}
	return c.Skip()
}

// raw adds a value as it stands: the model reads it as JSON.
func (p prompt) raw(c *walk.Cursor) error {
	raw, err := c.Value()
	p.TextBytes += int64(len(raw))
	return err
}

// block is one content block. Its type may stand behind what it explains, so
// the decision about media falls at the end.
func (p prompt) block(c *walk.Cursor) error {
	var kind string
	var src source
	var thinking, signature int64
	err := c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "type":
			var text []byte
			text, err = c.Text()
			kind = string(text)
		case "source":
			if c.Kind() != '{' {
				return p.text(c) // of a search result
			}
			src, err = p.source(c)
		case "content":
			err = p.content(c)
		case "input":
			err = p.raw(c)
		case "thinking":
			thinking, err = c.TextLen()
		case "signature":
			signature, err = c.TextLen()
		case "citations":
			// On a document it is a switch that adds a prompt of some 600 to
			// 850 tokens; on a text it repeats what is not billed again.
			if c.Kind() == '{' {
				return c.Object(func(key []byte) error {
					on, err := c.Bool()
					if on && string(key) == "enabled" {
						p.unseen("citations")
					}
					return err
				})
			}
		case "id", "tool_use_id", "cache_control", "caller":
		default:
			err = p.text(c)
		}
		return err
	})
	// The text of a thinking block may be a summary; the signature carries all
	// of it, encrypted, and that is what the model reads again.
	p.TextBytes += max(thinking, signature)
	if kind == "container_upload" {
		p.unseen("container_upload")
	}
	if src.kind == "" {
		return err
	}
	switch {
	case src.kind == "base64" && kind == "image":
		p.Images++
		p.ImageBytes += src.data
	case src.kind == "base64":
		p.Media++
		p.MediaBytes += src.data
	case src.kind == "text" || src.kind == "content":
		p.TextBytes += src.data
	default: // url, file and what comes next
		p.unseen(kind + " by " + src.kind)
	}
	return err
}

// source is where a block takes its media from.
type source struct {
	kind string // base64, text, content, url, file
	data int64  // length of data
}

func (p prompt) source(c *walk.Cursor) (s source, err error) {
	err = c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "type":
			var kind []byte
			kind, err = c.Text()
			s.kind = string(kind)
		case "data":
			s.data, err = c.TextLen()
		case "content":
			err = p.content(c)
		}
		return err
	})
	if err == nil && s.kind == "" {
		s.kind = "unknown source"
	}
	return s, err
}

// tool is a tool definition. Those of a type other than custom stand for
// definitions, and for hosted ones results, that only the provider knows.
func (p prompt) tool(c *walk.Cursor) error {
	kind := "custom"
	err := c.Object(func(key []byte) error {
		if string(key) != "type" {
			return nil
		}
		text, err := c.Text()
		if text != nil {
			kind = string(text)
		}
		return err
	})
	if kind != "custom" {
		p.unseen("tool " + kind)
		return err
	}
	p.Tools++
	p.ToolBytes += int64(c.Span().Len())
	return err
}

// outputFormat finds the schema in output_config.format or output_format.
func (p prompt) outputFormat(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "format":
			return p.outputFormat(c)
		case "schema":
			raw, err := c.Value()
			if err == nil && c.Span().Len() > len("null") {
				p.SchemaBytes += int64(len(raw))
			}
			return err
		}
		return nil
	})
}
