// Package ollama reads Ollama's own API: chat, generate and embed, streamed as
// objects one a line unless the request says otherwise.
//
// It doesn't read what Ollama speaks of OpenAI's API (/v1), nor the management of
// models.
package ollama

import (
	"net/http"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// codec is the wire.Codec of one endpoint.
type codec struct {
	api  wire.API
	task tokens.Task
	form *fields.Form
	// streams: a request that says nothing is answered with a stream.
	streams bool
	member  func(p *tokens.Prompt, c *walk.Cursor, key []byte) error
}

var _ wire.Codec = new(codec)

var (
	generation = &fields.Form{Model: "model", Options: "options", Limit: "num_predict", Unlimited: unlimited}
	embedding  = &fields.Form{Model: "model"}

	chat     = &codec{api: wire.OllamaChat, form: generation, streams: true, member: readChat}
	generate = &codec{api: wire.OllamaGenerate, form: generation, streams: true, member: readGenerate}
	embed    = &codec{api: wire.OllamaEmbed, task: tokens.Embed, form: embedding, member: readEmbed}
)

// unlimited: -1 stands for no limit, and -2 for what the context has room for. 0 asks for
// nothing and is none either, as the model is run all the same.
func unlimited(n int64) bool { return n <= 0 }

// Match returns the codec for a request line, which may carry a prefix. No other
// provider has these paths, but a provider that is known to be another is believed.
func Match(provider, method, path string) (wire.Codec, bool) {
	path, _, _ = strings.Cut(path, "?")
	path = strings.TrimRight(path, "/")
	switch provider {
	case "", "ollama", "self-hosted":
	default:
		return nil, false
	}
	if method != http.MethodPost {
		return nil, false
	}
	switch i := strings.LastIndex(path, "/api/"); {
	case i < 0:
	case path[i:] == "/api/chat":
		return chat, true
	case path[i:] == "/api/generate":
		return generate, true
	case path[i:] == "/api/embed", path[i:] == "/api/embeddings": // the latter older, and without usage
		return embed, true
	}
	return nil, false
}

// API implements wire.Codec.
func (c *codec) API() wire.API { return c.api }

// ReadRequest implements wire.Codec.
func (c *codec) ReadRequest(_ string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: c.api, Stream: c.streams, Choices: 1, Prompt: tokens.Prompt{Task: c.task}}
	err := c.form.Read(r, body, func(cursor *walk.Cursor, key []byte) error {
		if string(key) == "stream" && c.streams && cursor.Kind() != 'n' {
			stream, err := cursor.Bool()
			r.Stream = stream
			return err
		}
		return c.member(&r.Prompt, cursor, key)
	}, nil)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Rewrite implements wire.Codec.
func (*codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	return path, fields.Rewrite(r, body, edit)
}

// Refuse implements wire.Codec.
func (*codec) Refuse(r wire.Refusal) (string, []byte) {
	body := walk.Member(nil, "error", walk.Quote(r.Message))
	body = walk.Member(body, "code", walk.Quote(r.Code))
	body = walk.Member(body, "keel", fields.Facts(r))
	return "application/json; charset=utf-8", append(walk.Object(body), '\n')
}
