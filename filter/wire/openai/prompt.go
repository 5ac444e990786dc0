package openai

import (
	"bytes"

	"keel/filter/wire/fields"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// items reads messages or input items: an array of them, or one string.
func items(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() == '"' {
		p.Messages++
		return c.Segment(p, tokens.Text)
	}
	return c.Array(func() error {
		p.Messages++
		return content(c, p, tokens.Text)
	})
}

// content takes over what a model reads of a value in a message, whatever its
// shape: parts differ between hosts and years, and what is not known to be
// furniture is text. class is what the value is for its place.
func content(c *walk.Cursor, p *tokens.Prompt, class tokens.Class) error {
	switch c.Kind() {
	case '"':
		return c.Segment(p, class)
	case '[':
		return c.Array(func() error { return content(c, p, class) })
	case '{':
		e := element{class: class, segments: len(p.Segments), images: len(p.Images)}
		if err := c.Object(func(key []byte) error { return e.member(c, key, p) }); err != nil {
			return err
		}
		e.finish(p)
	}
	return nil
}

// element is a message, an item or a part of one being read. What it is may be
// said behind what it holds, so its segments are put right at its end.
type element struct {
	class            tokens.Class
	segments, images int // of the prompt before
	detail           string
}

func (e *element) finish(p *tokens.Prompt) {
	for i := e.segments; e.class != tokens.Text && i < len(p.Segments); i++ {
		if p.Segments[i].Class == tokens.Text {
			p.Segments[i].Class = e.class
		}
	}
	for i := e.images; e.detail != "" && i < len(p.Images); i++ {
		p.Images[i].Detail = e.detail
	}
}

func (e *element) member(c *walk.Cursor, key []byte, p *tokens.Prompt) error {
	switch string(key) {
	case "id", "call_id", "tool_call_id", "status", "phase", "index", "annotations", "logprobs",
		"cache_control", "prompt_cache_breakpoint", "execution", "format", "prefix":
		return nil
	case "role":
		role, err := c.Value()
		switch string(role) {
		case `"tool"`, `"function"`:
			e.class = tokens.ToolResult
		case `"system"`, `"developer"`:
			p.System = true
		}
		return err
	case "type":
		kind, err := c.Value()
		switch {
		case string(kind) == `"item_reference"`:
			hosted(p, "item reference")
		case bytes.HasSuffix(kind, []byte(`_call"`)):
			e.class = tokens.ToolCall
		case bytes.HasSuffix(kind, []byte(`_output"`)):
			e.class = tokens.ToolResult
		}
		return err
	case "detail":
		if c.Kind() != '"' {
			return nil
		}
		detail, err := c.Text()
		e.detail = string(detail)
		return err
	case "tools": // additional_tools, tool_search_output, mcp_list_tools
		return tools(c, p, nil)
	case "image_url", "image_base64", "video_url", "audio_url", "input_audio", "document_url":
		return e.source(c, p, referenced[string(key)])
	case "file_data":
		return e.source(c, p, fileData)
	case "result": // an image_generation_call has the base64 of its image there
		return e.result(c, p)
	case "file_url":
		return present(c, p, "file URL")
	case "file_id", "container_id":
		return present(c, p, "file id")
	case "audio":
		return present(c, p, "stored audio")
	case "encrypted_content", "signature", "thought_signature":
		return content(c, p, tokens.Hidden)
	case "data": // of an encrypted reasoning detail
		return content(c, p, tokens.Hidden)
	case "tool_calls", "function_call":
		return content(c, p, tokens.ToolCall)
	case "arguments", "action": // a string, or what it stands for as an object
		return c.Segment(p, tokens.ToolCall)
	case "output", "outputs", "results":
		return content(c, p, tokens.ToolResult)
	case "content", "summary", "file", "function", "custom", "reasoning_details", "thinking":
		return content(c, p, e.class)
	}
	// Of a shape that nobody knows: counted as it stands.
	return c.Segment(p, e.class)
}

// A source is a way to name media: by what it is to be read as and what it
// is called where it is a reference.
type source struct {
	kind      tokens.MediaKind
	image     bool
	bare      bool // the data may stand there without a data URL around it
	reference string
}

var (
	fileData   = source{kind: tokens.Document, bare: true, reference: "file URL"}
	referenced = map[string]source{
		"image_url":    {image: true, reference: "image URL"},
		"image_base64": {image: true, bare: true, reference: "image URL"}, // Voyage
		"video_url":    {kind: tokens.Video, reference: "video URL"},
		"audio_url":    {kind: tokens.Audio, reference: "audio URL"},
		"input_audio":  {kind: tokens.Audio, bare: true, reference: "audio URL"},
		"document_url": {kind: tokens.Document, reference: "file URL"},
	}
)

// source reads media: a string, an object with url or data, or a list of either. What is a
// reference and not the data itself can't be sized.
func (e *element) source(c *walk.Cursor, p *tokens.Prompt, s source) error {
	switch c.Kind() {
	case '{':
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "url", "data", "image_url":
				return e.source(c, p, s)
			case "detail", "file_id":
				return e.member(c, key, p)
			}
			return nil
		})
	case '[':
		return c.Array(func() error { return e.source(c, p, s) })
	case '"':
	default:
		return c.Segment(p, e.class)
	}
	raw, err := c.Value()
	if err != nil || len(raw) == 2 {
		return err
	}
	data := raw[1 : len(raw)-1]
	inline := bytes.HasPrefix(data, []byte("data:"))
	switch {
	case !inline && (!s.bare || bytes.HasPrefix(data, []byte("http"))):
		hosted(p, s.reference)
		p.FarImages = p.FarImages || s.image
	case s.image || bytes.HasPrefix(data, []byte("data:image/")):
		p.Images = append(p.Images, media.Image(data, ""))
	default:
		p.Media = append(p.Media, media.File(kindOf(data, s.kind), data))
	}
	return nil
}

// kindOf is the kind that a data URL states, else kind.
func kindOf(data []byte, kind tokens.MediaKind) tokens.MediaKind {
	switch {
	case bytes.HasPrefix(data, []byte("data:audio/")):
		return tokens.Audio
	case bytes.HasPrefix(data, []byte("data:video/")):
		return tokens.Video
	case bytes.HasPrefix(data, []byte("data:")):
		return tokens.Document
	}
	return kind
}

// result reads a result: the base64 of an image, known by how image files
// begin, or text.
func (e *element) result(c *walk.Cursor, p *tokens.Prompt) error {
	raw, err := c.Value()
	if err != nil {
		return err
	}
	for _, magic := range []string{`"iVBORw0KGgo`, `"/9j/`, `"\/9j\/`, `"UklGR`, `"R0lGOD`} { // PNG, JPEG, WebP, GIF
		if bytes.HasPrefix(raw, []byte(magic)) {
			p.Images = append(p.Images, media.Image(raw[1:len(raw)-1], ""))
			return nil
		}
	}
	segment(p, tokens.ToolResult, raw)
	return nil
}

// present notes something that is known by reference only.
func present(c *walk.Cursor, p *tokens.Prompt, what string) error {
	if c.Kind() != 'n' {
		hosted(p, what)
	}
	return nil
}

// hosted notes what the provider adds to the prompt.
func hosted(p *tokens.Prompt, what string) { fields.Hosted(p, what) }
