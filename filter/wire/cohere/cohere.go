// Package cohere reads Cohere's own API: chat in its first version (objects one a line)
// and second (server-sent events), generate, embed, rerank and transcriptions.
//
// Cohere counts everything that came in and bills a part of it; both are kept.
// It doesn't read what Bedrock makes of Cohere's models, nor tokenize, classify
// and summarize.
package cohere

import (
	"net/http"
	"slices"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// codec is the wire.Codec of one endpoint with a JSON body.
type codec struct {
	api    wire.API
	task   tokens.Task
	form   *fields.Form
	member func(r *wire.Request, c *walk.Cursor, key []byte) error
}

var _ wire.Codec = new(codec)

// In the first version the model may be left to Cohere.
var (
	writes1 = &fields.Form{Model: "model", Nameless: true, Stream: "stream", Limit: "max_tokens"}
	writes2 = &fields.Form{Model: "model", Stream: "stream", Limit: "max_tokens"}
	ranks   = &fields.Form{Model: "model", Nameless: true}

	chat1    = &codec{api: wire.CohereChat, form: writes1, member: readChat1}
	chat2    = &codec{api: wire.CohereChat, form: writes2, member: readChat2}
	generate = &codec{api: wire.CohereGenerate, form: writes1, member: readGenerate}
	embed    = &codec{api: wire.CohereEmbed, task: tokens.Embed, form: ranks, member: readEmbed}
	rerank   = &codec{api: wire.CohereRerank, task: tokens.Rerank, form: ranks, member: readRerank}
)

// Match returns the codec for a request line. Most paths are used by others too (Writer has
// /v1/chat, many have /rerank), so without a provider only those count that
// are Cohere's alone, and those below a folder of that name, as gateways have.
func Match(provider, method, path string) (wire.Codec, bool) {
	path, _, _ = strings.Cut(path, "?")
	at := strings.Split(strings.Trim(path, "/"), "/")
	known := provider == "cohere" || slices.Contains(at, "cohere")
	if method != http.MethodPost || len(at) < 2 || !known && provider != "" && provider != "azure" { // Azure hosts Cohere's models
		return nil, false
	}
	version, resource := at[len(at)-2], at[len(at)-1]
	switch {
	case resource == "chat" && version == "v2":
		return chat2, true
	case resource == "embed" && version == "v2":
		return embed, true
	case !known:
	case resource == "chat" && version == "v1":
		return chat1, true
	case resource == "generate" && version == "v1":
		return generate, true
	case resource == "embed" && version == "v1":
		return embed, true
	case resource == "rerank" && (version == "v1" || version == "v2"):
		return rerank, true
	case resource == "transcriptions" && version == "audio":
		return audio{}, true
	}
	return nil, false
}

// API implements wire.Codec.
func (c *codec) API() wire.API { return c.api }

// ReadRequest implements wire.Codec.
func (c *codec) ReadRequest(_ string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: c.api, Choices: 1, Prompt: tokens.Prompt{Task: c.task}}
	err := c.form.Read(r, body, func(cursor *walk.Cursor, key []byte) error { return c.member(r, cursor, key) }, nil)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Rewrite implements wire.Codec.
func (*codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	return path, fields.Rewrite(r, body, edit)
}

// NewReader implements wire.Codec.
func (c *codec) NewReader(_ *wire.Request, status int, _ wire.Header) wire.ResponseReader {
	return &reader{task: c.task, status: status}
}

// Refuse implements wire.Codec.
func (*codec) Refuse(r wire.Refusal) (string, []byte) { return refuse(r) }

func refuse(r wire.Refusal) (string, []byte) {
	body := walk.Member(nil, "id", walk.Quote(r.DecisionID))
	body = walk.Member(body, "message", walk.Quote(r.Message))
	body = walk.Member(body, "error_type", walk.Quote(r.Code))
	body = walk.Member(body, "keel", fields.Facts(r))
	return "application/json", append(walk.Object(body), '\n')
}
