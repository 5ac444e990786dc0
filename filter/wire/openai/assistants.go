package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// runs is the codec of starting a run of an assistant and of going on with it.
// What the model reads is mostly kept at the provider: the thread and the
// assistant with its instructions and tools, which also names the model.
var runs = &format{
	api: wire.OpenAIAssistants, task: tokens.Generate, nameless: true,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "instructions", "additional_instructions":
			return c.Segment(&r.Prompt, tokens.Text)
		case "additional_messages":
			return items(c, &r.Prompt)
		case "thread":
			return c.Object(func(key []byte) error {
				if string(key) == "messages" {
					return items(c, &r.Prompt)
				}
				return nil
			})
		case "tool_outputs":
			return content(c, &r.Prompt, tokens.ToolResult)
		case "tools":
			return tools(c, &r.Prompt, nil)
		case "tool_choice":
			return toolChoice(c, &r.Prompt)
		case "response_format":
			if c.Kind() == '{' { // or the word auto
				return schema(c, &r.Prompt)
			}
		case "max_completion_tokens":
			return r.readCap(c)
		}
		_, err := r.readThinking(c, key)
		return err
	},
	whole: func(r *request) {
		hosted(&r.Prompt, "thread of an assistant")
		r.Background = !r.Stream // the usage comes with a later poll
	},
	dialect: func(*wire.Request) dialect { return &runReading{} },
}

// pollRun is the codec of asking for a run, or ending it: each answer repeats
// the usage of the whole run under its id.
var pollRun = &format{
	api: wire.OpenAIAssistants, task: tokens.Retrieve, bodyless: true,
	dialect: func(*wire.Request) dialect { return &runReading{} },
}
