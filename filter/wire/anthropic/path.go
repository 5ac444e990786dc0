package anthropic

import (
	"net/url"
	"strings"
)

// target is what a path says.
type target struct {
	operation string // what stands behind the version, with {id} for the id of a batch
	batch     string // that id

	// At Vertex AI the path names the model and the place, and the method rawPredict or
	// streamRawPredict stands for the operation messages.
	model      string // unescaped
	start, end int    // offsets of the model in the path
	location   string
	streamed   bool
}

const (
	publisher = "/publishers/anthropic/models/"
	// counter stands in the place of a model where Vertex AI counts tokens; the
	// model is in the body then (Google Cloud, Count tokens for Claude models).
	counter = "count-tokens"
)

func parsePath(provider, path string) (t target) {
	path, _, _ = strings.Cut(path, "?")
	if i := strings.Index(path, publisher); i >= 0 {
		return parseVertex(path, i+len(publisher))
	}
	path = strings.TrimSuffix(path, "/")
	const version = "/v1/"
	if i := strings.LastIndex(path, version); i >= 0 {
		t.operation = path[i+len(version):]
	} else if provider == "anthropic" {
		t.operation = strings.TrimPrefix(path, "/")
	}
	const batch = "messages/batches/"
	if id, ok := strings.CutPrefix(t.operation, batch); ok {
		id, action, _ := strings.Cut(id, "/")
		t.batch = id
		t.operation = strings.TrimSuffix(batch+"{id}/"+action, "/")
	}
	return t
}

// parseVertex reads a path whose model begins at start. Some clients escape the colon behind it.
func parseVertex(path string, start int) target {
	model, method, ok := strings.Cut(path[start:], ":")
	if !ok {
		if i := strings.LastIndex(strings.ToUpper(path[start:]), "%3A"); i >= 0 {
			model, method = path[start:start+i], path[start+i+len("%3A"):]
		}
	}
	t := target{operation: "messages", start: start, end: start + len(model), streamed: method == "streamRawPredict"}
	plain, err := url.PathUnescape(model)
	switch {
	case err != nil || plain == "" || strings.Contains(model, "/") || method != "rawPredict" && !t.streamed:
		return target{}
	case plain == counter:
		return target{operation: "messages/count_tokens"}
	}
	t.model = plain
	if _, after, ok := strings.Cut(path[:start], "/locations/"); ok {
		t.location, _, _ = strings.Cut(after, "/")
	}
	return t
}
