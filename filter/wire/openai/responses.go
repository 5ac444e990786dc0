package openai

import (
	"net/http"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// Responses is the codec of the Responses API. Its streams tell their usage
// without being asked.
type Responses struct{}

// API implements wire.Codec.
func (Responses) API() wire.API { return wire.OpenAIResponses }

// ReadRequest implements wire.Codec.
func (Responses) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := &request{Request: wire.Request{API: wire.OpenAIResponses}}
	return r.read(path, body, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "input":
			return items(c, &r.Prompt)
		case "instructions":
			if c.Kind() != 'n' {
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
		case "reasoning":
			return c.Object(func(key []byte) error {
				if string(key) != "mode" {
					return nil
				}
				mode, err := c.Text()
				if string(mode) == "pro" { // works in several passes, each billed for the input again
					opaque(&r.Prompt, "reasoning mode pro")
				}
				return err
			})
		case "previous_response_id", "conversation":
			return present(c, &r.Prompt, string(key))
		case "prompt":
			return r.readStoredPrompt(c)
		}
		return nil
	})
}

// readStoredPrompt reads a reference to a prompt that is kept at OpenAI, with
// text, tools and model that the body does not show.
func (r *request) readStoredPrompt(c *walk.Cursor) error {
	if c.Kind() != 'n' {
		opaque(&r.Prompt, "stored prompt")
	}
	return c.Object(func(key []byte) error {
		if string(key) != "id" {
			return nil
		}
		id, err := c.Text()
		r.marks.storedPrompt = string(id)
		return err
	})
}

// Rewrite implements wire.Codec.
func (Responses) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	m, ok := r.Marks.(*marks)
	if !ok {
		return path, body
	}
	newPath, edits, added := m.rename(path, edit.Model)
	if edit.MaxOutputTokens > 0 {
		edits = append(edits, m.lower(edit.MaxOutputTokens)...)
		if len(m.caps) == 0 {
			added = walk.Member(added, "max_output_tokens", walk.Number(edit.MaxOutputTokens))
		}
	}
	return newPath, m.splice(body, edits, added)
}

// NewReader implements wire.Codec.
func (Responses) NewReader(r *wire.Request, status int, header http.Header) wire.ResponseReader {
	return newReader(&responsesReading{}, r, status, header)
}

// Refuse implements wire.Codec.
func (Responses) Refuse(r wire.Refusal) (string, []byte) { return refuse(r) }
