package openai

import (
	"net/url"
	"strings"

	"keel/filter/wire"
)

const azureDeployments = "/openai/deployments/"

// deployment returns where a path names the model, still escaped; the zero Span
// where it does not. Azure goes by the name of a deployment and Databricks by that of an
// endpoint, whatever model the body states.
func deployment(path string) wire.Span {
	path, _, _ = strings.Cut(path, "?")
	for _, in := range []struct{ before, after string }{
		{azureDeployments, ""},
		{"/serving-endpoints/", "/invocations"},
	} {
		i := strings.Index(path, in.before)
		if i < 0 {
			continue
		}
		start := i + len(in.before)
		n := strings.IndexByte(path[start:], '/')
		if n > 0 && strings.HasPrefix(path[start+n:], in.after) {
			return wire.Span{Start: start, End: start + n}
		}
	}
	return wire.Span{}
}

// deploymentName is the name that stands at span in path.
func deploymentName(path string, span wire.Span) (string, error) {
	name, err := url.PathUnescape(path[span.Start:span.End])
	if err != nil {
		return "", &wire.RequestError{Field: "model", Reason: "the deployment in the path is badly escaped"}
	}
	return name, nil
}

// storedPrompt is the id of a prompt that the path names (Portkey), "" where it names none.
func storedPrompt(path string) string {
	path, _, _ = strings.Cut(path, "?")
	_, rest, found := strings.Cut(path, "/prompts/")
	id, completions := strings.CutSuffix(rest, "/completions")
	if !found || !completions || strings.Contains(id, "/") {
		return ""
	}
	return id
}

// asksStream reports whether the query asks for a stream.
func asksStream(path string) bool {
	_, query, _ := strings.Cut(path, "?")
	values, _ := url.ParseQuery(query) // what is broken in it asks for nothing
	return values.Get("stream") == "true"
}
