// Package bedrock reads Amazon Bedrock's runtime API: Converse and InvokeModel,
// both also streamed, and CountTokens.
//
// Converse has one form for all models. What InvokeModel takes and returns is the
// model's own: families that are known here are read in full, of others
// the texts are counted and the headers tell the usage. The package refuses
// the OpenAI-compatible endpoints of Bedrock's hosts (package openai reads those),
// agents, knowledge bases and batch jobs.
package bedrock

import (
	"net/http"
	"net/url"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/anthropic"
	"keel/filter/wire/fields"
	"keel/pricing/tokens"
)

// codec is the wire.Codec of one operation.
type codec struct {
	api      wire.API
	task     tokens.Task
	streamed bool
}

var _ wire.Codec = new(codec)

var operations = map[string]*codec{
	"converse":                    {api: wire.BedrockConverse},
	"converse-stream":             {api: wire.BedrockStream, streamed: true},
	"invoke":                      {api: wire.BedrockInvoke},
	"invoke-with-response-stream": {api: wire.BedrockInvokeStream, streamed: true},
	"count-tokens":                {api: wire.BedrockCount, task: tokens.Count},
}

// Match returns the codec for a request line: /model/{id}/{operation}, below
// whatever prefix a gateway has. The paths are Bedrock's alone, so the provider is not asked.
func Match(_, method, path string) (wire.Codec, bool) {
	_, at, ok := model(path)
	if !ok || method != http.MethodPost {
		return nil, false
	}
	rest, _, _ := strings.Cut(path, "?")
	c, ok := operations[rest[at.End+1:]]
	return c, ok
}

// model finds the id in a path, still escaped, and where it stands. An ARN may
// come with its slashes unescaped.
func model(path string) (id string, at wire.Span, ok bool) {
	path, _, _ = strings.Cut(path, "?")
	const before = "/model/"
	start := strings.Index(path, before)
	end := strings.LastIndexByte(path, '/')
	if start < 0 || end <= start+len(before) {
		return "", at, false
	}
	at = wire.Span{Start: start + len(before), End: end}
	return path[at.Start:at.End], at, true
}

// API implements wire.Codec.
func (c *codec) API() wire.API { return c.api }

// ReadRequest implements wire.Codec.
func (c *codec) ReadRequest(path string, body []byte) (*wire.Request, error) {
	escaped, _, ok := model(path)
	id, err := url.PathUnescape(escaped)
	if !ok || err != nil || id == "" {
		return nil, &wire.RequestError{Field: "model", Reason: "is required: the path must be /model/{id}/{operation}"}
	}
	r := &wire.Request{API: c.api, Model: id, Stream: c.streamed, Choices: 1, Prompt: tokens.Prompt{Task: c.task}}
	if strings.Contains(id, ":prompt/") {
		fields.Hosted(&r.Prompt, "stored prompt")
	}
	switch c.api {
	case wire.BedrockConverse, wire.BedrockStream:
		err = readConverse(r, body)
	case wire.BedrockCount:
		err = readCount(r, body)
	default:
		err = readInvoke(r, body)
	}
	if err != nil {
		return nil, err
	}
	r.Stream = c.streamed // whatever the body says
	return r, nil
}

// Rewrite implements wire.Codec. The model stands in the path. A limit is set
// where the API or the model's family has a field for it; of an unknown family
// the body stays as it is.
func (c *codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	if edit.Model != "" && edit.Model != r.Model {
		if _, at, ok := model(path); ok {
			path = path[:at.Start] + url.PathEscape(edit.Model) + path[at.End:]
		}
	}
	if own, ok := ofClaude(r); ok {
		return path, anthropic.RewriteBody(own, body, edit)
	}
	return path, fields.Rewrite(r, body, edit)
}

// NewReader implements wire.Codec.
func (c *codec) NewReader(r *wire.Request, status int, header wire.Header) wire.ResponseReader {
	out := &reader{api: c.api, task: r.Prompt.Task, status: status}
	if own, ok := ofClaude(r); ok {
		out.claude = anthropic.NewMessage(own)
	}
	out.counts.readHeader(header)
	out.readTerms(header)
	return out
}
