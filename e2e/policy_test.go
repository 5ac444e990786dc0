package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// What a policy constrains reaches the provider constrained, and byte for byte as it was otherwise.
func TestPolicyConstrains(t *testing.T) {
	s := shared(t)
	for _, tt := range []struct {
		name, path, body, team string
		want                   string // what the provider got, without what Keel adds for itself
	}{
		{"OpenAI chat", "/v1/chat/completions", `{"model":"gpt-5-mini","n":3, "tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto","messages":[{"role":"user","content":"Hi"}]}`, "plain",
			`{"model":"gpt-5-mini","n":1,"messages":[{"role":"user","content":"Hi"}]}`},
		{"OpenAI responses", "/v1/responses", `{"model":"gpt-5-mini","tools":[{"type":"web_search"},{"type":"function","name":"f"}],"input":"Hi"}`, "own-tools",
			`{"model":"gpt-5-mini","tools":[{"type":"function","name":"f"}],"input":"Hi"}`},
		{"Anthropic", "/v1/messages", `{"model":"claude-haiku-4-5","max_tokens":20,"messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"web_search_20250305","name":"web_search"}]}`, "own-tools",
			`{"model":"claude-haiku-4-5","max_tokens":20,"messages":[{"role":"user","content":"Hi"}]}`},
		{"Responses by effort", "/v1/responses", `{"model":"gpt-5-mini","reasoning":{"effort":"high"},"input":"Hi"}`, "frugal",
			`{"model":"gpt-5-mini","reasoning":{"effort":"low"},"input":"Hi"}`},
		{"Anthropic by effort", "/v1/messages", `{"model":"claude-haiku-4-5","max_tokens":20,"output_config":{"effort":"high"},"messages":[{"role":"user","content":"Hi"}]}`, "frugal",
			`{"model":"claude-haiku-4-5","max_tokens":20,"output_config":{"effort":"low"},"messages":[{"role":"user","content":"Hi"}]}`},
		{"Gemini", "/v1beta/models/gemini-2.5-flash:generateContent", `{"tools":[{"functionDeclarations":[{"name":"f"}]}],"generationConfig":{"candidateCount":2},"contents":[{"parts":[{"text":"Hi"}]}]}`, "plain",
			`{"generationConfig":{"candidateCount":1},"contents":[{"parts":[{"text":"Hi"}]}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := s.post(t, tt.path, tt.body, "x-keel-team: "+tt.team)
			if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			if body := s.served(t, got).RequestBody; body != tt.want {
				t.Errorf("the provider got\n%s\nwant\n%s", body, tt.want)
			}
			s.record(t, got.decision()).want(t, record{"action": "constrain", "outcome": "complete"})
		})
	}
	t.Run("an API that has no word for it", func(t *testing.T) {
		got := s.post(t, "/v1/embeddings", `{"model":"text-embedding-3-small","input":"Hi"}`, "x-keel-team: plain")
		if got.status != http.StatusForbidden || !strings.Contains(string(got.body), "of calls of openai.embeddings only the output can be limited") {
			t.Errorf("status %d: %s", got.status, got.body)
		}
		s.record(t, got.decision()).want(t, record{"action": "deny", "outcome": "denied"})
	})
}

func TestPolicyTagsAndWarns(t *testing.T) {
	s := shared(t)
	a := &apis[0]
	got := s.post(t, a.path(a.model, false), a.body(a.model, false, 20), "x-keel-team: tagged")
	if r := s.record(t, got.decision()); !strings.Contains(r["subject"], `"team": "plain-tag"`) || !strings.Contains(r["rules"], "tagged team=plain-tag") {
		t.Errorf("the record says %s, %s", r["subject"], r["rules"])
	}
	got = s.post(t, a.path(a.model, false), a.body(a.model, false, 20), "x-keel-team: warned")
	if w := got.header.Get("x-keel-warning"); w != "policy warned: ask finance before more" {
		t.Errorf("x-keel-warning = %q", w)
	}
}
