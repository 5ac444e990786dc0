package openai

import (
	"net/url"
	"strings"

	"keel/filter/wire"
)

// Match returns the codec for a request line. Hosts put their own prefix in
// front of the path (/v1, /api/v1, /openai/v1, /openai/deployments/x, none at
// all), so only its end counts. What has more behind it, such as
// /responses/{id}/cancel, is another API.
func Match(method, path string) (wire.Codec, bool) {
	if method != "POST" {
		return nil, false
	}
	path, _, _ = strings.Cut(path, "?")
	switch {
	case strings.HasSuffix(path, "/chat/completions"):
		return Chat{}, true
	case strings.HasSuffix(path, "/responses"):
		return Responses{}, true
	}
	return nil, false
}

const deployments = "/openai/deployments/"

// deployment returns where the name of an Azure deployment stands in path, still
// escaped; the zero Span where there is none. Azure goes by that name and not
// by a model in the body.
func deployment(path string) wire.Span {
	path, _, _ = strings.Cut(path, "?")
	i := strings.Index(path, deployments)
	if i < 0 {
		return wire.Span{}
	}
	start := i + len(deployments)
	n := strings.IndexByte(path[start:], '/')
	if n <= 0 {
		return wire.Span{}
	}
	return wire.Span{Start: start, End: start + n}
}

// deploymentName is the name that stands at span in path.
func deploymentName(path string, span wire.Span) (string, error) {
	name, err := url.PathUnescape(path[span.Start:span.End])
	if err != nil {
		return "", &wire.RequestError{Field: "model", Reason: "the deployment in the path is badly escaped"}
	}
	return name, nil
}
