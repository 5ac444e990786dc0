package openai

import (
	"bytes"
	"strings"

	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// items reads messages or input items: an array of them, or one string.
func items(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() == '"' {
		p.Messages++
		return text(c, p)
	}
	return c.Array(func() error {
		p.Messages++
		return content(c, p)
	})
}

func text(c *walk.Cursor, p *tokens.Prompt) error {
	n, err := c.TextLen()
	p.TextBytes += n
	return err
}

// content adds up what a model reads of a value in a message, whatever its
// shape: parts differ between hosts and years, and what is not known to be
// furniture is text.
func content(c *walk.Cursor, p *tokens.Prompt) error {
	switch c.Kind() {
	case '"':
		return text(c, p)
	case '[':
		return c.Array(func() error { return content(c, p) })
	case '{':
		return c.Object(func(key []byte) error { return contentMember(c, key, p) })
	}
	return nil
}

func contentMember(c *walk.Cursor, key []byte, p *tokens.Prompt) error {
	switch string(key) {
	case "role", "id", "call_id", "tool_call_id", "status", "phase", "detail", "index", "annotations", "logprobs",
		"cache_control", "prompt_cache_breakpoint", "execution", "format":
		return nil
	case "type":
		raw, err := c.Value()
		if string(raw) == `"item_reference"` {
			opaque(p, "item reference")
		}
		return err
	case "tools": // additional_tools, tool_search_output, mcp_list_tools
		return tools(c, p)
	case "image_url":
		return media(c, p, "image URL")
	case "video_url":
		return media(c, p, "video URL")
	case "input_audio":
		return media(c, p, "audio URL")
	case "file_data", "result": // result: of an image_generation_call
		return file(c, p)
	case "file_url":
		return present(c, p, "file URL")
	case "file_id", "container_id":
		return present(c, p, "file id")
	case "audio":
		return present(c, p, "stored audio")
	case "content", "output", "outputs", "results", "summary", "file",
		"tool_calls", "function_call", "function", "custom", "reasoning_details":
		return content(c, p)
	}
	if c.Kind() == '"' {
		// encrypted_content is among them: what it hides was never seen to make
		// more tokens than it has bytes.
		return text(c, p)
	}
	return whole(c, p)
}

// whole counts a value of unknown shape as it stands.
func whole(c *walk.Cursor, p *tokens.Prompt) error {
	raw, err := c.Value()
	if err == nil && raw[0] != 'n' {
		p.TextBytes += int64(len(raw))
	}
	return err
}

// present notes something that is known by reference only.
func present(c *walk.Cursor, p *tokens.Prompt, what string) error {
	if c.Kind() != 'n' {
		opaque(p, what)
	}
	return nil
}

// media reads an image_url, video_url or input_audio: a string or an object
// with url or data. What is a reference and not the data itself can't be
// sized.
func media(c *walk.Cursor, p *tokens.Prompt, reference string) error {
	if c.Kind() == '{' {
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "url", "data":
				return media(c, p, reference)
			}
			return nil
		})
	}
	if c.Kind() != '"' {
		return content(c, p)
	}
	raw, err := c.Value()
	if err != nil || len(raw) == 2 {
		return err
	}
	inline := bytes.HasPrefix(raw, []byte(`"data:`))
	switch {
	case reference == "audio URL": // its data has no URL around it
		p.Media++
		p.MediaBytes += base64Len(raw)
	case !inline:
		opaque(p, reference)
	case reference == "image URL":
		p.Images++
		p.ImageBytes += base64Len(raw)
	default:
		p.Media++
		p.MediaBytes += base64Len(raw)
	}
	return nil
}

// file reads inline file data: a data URL or bare base64.
func file(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() != '"' {
		return content(c, p)
	}
	raw, err := c.Value()
	if err != nil || len(raw) == 2 {
		return err
	}
	if bytes.HasPrefix(raw, []byte(`"data:image/`)) {
		p.Images++
		p.ImageBytes += base64Len(raw)
		return nil
	}
	p.Media++
	p.MediaBytes += base64Len(raw)
	return nil
}

// base64Len is the length of the base64 in a quoted string, behind the comma
// of a data URL where it is one.
func base64Len(raw []byte) int64 {
	raw = raw[1 : len(raw)-1]
	if bytes.HasPrefix(raw, []byte("data:")) {
		if i := bytes.IndexByte(raw, ','); i >= 0 {
			raw = raw[i+1:]
		}
	}
	return int64(len(raw))
}

// tools reads a list of tools. Those that the client defines and runs are in
// the body in full. Any other runs at the provider, which puts into the prompt
// what it finds.
func tools(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() != '[' {
		return whole(c, p)
	}
	return c.Array(func() error {
		if c.Kind() != '{' {
			return whole(c, p)
		}
		kind := ""
		err := c.Object(func(key []byte) error {
			if string(key) != "type" {
				return nil
			}
			raw, err := c.Value()
			kind = strings.Trim(string(raw), `"`)
			return err
		})
		p.ToolBytes += int64(c.Span().Len())
		switch kind {
		case "", "function", "custom", "namespace":
			p.Tools++
		default:
			opaque(p, "hosted tool "+kind)
		}
		return err
	})
}

// schema reads a response_format or text.format and counts the schema in it.
func schema(c *walk.Cursor, p *tokens.Prompt) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "json_schema", "schema":
			raw, err := c.Value()
			if err == nil && raw[0] == '{' {
				p.SchemaBytes += int64(len(raw))
			}
			return err
		}
		return nil
	})
}
