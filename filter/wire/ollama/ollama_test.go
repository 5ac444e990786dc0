package ollama

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ provider, method, path, api string }{
		{"ollama", "POST", "/api/chat", "ollama.chat"},
		{"", "POST", "/api/chat", "ollama.chat"},
		{"", "POST", "/gateway/api/generate?x=y", "ollama.generate"},
		{"ollama", "POST", "/api/embed", "ollama.embed"},
		{"ollama", "POST", "/api/embeddings", "ollama.embed"},
		{"ollama", "GET", "/api/chat", ""},
		{"openai", "POST", "/api/chat", ""},
		{"", "POST", "/v1/chat", ""},
		{"", "POST", "/api/chat/completions", ""},
		{"", "POST", "/api/tags", ""},
	} {
		codec, ok := Match(c.provider, c.method, c.path)
		if ok != (c.api != "") || ok && string(codec.API()) != c.api {
			t.Errorf("%s %s of %q: %v", c.method, c.path, c.provider, codec)
		}
	}
}

func segments(pairs ...any) (out []tokens.Segment) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, tokens.Segment{Class: pairs[i].(tokens.Class), JSON: []byte(pairs[i+1].(string))})
	}
	return out
}

func TestRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		codec *codec
		body  string
		want  wire.Request
	}{
		{"chat", chat, `{"model":"m","messages":[{"role":"system","content":"a"},{"content":"b","images":["AAAA"],"role":"user"},{"role":"assistant","content":"","thinking":"c","tool_calls":[{"function":{"name":"f","arguments":{}}}]},{"content":"d","role":"tool","tool_name":"f"}],"tools":[{"type":"function"}],"format":{"type":"object"},"think":"high","options":{"num_predict":9}}`,
			wire.Request{API: wire.OllamaChat, Model: "m", Stream: true, MaxOutputTokens: 9, Choices: 1, Prompt: tokens.Prompt{Messages: 4, System: true, Tools: 1, Thinking: true, Images: []tokens.Image{{Bytes: 4}},
				Segments: segments(tokens.Text, `"a"`, tokens.Text, `"b"`, tokens.Text, `"c"`, tokens.ToolCall, `{"function":{"name":"f","arguments":{}}}`, tokens.ToolResult, `"d"`, tokens.ToolSchema, `{"type":"function"}`, tokens.Schema, `{"type":"object"}`)}}},
		{"generate", generate, `{"model":"m","prompt":"a","system":"b","suffix":"c","template":"","context":[1,2,3],"stream":false,"format":"json","think":false,"options":{"num_predict":-1},"images":["AAAA"]}`,
			wire.Request{API: wire.OllamaGenerate, Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 2, System: true, TokenIDs: 3, Images: []tokens.Image{{Bytes: 4}}, Segments: segments(tokens.Text, `"a"`, tokens.Text, `"b"`, tokens.Text, `"c"`)}}},
		{"stream by default", generate, `{"model":"m","stream":null}`, wire.Request{API: wire.OllamaGenerate, Model: "m", Stream: true, Choices: 1}},
		{"embed", embed, `{"model":"m","input":["a","b"]}`, wire.Request{API: wire.OllamaEmbed, Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Embed, Messages: 2, Segments: segments(tokens.Text, `"a"`, tokens.Text, `"b"`)}}},
		{"embed one", embed, `{"model":"m","prompt":"a"}`, wire.Request{API: wire.OllamaEmbed, Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Embed, Messages: 1, Segments: segments(tokens.Text, `"a"`)}}},
	} {
		r, err := c.codec.ReadRequest("/api/x", []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		r.Marks = nil
		if diff := cmp.Diff(c.want, *r, wiretest.PromptOptions); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		wiretest.Rewrite(t, c.codec, "/api/x", []byte(c.body))
	}
	if _, err := chat.ReadRequest("/api/chat", []byte(`{"messages":[]}`)); err == nil {
		t.Error("a request without a model is read")
	}
}

func TestResponse(t *testing.T) {
	t.Parallel()
	const (
		first = `{"model":"m","created_at":"1970-01-01T00:01:00.5Z","message":{"content":"ab","thinking":"c"},"done":false}` + "\n"
		last  = `{"model":"m","created_at":"1970-01-01T00:01:09Z","message":{"content":""},"done":true,"prompt_eval_count":15,"eval_count":50}` + "\n"
		kept  = `{"model":"m","message":{"content":""},"done":true,"eval_count":50}` + "\n"
		load  = `{"model":"m","done":true,"done_reason":"load"}`
		fails = `{"error":"out of memory"}` + "\n"
	)
	used := func(in, out int64) *meter.Usage { return &meter.Usage{meter.Input: in, meter.Output: out} }
	for _, c := range []struct {
		name  string
		codec *codec
		body  string
		want  wire.Reading
	}{
		{"stream", chat, first + last, wire.Reading{Usage: used(15, 50), RawUsage: []byte(`{"prompt_eval_count":15,"eval_count":50}`), Terminal: true, OutputBytes: 3, Created: 60, Model: "m"}},
		{"stream, cut", chat, first, wire.Reading{OutputBytes: 3, Created: 60, Model: "m"}},
		{"stream, cut in a line", chat, first + last[:9], wire.Reading{OutputBytes: 12, Created: 60, Model: "m"}},
		{"a prompt that was kept", chat, kept, wire.Reading{Usage: used(0, 50), RawUsage: []byte(`{"eval_count":50}`), Partial: true, Terminal: true, Model: "m"}},
		{"a model that is loaded", generate, load, wire.Reading{Terminal: true, Model: "m"}},
		{"stream that fails", chat, first + fails, wire.Reading{OutputBytes: 3, Created: 60, Model: "m", Failure: "out of memory"}},
		{"error", chat, fails, wire.Reading{Terminal: true, Failure: "out of memory"}},
		{"embed", embed, `{"model":"m","embeddings":[[1]],"prompt_eval_count":4}`, wire.Reading{Usage: used(4, 0), RawUsage: []byte(`{"prompt_eval_count":4}`), Terminal: true, Model: "m"}},
		{"embed, older", embed, `{"embedding":[1]}`, wire.Reading{Terminal: true}},
		{"zero is a count", chat, `{"done":true,"prompt_eval_count":0,"eval_count":0}`, wire.Reading{Usage: used(0, 0), RawUsage: []byte(`{"prompt_eval_count":0,"eval_count":0}`), Terminal: true}},
	} {
		for seed := range uint64(10) {
			got := wiretest.Read(t, c.codec, &wire.Request{}, wiretest.Response{Status: 200, Body: []byte(c.body)}, seed)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
				break
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	_, got := chat.Refuse(wire.Refusal{Status: 429, Code: "budget_exceeded", Message: "no", DecisionID: "d1"})
	if want := `{"error":"no","code":"budget_exceeded","keel":{"decision_id":"d1"}}` + "\n"; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
	read := wiretest.Read(t, chat, &wire.Request{}, wiretest.Response{Status: 429, Body: got}, 0)
	if read.Failure != "no" || !read.Terminal {
		t.Errorf("a refusal reads as %+v", read)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(uint8(0), `{"model":"m","messages":[{"role":"tool","content":"b","images":["AAAA"],"tool_calls":[{}]}],"options":{"num_predict":-1}}`)
	f.Add(uint8(1), `{"model":"m","prompt":"a","context":[1],"options":null}`)
	f.Add(uint8(2), `{"model":"m","input":["a"]}`)
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		codec := []*codec{chat, generate, embed}[which%3]
		if _, err := codec.ReadRequest("/api/x", []byte(body)); err == nil {
			wiretest.Rewrite(t, codec, "/api/x", []byte(body))
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add("{\"message\":{\"content\":\"a\"}}\n{\"done\":true,\"eval_count\":3}\n", uint64(3))
	f.Add(`{"error":"no"}`, uint64(4))
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		wiretest.Fuzz(t, chat, &wire.Request{}, 200, []byte(body), seed)
		wiretest.Fuzz(t, embed, &wire.Request{}, 200, []byte(body), seed)
	})
}
