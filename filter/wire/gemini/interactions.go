package gemini

import (
	"strings"

	"keel/filter/wire/fields"
	"keel/filter/wire/framing"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// interactions reads a request of the Interactions API, which is snake case throughout.
func (r *request) interactions() func(c *walk.Cursor, key []byte) error {
	r.at.asks = append(r.at.asks, ask{choices: 1, snake: true})
	return func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "model":
			return r.model(c)
		case "agent":
			return r.agent(c)
		case "input":
			return r.prompt.input(c)
		case "system_instruction":
			if c.Kind() != 'n' {
				r.Prompt.Messages++
				r.Prompt.System = true
			}
			return r.prompt.text(c, tokens.Text)
		case "tools":
			return each(c, func() error { return r.prompt.declared(c) })
		case "response_format":
			return c.Segment(r.prompt.Prompt, tokens.Schema)
		case "generation_config":
			a := &r.at.asks[0]
			err = c.Object(func(key []byte) error { return r.interactionConfig(c, key, a) })
			a.config = c.Span()
			return err
		case "previous_interaction_id":
			return r.prompt.reference(c, "stored conversation")
		case "stream":
			r.Stream, err = c.Bool()
		case "background":
			r.Background, err = c.Bool()
		case "service_tier":
			var tier string
			tier, err = enum(c)
			r.ServiceTier = tierName(tier)
		}
		return err
	}
}

// agent is what works in place of a model, with prompts and tools of its own. No
// model can be put in its place.
func (r *request) agent(c *walk.Cursor) error {
	agent, err := c.Text()
	if err != nil || len(agent) == 0 {
		return err
	}
	fields.Hosted(&r.Prompt, "agent")
	if r.Model == "" {
		r.Model = string(agent)
	}
	return nil
}

func (r *request) interactionConfig(c *walk.Cursor, key []byte, a *ask) error {
	switch string(key) {
	case "max_output_tokens":
		return r.limit(c, a)
	case "thinking_level":
		level, err := enum(c)
		r.Effort = effort(level)
		r.Prompt.Thinking = r.Prompt.Thinking || level != ""
		return err
	case "thinking_summaries":
		summaries, err := enum(c)
		r.Prompt.Thinking = r.Prompt.Thinking || summaries != "" && summaries != "none"
		return err
	case "tool_choice":
		if c.Kind() == '"' {
			choice, err := enum(c)
			r.Prompt.ToolChoice = choice == "any"
			return err
		}
		return c.Object(func(key []byte) error {
			if string(key) != "allowed_tools" {
				return nil
			}
			return c.Object(func(key []byte) error {
				if string(key) != "mode" {
					return nil
				}
				mode, err := enum(c)
				r.Prompt.ToolChoice = mode == "any"
				return err
			})
		})
	}
	return nil
}

// input is a text, a content or step, or a list of those.
func (p prompt) input(c *walk.Cursor) error {
	return each(c, func() error {
		p.Messages++
		return p.item(c, tokens.Text)
	})
}

// item reads a turn, step or content of any type. What it is may be said behind
// what it holds, so its segments are put right at its end.
func (p prompt) item(c *walk.Cursor, class tokens.Class) error {
	switch c.Kind() {
	case '"':
		return c.Segment(p.Prompt, class)
	case '[':
		return c.Array(func() error { return p.item(c, class) })
	case '{':
	default:
		return c.Skip()
	}
	before := len(p.Segments)
	var data []byte
	mime, kind, resolution := "", "", ""
	err := c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "type":
			kind, err = enum(c)
		case "role", "id", "call_id", "annotations":
			return c.Skip()
		case "mime_type":
			err = framing.Name(c, &mime)
		case "resolution":
			resolution, err = detail(c)
		case "data":
			if c.Kind() == '"' {
				data, err = c.Value()
			}
		case "uri":
			return p.reference(c, "file URL")
		case "signature":
			return c.Segment(p.Prompt, tokens.Hidden)
		case "arguments":
			return c.Segment(p.Prompt, tokens.ToolCall)
		case "result":
			return c.Segment(p.Prompt, tokens.ToolResult)
		default:
			return p.item(c, class)
		}
		return err
	})
	switch {
	case strings.HasSuffix(kind, "_call"):
		class = tokens.ToolCall
	case strings.HasSuffix(kind, "_result"):
		class = tokens.ToolResult
	}
	fields.Classify(p.Prompt, before, class)
	if len(data) <= 2 {
		return err
	}
	if data = data[1 : len(data)-1]; kind == "image" {
		p.Images = append(p.Images, media.Image(data, resolution))
		return err
	}
	if mime == "" {
		mime = kind + "/"
	}
	p.media(mime, data)
	return err
}

// declared reads a tool: a function, or what the provider runs.
func (p prompt) declared(c *walk.Cursor) error {
	kind := ""
	err := c.Object(func(key []byte) (err error) {
		if string(key) == "type" {
			kind, err = enum(c)
		}
		return err
	})
	switch raw := c.Raw(); {
	case err != nil || len(raw) == 0 || raw[0] != '{':
	case kind == "function":
		p.Tools++
		p.Segments = append(p.Segments, tokens.Segment{Class: tokens.ToolSchema, JSON: raw})
	default:
		fields.Hosted(p.Prompt, "hosted tool "+kind)
	}
	return err
}
