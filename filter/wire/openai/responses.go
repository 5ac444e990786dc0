package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// Responses is the codec of the Responses API: creating a response, compacting
// a conversation and counting its tokens. Its streams tell their usage without being asked.
type Responses struct {
	operation operation
	marked    bool // the host puts a [DONE] behind the last event (OpenRouter)
}

type operation uint8

const (
	create     operation = iota
	compact              // billed as a response is, and takes no output limit
	countInput           // free
)

// API implements wire.Codec.
func (Responses) API() wire.API { return wire.OpenAIResponses }

// ReadRequest implements wire.Codec.
func (h Responses) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := newRequest(wire.OpenAIResponses, tokens.Generate)
	if h.operation == countInput {
		r.Prompt.Task = tokens.Count
	}
	return r.read(path, body, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "input":
			return items(c, &r.Prompt)
		case "instructions":
			if c.Kind() != 'n' {
				r.Prompt.System = true
				return items(c, &r.Prompt)
			}
		case "max_output_tokens":
			return r.readCap(c)
		case "background":
			r.Background, err = c.Bool()
			return err
		case "text":
			return c.Object(func(key []byte) error {
				if string(key) == "format" {
					return schema(c, &r.Prompt)
				}
				return nil
			})
		case "tools":
			return tools(c, &r.Prompt, &r.SearchContext)
		case "tool_choice":
			return toolChoice(c, &r.Prompt)
		case "previous_response_id", "conversation", "plugins":
			return present(c, &r.Prompt, string(key))
		case "prompt":
			return r.readStoredPrompt(c)
		}
		_, err = r.readThinking(c, key)
		return err
	})
}

// readStoredPrompt reads a reference to a prompt that is kept at OpenAI, with
// text, tools and model that the body does not show.
func (r *request) readStoredPrompt(c *walk.Cursor) error {
	if c.Kind() != 'n' {
		hosted(&r.Prompt, "stored prompt")
	}
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "id":
			id, err := c.Text()
			r.marks.storedPrompt = string(id)
			return err
		case "variables":
			return content(c, &r.Prompt, tokens.Text)
		}
		return nil
	})
}

// Rewrite implements wire.Codec.
func (h Responses) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	m, ok := r.Marks.(*marks)
	if !ok {
		return path, body
	}
	name := "max_output_tokens"
	if h.operation != create {
		name = ""
	}
	edit.ForceUsage = false
	return m.rewrite(r, path, body, edit, name, edit.MaxOutputTokens)
}

// NewReader implements wire.Codec.
func (h Responses) NewReader(r *wire.Request, status int, header wire.Header) wire.ResponseReader {
	if h.operation == countInput {
		return newReader(&countReading{}, r, status, header)
	}
	return newReader(&responsesReading{marked: h.marked}, r, status, header)
}

// Refuse implements wire.Codec.
func (Responses) Refuse(r wire.Refusal) (string, []byte) { return refuse(r) }

// retrieve is the codec of fetching a stored response, which tells the usage
// of a background job once it is done, and again each time: Reading.ID is what it is told for.
var retrieve = &format{
	api: wire.OpenAIResponses, task: tokens.Retrieve, bodyless: true,
	dialect: func(*wire.Request) dialect { return &responsesReading{} },
}
