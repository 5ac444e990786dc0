package anthropic

import (
	"testing"

	"keel/filter/wire"
)

const (
	path            = "/v1/messages"
	batchPath       = "/v1/messages/batches"
	countPath       = "/v1/messages/count_tokens"
	vertex          = "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-5:streamRawPredict"
	vertexCountPath = "/v1/projects/p/locations/us-east5/publishers/anthropic/models/count-tokens:rawPredict"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		provider, method, path string
		want                   wire.API // "" for none
		codec                  *codec
	}{
		{"", "POST", path, wire.Anthropic, messages},
		{"", "POST", path + "/", wire.Anthropic, messages},
		{"anthropic", "POST", "/messages", wire.Anthropic, messages},
		{"pydantic-gateway", "POST", "/anthropic/v1/messages?beta=true", wire.Anthropic, messages},
		{"openrouter", "POST", "/api/v1/messages", wire.Anthropic, messages},
		{"vertex", "POST", vertex, wire.Anthropic, messages},
		{"", "POST", "/google-vertex/v1/projects/p/locations/global/publishers/anthropic/models/claude%40x%3ArawPredict", wire.Anthropic, messages},
		{"vertex", "POST", vertexCountPath, wire.AnthropicCount, countTokens},
		{"", "POST", countPath + "?beta=true", wire.AnthropicCount, countTokens},
		{"", "POST", batchPath, wire.AnthropicBatches, batches},
		{"", "GET", batchPath + "?limit=3", wire.AnthropicBatches, fetch},
		{"", "GET", batchPath + "/b", wire.AnthropicBatches, fetch},
		{"", "DELETE", batchPath + "/b", wire.AnthropicBatches, fetch},
		{"", "POST", batchPath + "/b/cancel", wire.AnthropicBatches, fetch},
		{"", "GET", batchPath + "/b/results", wire.AnthropicBatches, results},
		{"", "POST", "/v1/complete", wire.AnthropicComplete, complete},

		{"", "GET", path, "", nil},
		{"", "GET", vertex, "", nil},
		{"", "POST", batchPath + "/b", "", nil},
		{"", "GET", "/v1/messages/x/results", "", nil},
		{"", "POST", "/v1/messages/x", "", nil},
		{"", "POST", "/messages", "", nil},
		{"openai", "POST", "/v1/threads/t/messages", "", nil},
		{"", "POST", "/v1/complete/x", "", nil},
		{"", "POST", "/x?y=/v1/messages", "", nil},
		{"", "POST", "/publishers/anthropic/models/m:count", "", nil},
		{"", "POST", "/publishers/anthropic/models/:rawPredict", "", nil},
		{"", "POST", "/publishers/mistralai/models/m:rawPredict", "", nil},
		{"", "POST", "", "", nil},
	} {
		got, ok := Match(c.provider, c.method, c.path)
		if ok != (c.want != "") || ok && (got != wire.Codec(c.codec) || got.API() != c.want) {
			t.Errorf("%s %s %s: %v, %v", c.provider, c.method, c.path, got, ok)
		}
	}
}
