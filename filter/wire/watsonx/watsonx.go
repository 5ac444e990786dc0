// Package watsonx reads text generation at IBM watsonx.ai, streamed or not.
//
// It doesn't read chat, embeddings and ranks there, which are of OpenAI's format.
package watsonx

import (
	"net/http"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// codec is the wire.Codec of watsonx.generate.
type codec struct{ streamed bool }

var _ wire.Codec = codec{}

// The model of a deployment stands in no request; it is its path that says
// which it is.
var (
	byName       = &fields.Form{Model: "model_id", Options: "parameters", Limit: "max_new_tokens"}
	byDeployment = &fields.Form{Options: "parameters", Limit: "max_new_tokens", Nameless: true}
)

// Match returns the codec for a request line. All paths are below /ml/, which no
// other provider has.
func Match(provider, method, path string) (wire.Codec, bool) {
	path, _, _ = strings.Cut(path, "?")
	_, resource, below := strings.Cut(path, "/ml/")
	if method != http.MethodPost || !below || provider != "" && provider != "watsonx" {
		return nil, false
	}
	switch {
	case strings.HasSuffix(resource, "/text/generation"), strings.HasSuffix(resource, "/generation/text"): // the latter v1-beta
		return codec{}, true
	case strings.HasSuffix(resource, "/text/generation_stream"), strings.HasSuffix(resource, "/generation/text_stream"):
		return codec{streamed: true}, true
	}
	return nil, false
}

// deployment is the name of the deployment in a path, "" where there is none.
func deployment(path string) string {
	_, rest, _ := strings.Cut(path, "/deployments/")
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// API implements wire.Codec.
func (codec) API() wire.API { return wire.WatsonxGenerate }

// ReadRequest implements wire.Codec.
func (c codec) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: wire.WatsonxGenerate, Stream: c.streamed, Choices: 1}
	form := byName
	if name := deployment(path); name != "" {
		form, r.Model = byDeployment, "deployment/"+name
	}
	err := form.Read(r, body, func(c *walk.Cursor, key []byte) error {
		if string(key) != "input" {
			return nil
		}
		r.Prompt.Messages++
		return c.Segment(&r.Prompt, tokens.Text)
	}, nil)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Rewrite implements wire.Codec. Where a deployment says which model it is, it
// can't be changed.
func (codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	return path, fields.Rewrite(r, body, edit)
}

// Refuse implements wire.Codec.
func (codec) Refuse(r wire.Refusal) (string, []byte) {
	e := walk.Member(nil, "code", walk.Quote(r.Code))
	e = walk.Member(e, "message", walk.Quote(r.Message))
	body := walk.Member(nil, "errors", append(append([]byte{'['}, walk.Object(e)...), ']'))
	body = walk.Member(body, "trace", walk.Quote(r.DecisionID))
	body = walk.Member(body, "status_code", walk.Number(int64(r.Status)))
	body = walk.Member(body, "keel", fields.Facts(r))
	return "application/json", append(walk.Object(body), '\n')
}
