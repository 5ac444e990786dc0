package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// Completions is the codec of the older text completions. The zero Completions
// is that of a host whose own output limit is not known.
type Completions struct {
	// shortByDefault: without a limit the host stops after 16 tokens (OpenAI's reference), so
	// a larger one may not be added: it would raise the cost.
	shortByDefault bool
}

const defaultCompletion = 16

// API implements wire.Codec.
func (Completions) API() wire.API { return wire.OpenAICompletions }

// ReadRequest implements wire.Codec. Each prompt of a list is completed on its
// own and best_of completions are made where n are returned, and all are
// billed: their product is Choices.
func (Completions) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := newRequest(wire.OpenAICompletions, tokens.Generate)
	request, err := r.read(path, body, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "prompt":
			return inputs(c, &r.Prompt)
		case "suffix":
			return c.Segment(&r.Prompt, tokens.Text)
		case "max_tokens", "max_completion_tokens":
			return r.readCap(c)
		case "n", "best_of":
			return r.readChoices(c)
		case "stream_options":
			return r.readStreamOptions(c)
		case "response_format":
			return schema(c, &r.Prompt)
		}
		return nil
	})
	if err == nil {
		request.Choices *= max(request.Prompt.Messages, 1)
	}
	return request, err
}

// Rewrite implements wire.Codec.
func (h Completions) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	m, ok := r.Marks.(*marks)
	if !ok {
		return path, body
	}
	added := edit.MaxOutputTokens
	if h.shortByDefault {
		added = min(added, defaultCompletion)
	}
	return m.rewrite(r, path, body, edit, "max_tokens", added)
}

// NewReader implements wire.Codec.
func (Completions) NewReader(r *wire.Request, status int, header wire.Header) wire.ResponseReader {
	return newReader(&chatReading{choices: r.Choices}, r, status, header)
}

// Refuse implements wire.Codec.
func (Completions) Refuse(r wire.Refusal) (string, []byte) { return refuse(r) }
