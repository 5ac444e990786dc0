package gemini

import (
	"errors"
	"net/http"
	"testing"

	"keel/filter/wire"
)

const path = "/v1beta/models/gemini-2.5-flash:generateContent"

func TestLimitsAndChoices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body           string
		limit, choices int64
	}{
		{`{"generationConfig":{"maxOutputTokens":10,"candidateCount":2}}`, 10, 2},
		{`{"generation_config":{"max_output_tokens":"10","candidate_count":"3"}}`, 10, 3},
		{`{"generationConfig":{"maxOutputTokens":null,"candidateCount":0}}`, 0, 1},
		{`{"generationConfig":null}`, 0, 1},
	} {
		r, err := methods["generateContent"].ReadRequest(path, []byte(c.body))
		if err != nil || r.MaxOutputTokens != c.limit || r.Choices != c.choices {
			t.Errorf("%s: %+v, %v", c.body, r, err)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"generationConfig":{"maxOutputTokens":0}}`,
		`{"generationConfig":{"maxOutputTokens":-1}}`,
		`{"generationConfig":{"maxOutputTokens":"ten"}}`,
		`{"generationConfig":{"maxOutputTokens":1.5}}`,
		`{"generationConfig":{"candidateCount":-1}}`,
		`{"generationConfig":{"maxOutputTokens":5,"max_output_tokens":5000}}`,
		`{"generationConfig":{"maxOutputTokens":5},"generation_config":{"maxOutputTokens":5000}}`,
		`{"generationConfig":{"topK":1},"generation_config":{"maxOutputTokens":5000}}`,
		`{"systemInstruction":"a","system_instruction":"b"}`,
		`{"model":"models/gemini-3-pro"}`,
	} {
		_, err := methods["generateContent"].ReadRequest(path, []byte(body))
		var want *wire.RequestError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a RequestError", body, err)
		}
	}
	for _, body := range []string{``, `[]`, `{"contents":[}`, `{"contents":[],"contents":[]}`, "{\"contents\":\"\xff\"}", `{} {}`} {
		_, err := methods["generateContent"].ReadRequest(path, []byte(body))
		var want *wire.SyntaxError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a SyntaxError", body, err)
		}
	}
	if _, err := methods["generateContent"].ReadRequest("/v1/chat", []byte(`{}`)); err == nil {
		t.Error("a path without a model is read")
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	const query = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
	for _, c := range []struct {
		name, path, body string
		edit             wire.Edit
		wantPath, want   string
	}{
		{"nothing", query, ` {"contents": []} `, wire.Edit{ForceUsage: true}, query, ` {"contents": []} `},
		{"model", query, `{"contents":[]}`, wire.Edit{Model: "gemini-2.5-flash"}, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", `{"contents":[]}`},
		{"model at Vertex", "/v1/projects/p/publishers/google/models/gemini-2.5-pro:generateContent", `{}`, wire.Edit{Model: "m"}, "/v1/projects/p/publishers/google/models/m:generateContent", `{}`},
		{"model to a tuned one", path, `{}`, wire.Edit{Model: "tunedModels/a b"}, "/v1beta/tunedModels/a%20b:generateContent", `{}`},
		{"model in the body too", query, `{"model": "models/gemini-2.5-pro"}`, wire.Edit{Model: "m"}, "/v1beta/models/m:streamGenerateContent?alt=sse", `{"model": "models/m"}`},
		{"lower", query, `{"generationConfig": {"maxOutputTokens": 100, "topK": 1}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig": {"maxOutputTokens": 7, "topK": 1}}`},
		{"lower snake", query, `{"generation_config": {"max_output_tokens": "100"}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generation_config": {"max_output_tokens": 7}}`},
		{"not raised", query, `{"generationConfig":{"maxOutputTokens":5}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":5}}`},
		{"null", query, `{"generationConfig":{"maxOutputTokens":null}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":7}}`},
		{"into the config", query, `{"generationConfig":{ "topK":1}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":7, "topK":1}}`},
		{"into an empty config", query, `{"generation_config":{ }}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generation_config":{"maxOutputTokens":7 }}`},
		{"null config", query, `{"generationConfig": null}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig": {"maxOutputTokens":7}}`},
		{"no config", query, `{ "contents":[]}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":7}, "contents":[]}`},
		{"empty", query, `{}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":7}}`},
	} {
		codec, _ := Match("", http.MethodPost, c.path)
		r, err := codec.ReadRequest(c.path, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		gotPath, got := codec.Rewrite(r, c.path, []byte(c.body), c.edit)
		if gotPath != c.wantPath || string(got) != c.want {
			t.Errorf("%s: %s %s, want %s %s", c.name, gotPath, got, c.wantPath, c.want)
		}
		again, err := codec.ReadRequest(gotPath, got)
		if err != nil || c.edit.Model != "" && again.Model != c.edit.Model || c.edit.MaxOutputTokens > 0 && (again.MaxOutputTokens < 1 || again.MaxOutputTokens > c.edit.MaxOutputTokens) {
			t.Errorf("%s: read again: %+v, %v", c.name, again, err)
		}
	}
}
