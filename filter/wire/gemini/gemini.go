// Package gemini reads the wire formats of Google's generateContent and
// streamGenerateContent, as the Gemini API and Vertex AI speak them. The model
// is in the path; a stream is a JSON array, or server-sent events with alt=sse.
//
// It refuses a body that says one thing in two casings, because the JSON of
// protocol buffers takes both and who wins is anybody's guess. It doesn't read
// countTokens, embedContent, batches or the live API.
package gemini

import (
	"net/http"
	"net/url"
	"strings"

	"keel/filter/wire"
)

// Codec is the wire.Codec of gemini.generateContent, or with Streamed of
// gemini.streamGenerateContent.
type Codec struct{ Streamed bool }

var _ wire.Codec = Codec{}

// API implements wire.Codec.
func (c Codec) API() wire.API {
	if c.Streamed {
		return wire.GeminiStream
	}
	return wire.GeminiGenerate
}

// Match returns the codec for a request line. path may carry a prefix, as
// behind gateways, and a query.
func Match(method, path string) (wire.Codec, bool) {
	t, ok := parsePath(path)
	if !ok || method != http.MethodPost {
		return nil, false
	}
	return Codec{Streamed: t.method == "streamGenerateContent"}, true
}

// target is the part of a path that names the model: models/{model}:method.
type target struct {
	model      string // unescaped; with its collection where that is not models: tunedModels/x
	method     string
	start, end int // offsets in the path of collection and model
}

func parsePath(path string) (t target, ok bool) {
	path, _, _ = strings.Cut(path, "?")
	colon := strings.LastIndexByte(path, ':')
	after := colon + 1
	if colon < 0 { // some clients escape it
		colon = strings.LastIndex(strings.ToUpper(path), "%3A")
		after = colon + len("%3A")
	}
	if colon < 0 {
		return target{}, false
	}
	t.method, t.end = path[after:], colon
	if t.method != "generateContent" && t.method != "streamGenerateContent" {
		return target{}, false
	}
	slash := strings.LastIndexByte(path[:colon], '/')
	if slash < 1 || slash+1 == colon {
		return target{}, false
	}
	t.start = strings.LastIndexByte(path[:slash], '/') + 1
	model, err := url.PathUnescape(path[t.start:t.end])
	if err != nil {
		return target{}, false
	}
	t.model = strings.TrimPrefix(model, "models/")
	return t, t.model != ""
}
