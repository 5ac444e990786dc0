package gemini

import (
	"strings"

	"keel/filter/wire/fields"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// prompt reads what the model reads.
type prompt struct{ *tokens.Prompt }

// reference notes what the provider adds for a value that counts only if it is there.
func (p prompt) reference(c *walk.Cursor, what string) error {
	if c.Kind() != 'n' {
		fields.Hosted(p.Prompt, what)
	}
	return c.Skip()
}

// contents reads the turns.
func (p prompt) contents(c *walk.Cursor) error {
	return each(c, func() error { return p.content(c) })
}

// content is a turn: an object with parts, or a bare text.
func (p prompt) content(c *walk.Cursor) error {
	switch c.Kind() {
	case 'n':
		return c.Skip()
	case '{':
	default:
		p.Messages++
		return p.text(c, tokens.Text)
	}
	p.Messages++
	return c.Object(func(key []byte) error {
		switch string(name(key)) {
		case "parts":
			return p.parts(c)
		case "role":
			return c.Skip()
		}
		return p.part(c, key) // a part in the place of a turn
	})
}

func (p prompt) parts(c *walk.Cursor) error {
	return each(c, func() error {
		if c.Kind() != '{' {
			return p.text(c, tokens.Text)
		}
		images := len(p.Images)
		resolution := ""
		err := c.Object(func(key []byte) (err error) {
			if string(name(key)) == "mediaResolution" {
				resolution, err = detail(c)
				return err
			}
			return p.part(c, key)
		})
		for i := images; i < len(p.Images); i++ {
			p.Images[i].Detail = resolution
		}
		return err
	})
}

// detail reads a media resolution: an enum, or an object around one.
func detail(c *walk.Cursor) (resolution string, err error) {
	if c.Kind() == '{' {
		err = c.Object(func(key []byte) (err error) {
			if string(key) == "level" {
				resolution, err = detail(c)
			}
			return err
		})
		return resolution, err
	}
	resolution, err = enum(c)
	return strings.ToLower(strings.TrimPrefix(resolution, "MEDIA_RESOLUTION_")), err
}

// part reads a member of a part.
func (p prompt) part(c *walk.Cursor, key []byte) error {
	switch string(name(key)) {
	case "inlineData":
		return p.inlineData(c)
	case "fileData":
		return p.reference(c, "file URL")
	case "functionCall", "toolCall", "executableCode":
		return c.Segment(p.Prompt, tokens.ToolCall)
	case "functionResponse":
		return p.functionResponse(c)
	case "codeExecutionResult", "toolResponse":
		return c.Segment(p.Prompt, tokens.ToolResult)
	case "thoughtSignature":
		return c.Segment(p.Prompt, tokens.Hidden)
	case "thought", "videoMetadata", "partMetadata":
		return c.Skip() // says something about the part and is no text
	}
	return p.text(c, tokens.Text)
}

// functionResponse is one result as it stands, unless media come along as
// parts: then it is what stands beside them.
func (p prompt) functionResponse(c *walk.Cursor) error {
	before, parts := len(p.Segments), false
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "parts":
			parts = true
			return p.parts(c)
		case "response":
			return c.Segment(p.Prompt, tokens.ToolResult)
		}
		return nil
	})
	if raw := c.Raw(); err == nil && !parts && len(raw) > 0 && raw[0] == '{' {
		p.Segments = append(p.Segments[:before], tokens.Segment{Class: tokens.ToolResult, JSON: raw})
	}
	return err
}

func (p prompt) inlineData(c *walk.Cursor) error {
	var data []byte
	mime := ""
	err := c.Object(func(key []byte) (err error) {
		switch string(name(key)) {
		case "data":
			if c.Kind() == '"' {
				data, err = c.Value()
			}
		case "mimeType":
			var text []byte
			text, err = c.Text()
			mime = strings.ToLower(string(text))
		}
		return err
	})
	if len(data) > 2 {
		p.media(mime, data[1:len(data)-1])
	}
	return err
}

// media adds base64 of a type; what is neither image nor sound nor film is a document.
func (p prompt) media(mime string, encoded []byte) {
	kind, _, _ := strings.Cut(mime, "/")
	switch kind {
	case "image":
		p.Images = append(p.Images, media.Image(encoded, ""))
	case "audio":
		p.Media = append(p.Media, media.File(tokens.Audio, encoded))
	case "video":
		p.Media = append(p.Media, media.File(tokens.Video, encoded))
	default:
		p.Media = append(p.Media, media.File(tokens.Document, encoded))
	}
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

// tool is a set of function declarations, or a hosted tool (googleSearch,
// codeExecution, urlContext, …) that puts its results into the prompt.
func (p prompt) tool(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		member := name(key)
		if string(member) == "functionDeclarations" {
			return each(c, func() error {
				p.Tools++
				return c.Segment(p.Prompt, tokens.ToolSchema)
			})
		}
		return p.reference(c, "hosted tool "+string(member))
	})
}

// toolConfig sees whether a function has to be called: mode ANY, which is 2.
func (p prompt) toolConfig(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		if string(name(key)) != "functionCallingConfig" {
			return nil
		}
		return c.Object(func(key []byte) error {
			if string(key) != "mode" {
				return nil
			}
			mode, err := enum(c)
			p.ToolChoice = p.ToolChoice || strings.EqualFold(mode, "ANY") || mode == "2"
			return err
		})
	})
}

// thinking reads a thinkingConfig. A budget of 0 turns it off, whatever else stands there.
func (r *request) thinking(c *walk.Cursor) error {
	asked, off := false, false
	err := c.Object(func(key []byte) error {
		switch string(name(key)) {
		case "thinkingBudget":
			n, ok, err := integer(c)
			asked, off = asked || ok, ok && n == 0
			return err
		case "thinkingLevel":
			level, err := enum(c)
			asked = asked || level != ""
			r.Effort = effort(level)
			return err
		case "includeThoughts":
			shown, err := c.Bool()
			asked = asked || shown
			return err
		}
		return nil
	})
	r.Prompt.Thinking = r.Prompt.Thinking || asked && !off
	if off {
		r.Effort = "none"
	}
	return err
}

// effort is the word for a level; "" for the number of an enum, and where it says that it is not specified.
func effort(level string) string {
	level = strings.ToLower(level)
	if level == "" || level[0] < 'a' || level[0] > 'z' || strings.HasSuffix(level, "unspecified") {
		return ""
	}
	return level
}
