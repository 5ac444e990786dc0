package openai

import (
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// Chat is the codec of Chat Completions. The zero Chat is that of OpenAI.
type Chat struct {
	// unmarked: the host ends its streams with the usage chunk and sends no
	// [DONE] (Writer).
	unmarked bool
	// unasked: the host tells usage in streams without being asked, so nothing is
	// added to ask for it: a host that does not know the field could refuse it.
	unasked bool
	// watsonx: the model is called model_id, and the path says whether the answer is a stream.
	watsonx bool
	// agent: the request names an agent that is kept at the provider, and no model (Mistral).
	agent bool
}

// API implements wire.Codec.
func (Chat) API() wire.API { return wire.OpenAIChat }

// ReadRequest implements wire.Codec. The model is the Azure deployment of the
// path where there is one, since Azure goes by that whatever the body says.
func (h Chat) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := newRequest(wire.OpenAIChat, tokens.Generate)
	if id := storedPrompt(path); id != "" {
		r.marks.storedPrompt = id
		hosted(&r.Prompt, "stored prompt")
	}
	if h.watsonx {
		r.modelKey = "model_id"
		r.Stream = strings.Contains(path, "/chat_stream")
	}
	if r.nameless = h.agent; h.agent {
		hosted(&r.Prompt, "agent")
	}
	return r.read(path, body, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "messages":
			return items(c, &r.Prompt)
		case "variables": // of a stored prompt
			return content(c, &r.Prompt, tokens.Text)
		case "max_tokens", "max_completion_tokens":
			return r.readCap(c)
		case "n":
			return r.readChoices(c)
		case "stream_options":
			return r.readStreamOptions(c)
		case "response_format":
			return schema(c, &r.Prompt)
		case "tools", "functions":
			return tools(c, &r.Prompt, nil)
		case "tool_choice", "function_call":
			return toolChoice(c, &r.Prompt)
		case "web_search_options", "search_parameters", "plugins": // OpenAI and Perplexity, xAI, OpenRouter
			return r.readSearch(c, string(key))
		}
		_, err := r.readThinking(c, key)
		return err
	})
}

// Rewrite implements wire.Codec. A limit that stands is lowered under its own
// name, both if both stand. Where none does, one is added: as
// max_completion_tokens for models of OpenAI, whose newer ones refuse
// max_tokens, and as max_tokens for all others, of which some do not know the
// newer name.
func (h Chat) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	m, ok := r.Marks.(*marks)
	if !ok {
		return path, body
	}
	edit.ForceUsage = edit.ForceUsage && !h.unasked
	if h.agent {
		edit.Model = "" // the agent has it
	}
	model := r.Model
	if edit.Model != "" {
		model = edit.Model
	}
	name := capName(model, strings.Contains(path, azureDeployments))
	return m.rewrite(r, path, body, edit, name, edit.MaxOutputTokens)
}

// NewReader implements wire.Codec.
func (h Chat) NewReader(r *wire.Request, status int, header wire.Header) wire.ResponseReader {
	return newReader(&chatReading{choices: r.Choices, unmarked: h.unmarked}, r, status, header)
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
