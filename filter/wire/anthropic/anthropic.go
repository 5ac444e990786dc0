// Package anthropic reads Anthropic's own wire formats, as Anthropic, Vertex AI
// and gateways speak them: messages, the counting of their tokens, batches of
// them with their results, and the older complete.
//
// It refuses to judge what the provider will judge: a request without
// max_tokens or with an unknown block passes, and only what Keel has to know
// (model, limits) must be readable. It doesn't read files, skills, models and
// the administration API, which use no tokens. Hosted code execution is billed by the
// time of its container, of which no response tells (Anthropic, Pricing: code
// execution tool).
package anthropic

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// A codec is the wire.Codec of one operation.
type codec struct {
	api   wire.API
	task  tokens.Task
	limit string // what the limit on output is called; "" where there is none

	// member makes what reads the members of a request body; nil where a body
	// asks for nothing, because the call fetches what an earlier one left.
	member func(r *request) func(c *walk.Cursor, key []byte) error
	// document reads a member of a response object, of which a stream has many.
	document func(m *Message, c *walk.Cursor, key []byte) error
}

var _ wire.Codec = new(codec)

const (
	maxTokens = "max_tokens"
	maxSample = "max_tokens_to_sample" // of complete
)

var (
	messages    = &codec{api: wire.Anthropic, limit: maxTokens, member: (*request).message, document: readMessage}
	countTokens = &codec{api: wire.AnthropicCount, task: tokens.Count, member: (*request).message, document: readCount}
	complete    = &codec{api: wire.AnthropicComplete, limit: maxSample, member: (*request).message, document: readCompletion}
	batches     = &codec{api: wire.AnthropicBatches, limit: maxTokens, member: (*request).batch, document: readBatch}
	fetch       = &codec{api: wire.AnthropicBatches, task: tokens.Retrieve, document: readBatch} // the state of a batch, or its end
	results     = &codec{api: wire.AnthropicBatches, task: tokens.Retrieve, document: readResult}
)

// API implements wire.Codec.
func (c *codec) API() wire.API { return c.api }

// Match returns the codec for a request line. path may carry a prefix, as
// behind gateways, and a query. The paths are Anthropic's alone, but without a version
// only where provider is anthropic.
func Match(provider, method, path string) (wire.Codec, bool) {
	if c := match(provider, method, path); c != nil {
		return c, true
	}
	return nil, false
}

func match(provider, method, path string) *codec {
	t := parsePath(provider, path)
	switch method + " " + t.operation {
	case "POST messages":
		return messages
	case "POST messages/count_tokens":
		return countTokens
	case "POST complete":
		return complete
	case "POST messages/batches":
		return batches
	case "GET messages/batches", "GET messages/batches/{id}", "DELETE messages/batches/{id}", "POST messages/batches/{id}/cancel":
		return fetch
	case "GET messages/batches/{id}/results":
		return results
	}
	return nil
}
