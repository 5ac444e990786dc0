package openai

import (
	"strings"

	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// tools reads a list of tools. Those that the client defines and runs are in
// the body in full. Any other runs at the provider, which puts into the prompt
// what it finds. searchContext, unless nil, takes the search_context_size of
// a tool that searches.
func tools(c *walk.Cursor, p *tokens.Prompt, searchContext *string) error {
	if c.Kind() != '[' {
		return c.Segment(p, tokens.ToolSchema)
	}
	return c.Array(func() error {
		if c.Kind() != '{' {
			return c.Segment(p, tokens.ToolSchema)
		}
		kind := ""
		err := c.Object(func(key []byte) error {
			switch string(key) {
			case "type":
				raw, err := c.Value()
				kind = strings.Trim(string(raw), `"`)
				return err
			case "search_context_size":
				if searchContext != nil && c.Kind() == '"' {
					size, err := c.Text()
					*searchContext = string(size)
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		segment(p, tokens.ToolSchema, c.Raw())
		switch kind {
		case "", "function", "custom", "namespace", "null":
			p.Tools++
		default:
			hosted(p, "hosted tool "+kind)
		}
		return nil
	})
}

// toolChoice reads tool_choice or the older function_call: a word, or an object
// that names what is to be called.
func toolChoice(c *walk.Cursor, p *tokens.Prompt) error {
	switch c.Kind() {
	case '{':
		p.ToolChoice = true
		return c.Object(func(key []byte) error {
			if string(key) != "mode" { // of allowed_tools: auto or required
				return nil
			}
			raw, err := c.Value()
			p.ToolChoice = string(raw) != `"auto"`
			return err
		})
	case '"':
		word, err := c.Text()
		p.ToolChoice = string(word) != "auto" && string(word) != "none"
		return err
	}
	return nil
}

// schema reads a response_format or text.format: one segment for what defines
// the output, with name and description where they stand beside the schema.
func schema(c *walk.Cursor, p *tokens.Prompt) error {
	return c.Object(func(key []byte) error {
		if string(key) == "json_schema" || string(key) == "schema" {
			return c.Segment(p, tokens.Schema)
		}
		return nil
	})
}

func segment(p *tokens.Prompt, class tokens.Class, raw []byte) {
	p.Segments = append(p.Segments, tokens.Segment{Class: class, JSON: raw})
}
