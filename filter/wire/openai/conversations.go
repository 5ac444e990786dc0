package openai

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// conversations is the codec of Mistral's conversations: starting one and going on with it. What was
// said before is kept there, and so is an agent, which has the model.
var conversations = &format{
	api: wire.MistralConversations, task: tokens.Generate, nameless: true,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "inputs":
			return items(c, &r.Prompt)
		case "instructions":
			r.Prompt.System = r.Prompt.System || c.Kind() == '"'
			return c.Segment(&r.Prompt, tokens.Text)
		case "agent_id":
			return present(c, &r.Prompt, "agent")
		case "tools":
			return tools(c, &r.Prompt, nil)
		case "completion_args":
			return c.Object(func(key []byte) error {
				switch string(key) {
				case "max_tokens":
					return r.readCap(c)
				case "response_format":
					return schema(c, &r.Prompt)
				case "tool_choice":
					return toolChoice(c, &r.Prompt)
				}
				_, err := r.readThinking(c, key)
				return err
			})
		}
		return nil
	},
	whole: func(r *request) {
		if r.Model == "" {
			hosted(&r.Prompt, "conversation")
		}
	},
	dialect: func(*wire.Request) dialect { return &conversationReading{} },
}

// conversationReading reads the answer in a conversation, whole or as events.
type conversationReading struct{}

func (d *conversationReading) writes() bool { return true }

func (d *conversationReading) document(c *walk.Cursor, key []byte, b *body) error {
	switch string(key) {
	case "usage":
		_, err := b.readUsage(c)
		return err
	case "outputs":
		return c.Array(func() error {
			return c.Object(func(key []byte) error { return d.entry(c, key, b) })
		})
	case "error":
		return b.readFailure(c)
	}
	return nil
}

// entry reads a member of an output: a message, or the call of a function or of a tool.
func (d *conversationReading) entry(c *walk.Cursor, key []byte, b *body) error {
	switch string(key) {
	case "model":
		return readName(c, &b.reading.Model)
	case "arguments":
		if c.Kind() == '"' {
			return b.addText(c)
		}
	case "content":
		switch c.Kind() {
		case '"':
			return b.addText(c)
		case '[':
			return c.Array(func() error { return textsOf(c, b) })
		case '{':
			return textsOf(c, b)
		}
	}
	return nil
}

func (d *conversationReading) event(data []byte, b *body) eventKind {
	var kind, message []byte
	err := walk.Response(data, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "type":
			kind, err = c.Text()
			kind = bytes.Clone(kind)
		case "message":
			message, err = c.Text()
		case "usage":
			_, err = b.readUsage(c)
		default:
			return d.entry(c, key, b)
		}
		return err
	})
	switch {
	case err != nil:
	case string(kind) == "conversation.response.done":
		return terminalEvent
	case string(kind) == "conversation.response.error" && len(message) > 0:
		b.reading.Failure = string(message)
	}
	return plainEvent
}

func (d *conversationReading) settle(*body, *wire.Reading) {}
