// Package gemini reads Google's own wire formats, as the Gemini API and Vertex
// AI speak them: generateContent and streamGenerateContent (a JSON array, or
// server-sent events with alt=sse), countTokens, embeddings, predict, explicit
// caches, interactions and batches. Where the model is in the path, it is
// changed there.
//
// It refuses a body that says one thing in two casings, because the JSON of
// protocol buffers takes both and who wins is anybody's guess. It doesn't read
// the live API, nor what other companies' models speak on Vertex AI (rawPredict).
package gemini

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// A codec is the wire.Codec of one method.
type codec struct {
	api        wire.API
	task       tokens.Task
	method     string // behind the colon of the path, "" for resources
	streamed   bool
	background bool
	nameless   bool // the path names no model
	fetches    bool // without a body: fetches what an earlier call made

	// member makes what reads the members of a request body.
	member func(r *request) func(c *walk.Cursor, key []byte) error
	// document reads a response object. More than one comes in a stream.
	document func(r *reader, c *walk.Cursor, key []byte) error
}

var _ wire.Codec = new(codec)

// API implements wire.Codec.
func (c *codec) API() wire.API { return c.api }

// methods are what stands behind the colon of a path that names a model.
var methods = byMethod(
	&codec{api: wire.GeminiGenerate, method: "generateContent", member: (*request).generate, document: readGenerate},
	&codec{api: wire.GeminiStream, method: "streamGenerateContent", streamed: true, member: (*request).generate, document: readGenerate},
	&codec{api: wire.GeminiCount, task: tokens.Count, method: "countTokens", member: (*request).countTokens, document: readCount},
	&codec{api: wire.GeminiEmbed, task: tokens.Embed, method: "embedContent", member: (*request).embed, document: readEmbed},
	&codec{api: wire.GeminiEmbed, task: tokens.Embed, method: "batchEmbedContents", member: (*request).embed, document: readEmbed},
	&codec{api: wire.GeminiBatch, method: "batchGenerateContent", background: true, member: (*request).batch, document: readBatch},
	&codec{api: wire.GeminiBatch, task: tokens.Embed, method: "asyncBatchEmbedContent", background: true, member: (*request).batch, document: readBatch},
	&codec{api: wire.VertexPredict, method: "predict", member: (*request).predict, document: readPredict},
	&codec{api: wire.VertexPredict, method: "predictLongRunning", background: true, member: (*request).predict, document: readPredict},
)

func byMethod(codecs ...*codec) map[string]*codec {
	m := make(map[string]*codec, len(codecs))
	for _, c := range codecs {
		m[c.method] = c
	}
	return m
}

// What has a path without a model.
var (
	caches           = &codec{api: wire.GeminiCache, task: tokens.Store, nameless: true, member: (*request).generate, document: readCache}
	interactions     = &codec{api: wire.GeminiInteractions, nameless: true, member: (*request).interactions, document: readInteraction}
	fetchInteraction = &codec{api: wire.GeminiInteractions, task: tokens.Retrieve, fetches: true, document: readInteraction}
	fetchCache       = &codec{api: wire.GeminiCache, task: tokens.Retrieve, fetches: true, document: readKept}
	fetchBatch       = &codec{api: wire.GeminiBatch, task: tokens.Retrieve, fetches: true, document: readBatch}
)

// Match returns the codec for a request line. path may carry a prefix, as
// behind gateways, and a query. provider is the known name of the host or "";
// without one, interactions and batches are Google's under its versions alone
// (OpenAI's batches are at /v1/batches).
func Match(provider, method, path string) (wire.Codec, bool) {
	if c := match(provider, method, path); c != nil {
		return c, true
	}
	return nil, false
}

func match(provider, method, path string) *codec {
	t, ok := parsePath(path)
	path, _, _ = strings.Cut(path, "?")
	at := strings.Split(strings.Trim(path, "/"), "/")
	if c := methods[t.method]; ok && c != nil {
		switch {
		case method != http.MethodPost,
			c.api == wire.VertexPredict && !slices.Contains(at, "publishers") && !googles(provider, at[:max(len(at)-2, 0)]):
			return nil // TensorFlow Serving has :predict too
		}
		return c
	}
	n := len(at)
	switch {
	case method == http.MethodPost && at[n-1] == "cachedContents":
		return caches
	case method == http.MethodPost && at[n-1] == "interactions" && googles(provider, at[:n-1]):
		return interactions
	case n < 2:
	case (method == http.MethodGet || method == http.MethodPatch) && at[n-2] == "cachedContents":
		return fetchCache
	case method == http.MethodGet && at[n-2] == "interactions" && googles(provider, at[:n-2]),
		method == http.MethodPost && n > 2 && at[n-3] == "interactions" && at[n-1] == "cancel" && googles(provider, at[:n-3]):
		return fetchInteraction
	case method == http.MethodGet && at[n-2] == "batches" && googles(provider, at[:n-2]):
		return fetchBatch
	}
	return nil
}

// googles reports whether a resource below parent is Google's.
func googles(provider string, parent []string) bool {
	if provider == "google" || provider == "vertex" {
		return true
	}
	if provider != "" || len(parent) == 0 {
		return false
	}
	switch version := parent[len(parent)-1]; version {
	case "v1beta", "v1alpha", "v1beta1":
		return true
	}
	return len(parent) > 1 && parent[len(parent)-2] == "locations"
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
	slash := strings.LastIndexByte(path[:colon], '/')
	if slash < 1 || slash+1 == colon {
		return target{}, false
	}
	t.start = strings.LastIndexByte(path[:slash], '/') + 1
	model, err := url.PathUnescape(path[t.start:t.end])
	if err != nil {
		return target{}, false
	}
	t.model = modelName(model)
	return t, t.model != ""
}

// modelName is a model without the collection models and what stands before
// that: projects/p/locations/l/publishers/google/models/x is x.
func modelName(resource string) string {
	if model, ok := strings.CutPrefix(resource, "models/"); ok {
		return model
	}
	if i := strings.LastIndex(resource, "/models/"); i >= 0 {
		return resource[i+len("/models/"):]
	}
	return resource
}
