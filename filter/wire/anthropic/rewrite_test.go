package anthropic

import (
	"strings"
	"testing"

	"keel/filter/wire"
)

func TestRewrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, path, body string
		edit             wire.Edit
		wantPath, want   string
	}{
		{"nothing", path, ` {"model": "m"} `, wire.Edit{ForceUsage: true}, path, ` {"model": "m"} `},
		{"model", path, `{"a":1, "model" : "m", "b":[ ]}`, wire.Edit{Model: `n"`}, path, `{"a":1, "model" : "n\"", "b":[ ]}`},
		{"same model", path, `{"model":"\u006d"}`, wire.Edit{Model: "m"}, path, `{"model":"\u006d"}`},
		{"model at Vertex", vertex + "?x=1", `{}`, wire.Edit{Model: "claude-haiku-4-5@20251001"}, strings.Replace(vertex, "claude-sonnet-5", "claude-haiku-4-5@20251001", 1) + "?x=1", `{}`},
		{"model at Vertex, in both", vertex, `{"model":"claude-sonnet-5"}`, wire.Edit{Model: "m"}, strings.Replace(vertex, "claude-sonnet-5", "m", 1), `{"model":"m"}`},
		{"lower", path, `{"model":"m","max_tokens": 100}`, wire.Edit{MaxOutputTokens: 7}, path, `{"model":"m","max_tokens": 7}`},
		{"not raised", path, `{"model":"m","max_tokens":5}`, wire.Edit{MaxOutputTokens: 7}, path, `{"model":"m","max_tokens":5}`},
		{"set", path, `{ "model":"m"}`, wire.Edit{MaxOutputTokens: 7}, path, `{"max_tokens":7, "model":"m"}`},
		{"set in an empty one", vertex, `{}`, wire.Edit{MaxOutputTokens: 7}, vertex, `{"max_tokens":7}`},
		{"null", path, `{"model":"m","max_tokens":null}`, wire.Edit{MaxOutputTokens: 7}, path, `{"model":"m","max_tokens":7}`},
		{"both", path, `{"max_tokens":9,"model":"m"}`, wire.Edit{Model: "n", MaxOutputTokens: 7}, path, `{"max_tokens":7,"model":"n"}`},
		{"thinking goes along", path, `{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":8000}}`, wire.Edit{MaxOutputTokens: 4000}, path,
			`{"model":"m","max_tokens":4000,"thinking":{"type":"enabled","budget_tokens":3999}}`},
		{"thinking fits", path, `{"model":"m","max_tokens":9000,"thinking":{"budget_tokens":2000}}`, wire.Edit{MaxOutputTokens: 4000}, path,
			`{"model":"m","max_tokens":4000,"thinking":{"budget_tokens":2000}}`},
		{"thinking can't fit", path, `{"model":"m","max_tokens":9000,"thinking":{"budget_tokens":2000}}`, wire.Edit{MaxOutputTokens: 1024}, path,
			`{"model":"m","max_tokens":1024,"thinking":{"budget_tokens":2000}}`},
		{"limits of a batch", batchPath, `{"requests":[{"params":{"model":"m","max_tokens":9}},{"params":{"model":"m"}},{"params":{"max_tokens":5,"model":"m"}}]}`, wire.Edit{Model: "n", MaxOutputTokens: 7}, batchPath,
			`{"requests":[{"params":{"model":"n","max_tokens":7}},{"params":{"max_tokens":7,"model":"n"}},{"params":{"max_tokens":5,"model":"n"}}]}`},
		{"counting has no limit", countPath, `{"model":"m"}`, wire.Edit{Model: "n", MaxOutputTokens: 7}, countPath, `{"model":"n"}`},
		{"counting at Vertex", vertexCountPath, `{"model":"m"}`, wire.Edit{Model: "n"}, vertexCountPath, `{"model":"n"}`},
		{"complete", "/v1/complete", `{"model":"m","max_tokens_to_sample":9}`, wire.Edit{Model: "n", MaxOutputTokens: 7}, "/v1/complete", `{"model":"n","max_tokens_to_sample":7}`},
		{"nothing of a batch that is fetched", batchPath + "/b/cancel", `{}`, wire.Edit{Model: "n", MaxOutputTokens: 7}, batchPath + "/b/cancel", `{}`},
	} {
		codec, ok := Match("", "POST", c.path)
		if !ok {
			t.Errorf("%s: %s is not matched", c.name, c.path)
			continue
		}
		r, err := codec.ReadRequest(c.path, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		gotPath, got := codec.Rewrite(r, c.path, []byte(c.body), c.edit)
		if gotPath != c.wantPath || string(got) != c.want {
			t.Errorf("%s: %s %s, want %s %s", c.name, gotPath, got, c.wantPath, c.want)
		}
	}
}
