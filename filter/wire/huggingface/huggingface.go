// Package huggingface reads text generation as Hugging Face's Text Generation
// Inference speaks it, at the inference API and on servers of one's own.
//
// It doesn't read the router's /v1, which is OpenAI's format, nor tasks other than
// generation: they tell no usage.
package huggingface

import (
	"net/http"
	"net/url"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// codec is the wire.Codec of huggingface.generate.
type codec struct{ streamed bool }

var _ wire.Codec = codec{}

// form: the model is in the path, or is the one that the server has.
var form = &fields.Form{Stream: "stream", Options: "parameters", Limit: "max_new_tokens", Nameless: true}

// Match returns the codec for a request line. Without a provider it is known by
// paths that nobody else has: /generate_stream, and below /hf-inference/.
func Match(provider, method, path string) (wire.Codec, bool) {
	path, _, _ = strings.Cut(path, "?")
	path = strings.TrimRight(path, "/")
	switch provider {
	case "", "huggingface", "self-hosted":
	default:
		return nil, false
	}
	switch {
	case method != http.MethodPost:
	case strings.HasSuffix(path, "/generate_stream"):
		return codec{streamed: true}, true
	case provider == "huggingface" && (path == "" || path == "/generate"),
		model(path) != "" && (provider == "huggingface" || strings.Contains(path, "/hf-inference/")):
		return codec{}, true
	}
	return nil, false
}

// modelSpan is where a path names the model: behind /models/, up to an operation
// or query behind it. Both are 0 where it names none.
func modelSpan(path string) (start, end int) {
	path, _, _ = strings.Cut(path, "?")
	head, name, found := strings.Cut(path, "/models/")
	if !found {
		return 0, 0
	}
	name = strings.TrimRight(name, "/")
	name = strings.TrimSuffix(strings.TrimSuffix(name, "/generate_stream"), "/generate")
	if name == "" || strings.Count(name, "/") > 1 {
		return 0, 0
	}
	start = len(head) + len("/models/")
	return start, start + len(name)
}

// model is the model that a path names, "" for none.
func model(path string) string {
	start, end := modelSpan(path)
	name, err := url.PathUnescape(path[start:end])
	if err != nil {
		return ""
	}
	return name
}

// API implements wire.Codec.
func (codec) API() wire.API { return wire.HuggingFace }

// ReadRequest implements wire.Codec.
func (c codec) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: wire.HuggingFace, Model: model(path), Stream: c.streamed, Choices: 1}
	err := form.Read(r, body, func(c *walk.Cursor, key []byte) error {
		if string(key) != "inputs" {
			return nil
		}
		if c.Kind() == '[' {
			return c.Array(func() error { return input(&r.Prompt, c) })
		}
		return input(&r.Prompt, c)
	}, func(c *walk.Cursor, key []byte) error {
		if string(key) != "best_of" && string(key) != "num_return_sequences" {
			return nil
		}
		n, ok, err := c.Int()
		if ok && n >= 1 && n <= maxChoices {
			r.Choices = max(r.Choices, n)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r.Stream = r.Stream || c.streamed
	return r, nil
}

// maxChoices is more than any server makes at once.
const maxChoices = 128

func input(p *tokens.Prompt, c *walk.Cursor) error {
	p.Messages++
	return c.Segment(p, tokens.Text)
}

// Rewrite implements wire.Codec. The model is replaced in a path that names it.
func (codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	if start, end := modelSpan(path); edit.Model != "" && edit.Model != r.Model && end > start {
		organisation, name, two := strings.Cut(edit.Model, "/")
		escaped := url.PathEscape(organisation)
		if two {
			escaped += "/" + url.PathEscape(name)
		}
		path = path[:start] + escaped + path[end:]
	}
	return path, fields.Rewrite(r, body, edit)
}

// Refuse implements wire.Codec.
func (codec) Refuse(r wire.Refusal) (string, []byte) {
	body := walk.Member(nil, "error", walk.Quote(r.Message))
	body = walk.Member(body, "error_type", walk.Quote(r.Code))
	body = walk.Member(body, "keel", fields.Facts(r))
	return "application/json", append(walk.Object(body), '\n')
}
