package gemini

import (
	"net/http"
	"strings"
	"testing"

	"keel/filter/wire"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ provider, method, path, api, model string }{
		{"", "POST", path, "gemini.generateContent", "gemini-2.5-flash"},
		{"openai", "POST", path, "gemini.generateContent", "gemini-2.5-flash"}, // a proxy of somebody else's name
		{"", "GET", path, "", ""},
		{"", "POST", "/v1/models/gemini-3-pro:streamGenerateContent?alt=sse", "gemini.streamGenerateContent", "gemini-3-pro"},
		{"", "POST", "/v1beta1/projects/p/locations/global/publishers/google/models/gemini-2.5-pro:generateContent", "gemini.generateContent", "gemini-2.5-pro"},
		{"", "POST", "/gateway/v1beta/tunedModels/mine:generateContent", "gemini.generateContent", "tunedModels/mine"},
		{"", "POST", "/v1beta/models/gemini-2.5-flash%3AgenerateContent", "gemini.generateContent", "gemini-2.5-flash"},
		{"", "POST", "/v1beta/models/a%20b:generateContent", "gemini.generateContent", "a b"},
		{"vertex", "POST", "/v1/projects/domain.com:p/locations/l/endpoints/77:generateContent", "gemini.generateContent", "endpoints/77"},
		{"", "POST", "/v1beta/models/gemini-2.5-flash:countTokens", "gemini.countTokens", "gemini-2.5-flash"},
		{"", "POST", "/v1beta/models/gemini-embedding-001:batchEmbedContents", "gemini.embedContent", "gemini-embedding-001"},
		{"", "POST", "/v1beta/models/gemini-embedding-001:embedContent", "gemini.embedContent", "gemini-embedding-001"},
		{"", "POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent", "gemini.batchGenerateContent", "gemini-2.5-flash"},
		{"", "POST", "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict", "vertex.predict", "text-embedding-005"},
		{"google", "POST", "/v1beta/models/imagen-4.0-generate-001:predict", "vertex.predict", "imagen-4.0-generate-001"},
		{"", "POST", "/v1beta/models/veo-3.1-generate-preview:predictLongRunning", "vertex.predict", "veo-3.1-generate-preview"},
		{"", "POST", "/v1/models/mine:predict", "", ""}, // TensorFlow Serving
		{"", "POST", "/v1beta/cachedContents", "gemini.cachedContents", "m"},
		{"", "POST", "/v1beta1/projects/domain.com:p/locations/l/cachedContents", "gemini.cachedContents", "m"},
		{"", "GET", "/v1beta/cachedContents", "", ""},
		{"", "POST", "/v1beta/interactions", "gemini.interactions", "m"},
		{"vertex", "POST", "/v1beta1/projects/p/locations/l/interactions", "gemini.interactions", "m"},
		{"", "POST", "/v1/interactions", "", ""},
		{"openai", "POST", "/v1beta/interactions", "", ""},
		{"", "GET", "/v1beta/interactions/v1_x?stream=true", "gemini.interactions", ""},
		{"", "POST", "/v1beta/interactions/v1_x/cancel", "gemini.interactions", ""},
		{"", "GET", "/v1beta/batches/b", "gemini.batchGenerateContent", ""},
		{"", "GET", "/v1/batches/b", "", ""}, // OpenAI
		{"google", "GET", "/v1/batches/b", "gemini.batchGenerateContent", ""},
		{"", "POST", "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict", "", ""},
		{"", "POST", "/v1beta/models/gemini-2.5-flash", "", ""},
		{"", "POST", "/v1beta/models/:generateContent", "", ""},
		{"", "POST", "/x?y=/models/m:generateContent", "", ""},
		{"", "POST", ":generateContent", "", ""},
		{"", "POST", "/models/%zz:generateContent", "", ""},
		{"", "POST", "/", "", ""},
		{"", "POST", "", "", ""},
	} {
		codec, ok := Match(c.provider, c.method, c.path)
		if ok != (c.api != "") || ok && string(codec.API()) != c.api {
			t.Errorf("%s %s of %q: %v %v", c.method, c.path, c.provider, codec, ok)
			continue
		}
		if !ok {
			continue
		}
		body := `{}`
		if c.model == "m" {
			body = `{"model":"models/m"}`
		}
		r, err := codec.ReadRequest(c.path, []byte(body))
		if err != nil || r.Model != c.model || string(r.API) != c.api || r.Stream != (strings.HasPrefix(c.api, "gemini.stream") || strings.HasSuffix(c.path, "stream=true")) {
			t.Errorf("%s: %+v, %v; want model %s", c.path, r, err, c.model)
			continue
		}
		if newPath, got := codec.Rewrite(r, c.path, []byte(body), wire.Edit{}); newPath != c.path || string(got) != body {
			t.Errorf("an empty edit made %s %s", newPath, got)
		}
	}
	if _, ok := Match("", http.MethodPost, "/v1/chat/completions"); ok {
		t.Error("OpenAI's path is matched")
	}
}
