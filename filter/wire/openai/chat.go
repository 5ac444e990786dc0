package openai

import (
	"net/http"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// Chat is the codec of Chat Completions.
type Chat struct{}

// API implements wire.Codec.
func (Chat) API() wire.API { return wire.OpenAIChat }

// ReadRequest implements wire.Codec. The model is the Azure deployment of the
// path where there is one, since Azure goes by that whatever the body says.
func (Chat) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := &request{Request: wire.Request{API: wire.OpenAIChat}}
	return r.read(path, body, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "messages":
			return items(c, &r.Prompt)
		case "max_tokens", "max_completion_tokens":
			return r.readCap(c)
		case "n":
			return r.readChoices(c)
		case "stream_options":
			return r.readStreamOptions(c)
		case "response_format":
			return schema(c, &r.Prompt)
		case "web_search_options", "search_parameters", "plugins": // OpenAI, xAI, OpenRouter
			return present(c, &r.Prompt, string(key))
		}
		return nil
	})
}

// Rewrite implements wire.Codec. A limit that stands is lowered under its own
// name, both if both stand. Where none does, one is added: as
// max_completion_tokens for models of OpenAI, whose newer ones refuse
// max_tokens, and as max_tokens for all others, of which some do not know the
// newer name.
func (Chat) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	m, ok := r.Marks.(*marks)
	if !ok {
		return path, body
	}
	newPath, edits, added := m.rename(path, edit.Model)
	if edit.MaxOutputTokens > 0 {
		edits = append(edits, m.lower(edit.MaxOutputTokens)...)
		if len(m.caps) == 0 {
			model := r.Model
			if edit.Model != "" {
				model = edit.Model
			}
			added = walk.Member(added, capName(model, m.deployment.Len() > 0), walk.Number(edit.MaxOutputTokens))
		}
	}
	if edit.ForceUsage && r.Stream && !r.WantsUsage {
		switch {
		case m.includeUsage.Len() > 0:
			edits = append(edits, walk.Replacement{At: m.includeUsage, With: []byte("true")})
		case m.optionsNull:
			edits = append(edits, walk.Replacement{At: m.streamOptions, With: []byte(`{"include_usage":true}`)})
		case m.streamOptions.Len() > 0:
			edits = append(edits, walk.Insert(body, m.streamOptions, walk.Member(nil, "include_usage", []byte("true"))))
		default:
			added = walk.Member(added, "stream_options", []byte(`{"include_usage":true}`))
		}
	}
	return newPath, m.splice(body, edits, added)
}

// NewReader implements wire.Codec.
func (Chat) NewReader(r *wire.Request, status int, header http.Header) wire.ResponseReader {
	return newReader(&chatReading{choices: r.Choices}, r, status, header)
}

// Refuse implements wire.Codec.
func (Chat) Refuse(r wire.Refusal) (string, []byte) { return refuse(r) }

// capName is the name under which model takes a limit that the request does
// not state.
func capName(model string, azure bool) string {
	name := strings.TrimPrefix(model, "openai/")
	for _, family := range []string{"gpt-", "chatgpt-", "o1", "o3", "o4", "codex-", "ft:"} {
		if azure || strings.HasPrefix(name, family) && !strings.HasPrefix(name, "gpt-oss") {
			return "max_completion_tokens"
		}
	}
	return "max_tokens"
}
