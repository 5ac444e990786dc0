package huggingface

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		provider, method, path string
		ok                     bool
		model, renamed         string
	}{
		{"huggingface", "POST", "/models/a/b", true, "a/b", "/models/c/d%20e"},
		{"huggingface", "POST", "/models/gpt2?x=y", true, "gpt2", "/models/c/d%20e?x=y"},
		{"huggingface", "POST", "/hf-inference/models/a/b", true, "a/b", "/hf-inference/models/c/d%20e"},
		{"", "POST", "/hf-inference/models/a/b", true, "a/b", "/hf-inference/models/c/d%20e"},
		{"huggingface", "POST", "/models/a/b/generate_stream", true, "a/b", "/models/c/d%20e/generate_stream"},
		{"huggingface", "POST", "/generate", true, "", "/generate"},
		{"huggingface", "POST", "/", true, "", "/"},
		{"", "POST", "/generate_stream", true, "", "/generate_stream"},
		{"", "POST", "/generate", false, "", ""},
		{"", "POST", "/models/a/b", false, "", ""},
		{"huggingface", "GET", "/models/a/b", false, "", ""},
		{"huggingface", "POST", "/v1/chat/completions", false, "", ""},
		{"huggingface", "POST", "/models/a/b/v1/chat/completions", false, "", ""},
		{"openai", "POST", "/generate_stream", false, "", ""},
	} {
		codec, ok := Match(c.provider, c.method, c.path)
		if ok != c.ok {
			t.Errorf("%s %s of %q: %v", c.method, c.path, c.provider, ok)
		}
		if !ok || !c.ok {
			continue
		}
		r, err := codec.ReadRequest(c.path, []byte(`{"inputs":"a"}`))
		if err != nil || r.Model != c.model {
			t.Errorf("%s: %+v, %v", c.path, r, err)
			continue
		}
		if got, body := codec.Rewrite(r, c.path, []byte(`{"inputs":"a"}`), wire.Edit{Model: "c/d e"}); got != c.renamed || string(body) != `{"inputs":"a"}` {
			t.Errorf("%s renamed to %s %s, want %s", c.path, got, body, c.renamed)
		}
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	const body = `{"inputs":["a","b"],"parameters":{"max_new_tokens":9,"best_of":2},"stream":true}`
	r, err := codec{}.ReadRequest("/models/a/b", []byte(body))
	if err != nil || r.MaxOutputTokens != 9 || r.Choices != 2 || !r.Stream || r.Prompt.Messages != 2 || len(r.Prompt.Segments) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	wiretest.Rewrite(t, codec{}, "/models/a/b", []byte(body))
	if r, err := (codec{streamed: true}).ReadRequest("/generate_stream", []byte(`{"inputs":"a"}`)); err != nil || !r.Stream {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestResponse(t *testing.T) {
	t.Parallel()
	used := func(in, out int64) *meter.Usage { return &meter.Usage{meter.Input: in, meter.Output: out} }
	counted := http.Header{"X-Prompt-Tokens": {"7"}, "X-Generated-Tokens": {"3"}}
	const token = "data: {\"index\":1,\"token\":{\"id\":1,\"text\":\"ab\"},\"generated_text\":null,\"details\":null}\n\n"
	const last = "data: {\"token\":{\"text\":\"c\"},\"generated_text\":\"abc\",\"details\":{\"finish_reason\":\"length\",\"generated_tokens\":2,\"input_length\":7}}\n\n"
	for _, c := range []struct {
		name, body string
		status     int
		header     http.Header
		open       bool
		want       wire.Reading
	}{
		{"list", `[{"generated_text":"abc"}]`, 200, nil, true, wire.Reading{Terminal: true, OutputBytes: 3}},
		{"headers", `{"generated_text":"abc"}`, 200, counted, true, wire.Reading{Usage: used(7, 3), Terminal: true, OutputBytes: 3}},
		{"details", `{"generated_text":"abc","details":{"generated_tokens":3,"prefill":[{"id":1},{"id":2}]}}`, 200, nil, true, wire.Reading{Usage: used(2, 3), Terminal: true, OutputBytes: 3}},
		{"details without the prompt", `{"generated_text":"abc","details":{"generated_tokens":3,"prefill":[]}}`, 200, nil, true, wire.Reading{Usage: used(0, 3), Partial: true, Terminal: true, OutputBytes: 3}},
		{"stream", token + last, 200, nil, false, wire.Reading{Usage: used(7, 2), Terminal: true, OutputBytes: 3}},
		{"stream, cut", token, 200, nil, false, wire.Reading{OutputBytes: 2}},
		{"error", `{"error":"Model is loading","estimated_time":20}`, 503, counted, true, wire.Reading{Terminal: true, Failure: "Model is loading"}},
		{"error as text", "Not Found", 404, nil, false, wire.Reading{Failure: "Not Found"}},
		{"error in a stream", "data: {\"error\":\"overloaded\",\"error_type\":\"overloaded\"}\n\n", 200, nil, false, wire.Reading{Failure: "overloaded"}},
	} {
		for seed := range uint64(10) {
			got := wiretest.Read(t, codec{}, &wire.Request{}, wiretest.Response{Status: c.status, Header: c.header, Body: []byte(c.body), Open: c.open}, seed)
			got.RawUsage = nil
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
				break
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	_, got := codec{}.Refuse(wire.Refusal{Status: 429, Code: "budget_exceeded", Message: "no", DecisionID: "d1"})
	if want := `{"error":"no","error_type":"budget_exceeded","keel":{"decision_id":"d1"}}` + "\n"; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add("/models/a/b", `{"inputs":"a","parameters":{"max_new_tokens":9}}`)
	f.Add("/generate", `{"inputs":["a"],"parameters":null}`)
	f.Fuzz(func(t *testing.T, path, body string) {
		if _, ok := Match("huggingface", "POST", path); !ok {
			return
		}
		if _, err := (codec{}).ReadRequest(path, []byte(body)); err == nil {
			wiretest.Rewrite(t, codec{}, path, []byte(body))
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add("data: {\"token\":{\"text\":\"a\"},\"details\":{\"generated_tokens\":1}}\n\n", uint64(3))
	f.Add(`[{"generated_text":"a"}]`, uint64(3))
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		wiretest.Fuzz(t, codec{}, &wire.Request{}, 200, []byte(body), seed)
	})
}
