// Package anthropic reads the wire format of Anthropic's messages API, as
// Anthropic, Vertex AI and gateways speak it: POST …/v1/messages, and
// …/publishers/anthropic/models/{model}:rawPredict at Vertex AI.
//
// It refuses to judge what the provider will judge: a request without
// max_tokens or with an unknown block passes, and only what Keel has to know
// (model, limits) must be readable. It doesn't read message batches, which are
// priced otherwise and answer much later, nor count_tokens, which is free.
package anthropic

import (
	"net/http"
	"net/url"
	"strings"

	"keel/filter/wire"
)

// Codec is the wire.Codec of anthropic.messages.
type Codec struct{}

var _ wire.Codec = Codec{}

// API implements wire.Codec.
func (Codec) API() wire.API { return wire.Anthropic }

// Match returns the codec for a request line. path may carry a prefix, as
// behind gateways, and a query; what has more behind it, such as
// /v1/messages/count_tokens, is another API.
func Match(method, path string) (wire.Codec, bool) {
	if method != http.MethodPost {
		return nil, false
	}
	path, _, _ = strings.Cut(path, "?")
	if _, _, ok := pathModel(path); ok || strings.HasSuffix(path, "/v1/messages") {
		return Codec{}, true
	}
	return nil, false
}

const publisher = "/publishers/anthropic/models/"

// pathModel finds the model in a Vertex AI path: where it stands and ends.
func pathModel(path string) (start, end int, ok bool) {
	path, _, _ = strings.Cut(path, "?")
	start = strings.Index(path, publisher)
	if start < 0 {
		return 0, 0, false
	}
	start += len(publisher)
	model, method, _ := strings.Cut(path[start:], ":")
	if model == "" || strings.Contains(model, "/") || method != "rawPredict" && method != "streamRawPredict" {
		return 0, 0, false
	}
	return start, start + len(model), true
}

// modelOf returns the model that a path names, "" if none.
func modelOf(path string) string {
	start, end, ok := pathModel(path)
	if !ok {
		return ""
	}
	model, err := url.PathUnescape(path[start:end])
	if err != nil {
		return path[start:end]
	}
	return model
}
