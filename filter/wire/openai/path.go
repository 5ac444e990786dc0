package openai

import (
	"net/url"
	"strings"

	"keel/filter/wire"
)

const azureDeployments = "/openai/deployments/"

// deployment returns where a path names the model, still escaped; the zero Span
// where it does not. Azure and watsonx go by the name of a deployment, Databricks by that of an
// endpoint and Vertex AI by its path, whatever model the body states.
func deployment(path string) wire.Span {
	path, _, _ = strings.Cut(path, "?")
	for _, in := range []struct{ before, after string }{
		{azureDeployments, ""},
		{"/serving-endpoints/", "/invocations"},
		{"/ml/v1/deployments/", "/text/"},
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
	if start, _ := rawPredict(path); start > 0 {
		return wire.Span{Start: start, End: start + strings.IndexAny(path[start:], ":%")}
	}
	return wire.Span{}
}

// rawPredict finds the model of another maker than Google and Anthropic in a path of Vertex AI:
// …/publishers/mistralai/models/{model}:rawPredict, or streamRawPredict. start is 0 where path is none.
func rawPredict(path string) (start int, method string) {
	const models = "/models/"
	i := strings.LastIndex(path, models)
	if i < 0 || !strings.Contains(path[:i], "/publishers/") || strings.HasSuffix(path[:i], "/anthropic") { // that is another format
		return 0, ""
	}
	model, method, ok := strings.Cut(path[i+len(models):], ":")
	if !ok {
		if at := strings.LastIndex(strings.ToUpper(path), "%3A"); at > i {
			model, method = path[i+len(models):at], path[at+len("%3A"):]
		}
	}
	if model == "" || strings.ContainsAny(model, "/%") || method != "rawPredict" && method != "streamRawPredict" {
		return 0, ""
	}
	return i + len(models), method
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
