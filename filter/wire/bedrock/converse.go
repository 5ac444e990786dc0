package bedrock

import (
	"encoding/base64"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

var converse = &fields.Form{Nameless: true, Options: "inferenceConfig", Limit: "maxTokens"}

// readConverse reads a ConverseRequest.
func readConverse(r *wire.Request, body []byte) error {
	return converse.Read(r, body, func(c *walk.Cursor, key []byte) error { return converseMember(r, c, key) }, nil)
}

func converseMember(r *wire.Request, c *walk.Cursor, key []byte) error {
	p := &r.Prompt
	switch string(key) {
	case "messages":
		return c.Array(func() error {
			p.Messages++
			return content(c, p)
		})
	case "system":
		if c.Kind() != '[' {
			return nil
		}
		before := len(p.Segments)
		err := c.Array(func() error { return content(c, p) })
		if len(p.Segments) > before {
			p.Messages++
			p.System = true
		}
		return err
	case "toolConfig":
		return toolConfig(c, p)
	case "outputConfig": // a JSON schema, as a string within
		return schemaWithin(c, p)
	case "additionalModelRequestFields": // the model's own: of Claude and Nova, how they reason
		return c.Object(func(key []byte) error { return reasoning(c, key, p) })
	case "promptVariables":
		fields.Hosted(p, "stored prompt")
	case "serviceTier":
		return oneText(c, "type", &r.ServiceTier)
	case "performanceConfig":
		return latency(r, c)
	}
	return nil
}

// latency reads performanceConfig: "optimized" is a faster mode with a price of its own.
func latency(r *wire.Request, c *walk.Cursor) error {
	var mode string
	err := oneText(c, "latency", &mode)
	if mode == optimized {
		r.Speed = "fast"
	}
	return err
}

// oneText reads a string that is the member of an object.
func oneText(c *walk.Cursor, name string, into *string) error {
	return c.Object(func(key []byte) error {
		if string(key) != name {
			return nil
		}
		text, err := c.Text()
		*into = string(text)
		return err
	})
}

func reasoning(c *walk.Cursor, key []byte, p *tokens.Prompt) error {
	switch string(key) {
	case "thinking", "reasoning_config", "reasoningConfig":
		if c.Kind() != '{' { // Qwen takes the effort itself
			if c.Kind() == '"' {
				p.Thinking = true
			}
			return nil
		}
		var kind string
		err := oneText(c, "type", &kind)
		p.Thinking = p.Thinking || kind == "enabled"
		return err
	case "output_config", "output_format":
		return schemaWithin(c, p)
	case "tools": // of Anthropic's own, which Converse has no other place for
		return c.Array(func() error { return invokeTool(c, p) })
	case "mcp_servers", "container", "context_management":
		if c.Kind() != 'n' {
			fields.Hosted(p, string(key))
		}
	}
	return nil
}

// schemaWithin finds a JSON schema in an object that says how to format the output.
func schemaWithin(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() != '{' {
		return nil
	}
	return c.Object(func(key []byte) error {
		if string(key) == "schema" {
			return c.Segment(p, tokens.Schema)
		}
		return schemaWithin(c, p)
	})
}

func toolConfig(c *walk.Cursor, p *tokens.Prompt) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "tools":
			return c.Array(func() error { return tool(c, p) })
		case "toolChoice":
			return c.Object(func(key []byte) error {
				p.ToolChoice = p.ToolChoice || string(key) == "any" || string(key) == "tool"
				return nil
			})
		}
		return nil
	})
}

// tool reads one entry of tools: a definition, a system tool that Bedrock runs, or a cache point.
func tool(c *walk.Cursor, p *tokens.Prompt) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "toolSpec":
			p.Tools++
			return c.Segment(p, tokens.ToolSchema)
		case "systemTool":
			var name string
			err := oneText(c, "name", &name)
			fields.Hosted(p, "hosted tool "+name)
			return err
		}
		return nil
	})
}

// content reads a message, a content block, or a list of blocks.
func content(c *walk.Cursor, p *tokens.Prompt) error {
	switch c.Kind() {
	case '[':
		return c.Array(func() error { return content(c, p) })
	case '{':
		return c.Object(func(key []byte) error { return block(c, key, p) })
	}
	return nil
}

// block reads a member of a content block; each block has one.
func block(c *walk.Cursor, key []byte, p *tokens.Prompt) error {
	switch string(key) {
	case "text":
		if c.Kind() == '{' { // of guardContent and reasoningContent
			return c.Object(func(key []byte) error { return block(c, key, p) })
		}
		return c.Segment(p, tokens.Text)
	case "content", "guardContent", "reasoningContent", "reasoningText", "citationsContent", "searchResult":
		return content(c, p)
	case "signature", "redactedContent":
		return c.Segment(p, tokens.Hidden)
	case "title", "source":
		if c.Kind() == '"' {
			return c.Segment(p, tokens.Text) // of a search result
		}
	case "toolUse":
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "name", "input":
				return c.Segment(p, tokens.ToolCall)
			}
			return nil
		})
	case "toolResult":
		return c.Object(func(key []byte) error {
			if string(key) == "content" {
				return toolResult(c, p)
			}
			return nil
		})
	case "image":
		return source(c, p, func(data []byte) { p.Images = append(p.Images, media.Image(data, "")) })
	case "document":
		return document(c, p)
	case "video":
		return source(c, p, func(data []byte) { p.Media = append(p.Media, media.File(tokens.Video, data)) })
	case "audio":
		return source(c, p, func(data []byte) { p.Media = append(p.Media, media.File(tokens.Audio, data)) })
	}
	return nil
}

func toolResult(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() != '[' {
		return c.Segment(p, tokens.ToolResult)
	}
	return c.Array(func() error {
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "text", "json":
				return c.Segment(p, tokens.ToolResult)
			}
			return block(c, key, p)
		})
	})
}

// document reads a document block: text in the body is text, anything else is a file.
func document(c *walk.Cursor, p *tokens.Prompt) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "name", "context":
			return c.Segment(p, tokens.Text)
		case "citations":
			return c.Object(func(key []byte) error {
				if string(key) != "enabled" {
					return nil
				}
				enabled, err := c.Bool()
				if enabled {
					p.Citations++
				}
				return err
			})
		case "source":
			return c.Object(func(key []byte) error {
				switch string(key) {
				case "text":
					return c.Segment(p, tokens.Text)
				case "content":
					return content(c, p)
				case "bytes":
					return data(c, func(data []byte) { p.Media = append(p.Media, media.File(tokens.Document, data)) })
				case "s3Location":
					fields.Hosted(p, "S3 location")
				}
				return nil
			})
		}
		return nil
	})
}

// source reads the source of an image, a video or sound: bytes in the body, or a place in S3.
func source(c *walk.Cursor, p *tokens.Prompt, inline func([]byte)) error {
	return c.Object(func(key []byte) error {
		if string(key) != "source" {
			return nil
		}
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "bytes":
				return data(c, inline)
			case "s3Location":
				fields.Hosted(p, "S3 location")
			}
			return nil
		})
	})
}

// data reads base64.
func data(c *walk.Cursor, inline func([]byte)) error {
	raw, err := c.Value()
	if err == nil && len(raw) > 2 && raw[0] == '"' {
		inline(raw[1 : len(raw)-1])
	}
	return err
}

// readCount reads a CountTokensRequest: what would be asked, of either form.
// The body of an InvokeModel request stands in it as base64.
func readCount(r *wire.Request, body []byte) error {
	none := &fields.Form{Nameless: true}
	return none.Read(r, body, func(c *walk.Cursor, key []byte) error {
		if string(key) != "input" {
			return nil
		}
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "converse":
				return c.Object(func(key []byte) error { return converseMember(r, c, key) })
			case "invokeModel":
				return c.Object(func(key []byte) error {
					if string(key) != "body" {
						return nil
					}
					return encodedBody(r, c)
				})
			}
			return nil
		})
	}, nil)
}

// encodedBody reads the body of an InvokeModel request that stands in another as base64.
// What is none is for the provider to refuse.
func encodedBody(r *wire.Request, c *walk.Cursor) error {
	text, err := c.Text()
	if err != nil {
		return err
	}
	body, bad := base64.StdEncoding.AppendDecode(nil, text)
	inner := wire.Request{Model: r.Model}
	if bad != nil || readInvoke(&inner, body) != nil {
		fields.Hosted(&r.Prompt, "body that can't be read")
		return nil
	}
	inner.Prompt.Task = r.Prompt.Task
	r.Prompt = inner.Prompt
	return nil
}

// family is what InvokeModel bodies go by: the maker, and the series where one maker has several forms.
func family(model string) string {
	for _, part := range []string{
		"anthropic.", "amazon.nova", "amazon.titan-embed", "amazon.titan", "meta.", "mistral.", "cohere.embed", "cohere.rerank",
		"cohere.command-r", "cohere.", "ai21.jamba", "ai21.", "deepseek.", "openai.", "qwen.", "writer.", "stability.", "twelvelabs.",
	} {
		if strings.Contains(model, part) {
			return part
		}
	}
	return ""
}
