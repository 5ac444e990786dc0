package bedrock

import (
	"bytes"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// forms say where each family's bodies have their limit (Bedrock user guide,
// inference request parameters by model). Of a family that is not here no body is limited.
var forms = map[string]*fields.Form{
	"amazon.nova":      {Nameless: true, Options: "inferenceConfig", Limit: "maxTokens"},
	"amazon.titan":     {Nameless: true, Options: "textGenerationConfig", Limit: "maxTokenCount"},
	"meta.":            {Nameless: true, Limit: "max_gen_len"},
	"mistral.":         {Nameless: true, Limit: "max_tokens"},
	"cohere.command-r": {Nameless: true, Limit: "max_tokens"},
	"cohere.":          {Nameless: true, Limit: "max_tokens"},
	"ai21.jamba":       {Nameless: true, Limit: "max_tokens"},
	"ai21.":            {Nameless: true, Limit: "maxTokens"},
	"deepseek.":        {Nameless: true, Limit: "max_tokens"},
	"openai.":          {Nameless: true, Limit: "max_completion_tokens"},
	"qwen.":            {Nameless: true, Limit: "max_tokens"},
	"writer.":          {Nameless: true, Limit: "max_tokens"},
}

var noForm = &fields.Form{Nameless: true}

// readInvoke reads the body of an InvokeModel request.
func readInvoke(r *wire.Request, body []byte) error {
	if isClaude(r.Model, body) {
		return readClaude(r, body)
	}
	of := family(r.Model)
	form := forms[of]
	if form == nil {
		form = noForm
	}
	if strings.Contains(r.Model, "embed") {
		r.Prompt.Task = tokens.Embed
	}
	if strings.Contains(r.Model, "rerank") {
		r.Prompt.Task = tokens.Rerank
	}
	return form.Read(r, body, func(c *walk.Cursor, key []byte) error { return invokeMember(r, c, key) },
		func(c *walk.Cursor, key []byte) error { return nil })
}

// invokeMember reads a member of a body of any family: their names do not
// contradict each other.
func invokeMember(r *wire.Request, c *walk.Cursor, key []byte) error {
	p := &r.Prompt
	switch string(key) {
	case "prompt", "inputText", "message", "query": // AI21, Titan, Llama, Mistral; Cohere
		p.Messages++
		return c.Segment(p, tokens.Text)
	case "messages", "chat_history":
		return c.Array(func() error {
			p.Messages++
			return message(c, p)
		})
	case "system", "preamble":
		before := len(p.Segments)
		err := message(c, p)
		if len(p.Segments) > before {
			p.Messages++
			p.System = true
		}
		return err
	case "texts", "documents", "inputs":
		return c.Array(func() error {
			p.Messages++
			return message(c, p)
		})
	case "images":
		return c.Array(func() error {
			return data(c, func(data []byte) { p.Images = append(p.Images, media.Image(data, "")) })
		})
	case "inputImage":
		return data(c, func(data []byte) { p.Images = append(p.Images, media.Image(data, "")) })
	case "singleEmbeddingParams", "segmentedEmbeddingParams": // Nova embeddings
		return message(c, p)
	case "tools":
		return c.Array(func() error { return invokeTool(c, p) })
	case "toolConfig":
		return toolConfig(c, p)
	case "tool_choice":
		return toolChoice(c, p)
	case "thinking", "reasoningConfig", "output_config", "output_format":
		return reasoning(c, key, p)
	case "num_generations", "n":
		n, ok, err := c.Int()
		if ok && n > 1 && n <= maxChoices {
			r.Choices = n
		}
		return err
	case "performanceConfig":
		return latency(r, c)
	}
	return nil
}

// maxChoices is more answers than any model gives to one call.
const maxChoices = 128

// message reads a text, a message of Nova's or OpenAI's shape, a part of one, or a list of them.
func message(c *walk.Cursor, p *tokens.Prompt) error {
	switch c.Kind() {
	case '"':
		return c.Segment(p, tokens.Text)
	case '[':
		return c.Array(func() error { return message(c, p) })
	case '{':
		return c.Object(func(key []byte) error { return messageMember(c, key, p) })
	}
	return nil
}

func messageMember(c *walk.Cursor, key []byte, p *tokens.Prompt) error {
	switch string(key) {
	case "role", "type", "id", "tool_use_id", "tool_call_id", "cache_control", "embeddingPurpose", "embeddingDimension", "truncationMode":
		return nil
	case "text", "thinking", "value":
		if c.Kind() == '{' {
			return message(c, p)
		}
		return c.Segment(p, tokens.Text)
	case "content", "message":
		return message(c, p)
	case "input", "arguments", "name", "function", "tool_calls":
		return c.Segment(p, tokens.ToolCall)
	case "signature", "data":
		return c.Segment(p, tokens.Hidden)
	case "image_url": // of OpenAI's form: a URL, or an object around one
		return imageURL(c, p)
	}
	return block(c, key, p)
}

// imageURL reads an image that is given as a URL, which may have all of it inside.
func imageURL(c *walk.Cursor, p *tokens.Prompt) error {
	switch c.Kind() {
	case '{':
		return c.Object(func(key []byte) error {
			if string(key) == "url" {
				return imageURL(c, p)
			}
			return nil
		})
	case '"':
		return data(c, func(url []byte) {
			if bytes.HasPrefix(url, []byte("data:")) {
				p.Images = append(p.Images, media.Image(url, ""))
			} else {
				fields.Hosted(p, "image by url")
				p.FarImages = true
			}
		})
	}
	return nil
}

// invokeTool reads a tool of Anthropic's (in Converse), Cohere's or OpenAI's form. Those with a
// type of their own and no schema are Anthropic's: the client runs them, but
// their definition is not in the body.
func invokeTool(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() != '{' {
		return nil
	}
	var kind string
	schema := false
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "type":
			text, err := c.Text()
			kind = string(text)
			return err
		case "input_schema", "function", "parameter_definitions":
			schema = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !schema && kind != "" && kind != "custom" {
		fields.Hosted(p, "tool "+kind)
		return nil
	}
	p.Tools++
	p.Segments = append(p.Segments, tokens.Segment{Class: tokens.ToolSchema, JSON: c.Raw()})
	return nil
}

func toolChoice(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() != '{' {
		return nil
	}
	var kind string
	err := oneText(c, "type", &kind)
	p.ToolChoice = p.ToolChoice || kind == "any" || kind == "tool" || kind == "function"
	return err
}
