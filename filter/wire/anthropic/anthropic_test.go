package anthropic

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

const (
	path   = "/v1/messages"
	vertex = "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-5:streamRawPredict"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		path: true, "/anthropic/v1/messages?beta=true": true, vertex: true,
		"/v1/messages/count_tokens": false, "/v1/messages/batches": false, "/v1/complete": false, "/x?y=/v1/messages": false,
		"/publishers/anthropic/models/m:countTokens": false, "/publishers/anthropic/models/:rawPredict": false, "": false,
	} {
		if _, got := Match(http.MethodPost, p); got != want {
			t.Errorf("%s: %v", p, got)
		}
		if _, got := Match(http.MethodGet, p); got {
			t.Errorf("GET %s is matched", p)
		}
	}
}

func TestReadRequest(t *testing.T) {
	t.Parallel()
	r, err := Codec{}.ReadRequest(path, []byte(`{"model":"claude-sonnet-5","max_tokens":100,"stream":true,"service_tier":"auto","messages":[]}`))
	if err != nil || r.Model != "claude-sonnet-5" || r.MaxOutputTokens != 100 || !r.Stream || r.ServiceTier != "auto" || r.Choices != 1 || r.API != wire.Anthropic {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = (Codec{}).ReadRequest(path, []byte(`{"model":"m"}`)); err != nil || r.MaxOutputTokens != 0 || r.Stream {
		t.Errorf("what the provider refuses must pass: %+v, %v", r, err)
	}
	if r, err = (Codec{}).ReadRequest(vertex, []byte(`{"anthropic_version":"vertex-2023-10-16"}`)); err != nil || r.Model != "claude-sonnet-5" {
		t.Errorf("vertex: %+v, %v", r, err)
	}
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, members string
		want          tokens.Prompt
	}{
		{"texts", `"system":"be","messages":[{"role":"user","content":"h\u00e9llo"},{"role":"assistant","content":[{"type":"text","text":"you"}]}]`, tokens.Prompt{TextBytes: 11, Messages: 2}},
		{"system blocks", `"system":[{"type":"text","text":"be","cache_control":{"type":"ephemeral"}}]`, tokens.Prompt{TextBytes: 2}},
		{"tool results", `"messages":[{"content":[{"type":"tool_result","tool_use_id":"t","content":"ab"},{"tool_use_id":"t","content":[{"text":"cd","type":"text"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}],"type":"tool_result"}]}]`,
			tokens.Prompt{TextBytes: 4, Messages: 1, Images: 1, ImageBytes: 4}},
		{"tool use", `"messages":[{"content":[{"type":"tool_use","id":"t","name":"ab","input":{"x":1}}]}]`, tokens.Prompt{TextBytes: 2 + 7, Messages: 1}},
		{"source before type", `"messages":[{"content":[{"source":{"data":"AAAA","type":"base64"},"type":"image"}]}]`, tokens.Prompt{Messages: 1, Images: 1, ImageBytes: 4}},
		{"image by url", `"messages":[{"content":[{"type":"image","source":{"type":"url","url":"https://x"}}]}]`, tokens.Prompt{Messages: 1, Opaque: "image by url"}},
		{"image by file", `"messages":[{"content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]`, tokens.Prompt{Messages: 1, Opaque: "image by file"}},
		{"documents", `"messages":[{"content":[{"type":"document","title":"T","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}},{"type":"document","source":{"type":"text","data":"abc"}},{"type":"document","source":{"type":"content","content":[{"type":"text","text":"de"}]}}]}]`,
			tokens.Prompt{TextBytes: 1 + 3 + 2, Messages: 1, Media: 1, MediaBytes: 4}},
		{"citations", `"messages":[{"content":[{"type":"document","citations":{"enabled":true},"source":{"type":"text","data":"abc"}}]}]`, tokens.Prompt{TextBytes: 3, Messages: 1, Opaque: "citations"}},
		{"cited before", `"messages":[{"content":[{"type":"text","text":"abc","citations":[{"cited_text":"x"}]}]}]`, tokens.Prompt{TextBytes: 3, Messages: 1}},
		{"thinking", `"messages":[{"content":[{"type":"thinking","thinking":"abc","signature":"abcdef"}]}]`, tokens.Prompt{TextBytes: 6, Messages: 1}},
		{"search result", `"messages":[{"content":[{"type":"search_result","source":"ab","title":"c","content":[{"type":"text","text":"de"}]}]}]`, tokens.Prompt{TextBytes: 5, Messages: 1}},
		{"upload", `"messages":[{"content":[{"type":"container_upload","file_id":"f"}]}]`, tokens.Prompt{TextBytes: 1, Messages: 1, Opaque: "container_upload"}},
		{"function tools", `"tools":[{"name":"a"},{"type":"custom","name":"b"},{"type":null}]`, tokens.Prompt{Tools: 3, ToolBytes: 12 + 28 + 13}},
		{"hosted tool", `"tools":[{"name":"a"},{"type":"web_search_20250305","name":"web_search"}]`, tokens.Prompt{Tools: 1, ToolBytes: 12, Opaque: "tool web_search_20250305"}},
		{"mcp", `"mcp_servers":[{"url":"https://x"}]`, tokens.Prompt{Opaque: "mcp_servers"}},
		{"no mcp", `"mcp_servers":[],"container":null`, tokens.Prompt{}},
		{"container", `"container":"c1"`, tokens.Prompt{Opaque: "container"}},
		{"compaction", `"context_management":{"edits":[{"type":"compact_20260112"}]}`, tokens.Prompt{Opaque: "context_management"}},
		{"schema", `"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"a":1}}}`, tokens.Prompt{SchemaBytes: 7}},
		{"schema, older", `"output_format":{"type":"json_schema","schema":{"a":1}}`, tokens.Prompt{SchemaBytes: 7}},
	} {
		r, err := Codec{}.ReadRequest(path, []byte(`{"model":"m",`+c.members+`}`))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, r.Prompt); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, body string }{
		{path, `{}`}, {path, `{"model":null}`}, {path, `{"model":""}`}, {path, `{"model":7}`},
		{path, `{"model":"m","max_tokens":0}`}, {path, `{"model":"m","max_tokens":-5}`}, {path, `{"model":"m","max_tokens":"5"}`}, {path, `{"model":"m","max_tokens":1.5}`},
		{path, `{"model":"m","messages":"hi"}`}, {path, `{"model":"m","stream":"yes"}`},
		{vertex, `{"model":"claude-opus-4-8"}`},
	} {
		_, err := Codec{}.ReadRequest(c.path, []byte(c.body))
		var want *wire.RequestError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a RequestError", c.body, err)
		}
	}
	for _, body := range []string{``, `"m"`, `{"model":"m"`, `{"model":"m","model":"m"}`, `{"model":"m"} 1`, "{\"model\":\"\xff\"}", `{"model":"m","messages":[{"a":1,"a":2}]}`} {
		_, err := Codec{}.ReadRequest(path, []byte(body))
		var want *wire.SyntaxError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a SyntaxError", body, err)
		}
	}
}

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
	} {
		r, err := Codec{}.ReadRequest(c.path, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		gotPath, got := Codec{}.Rewrite(r, c.path, []byte(c.body), c.edit)
		if gotPath != c.wantPath || string(got) != c.want {
			t.Errorf("%s: %s %s, want %s %s", c.name, gotPath, got, c.wantPath, c.want)
		}
	}
}

func usage(kv map[meter.Kind]int64) *meter.Usage {
	u := new(meter.Usage)
	for k, n := range kv {
		u[k] = n
	}
	return u
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, start, delta string // of message_start and message_delta
		want               *meter.Usage
		raw                string
	}{
		{"delta replaces", `{"input_tokens":10,"output_tokens":1}`, `{"output_tokens":50}`,
			usage(map[meter.Kind]int64{meter.Input: 10, meter.Output: 50}), `{"input_tokens":10,"output_tokens":50}`},
		{"hosted tools grow the input", `{"input_tokens":2049,"output_tokens":1}`, `{"input_tokens":13520,"output_tokens":5,"server_tool_use":{"web_search_requests":2}}`,
			usage(map[meter.Kind]int64{meter.Input: 13520, meter.Output: 5, meter.WebSearch: 2}), `{"input_tokens":13520,"output_tokens":5,"server_tool_use":{"web_search_requests":2}}`},
		{"null replaces nothing", `{"input_tokens":10,"cache_read_input_tokens":7,"output_tokens":1}`, `{"input_tokens":null,"cache_read_input_tokens":null,"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 10, meter.CachedInput: 7, meter.Output: 2}), `{"input_tokens":10,"cache_read_input_tokens":7,"output_tokens":2}`},
		{"zero replaces", `{"input_tokens":100,"cache_read_input_tokens":55096,"output_tokens":1}`, `{"cache_read_input_tokens":0,"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 100, meter.Output: 2}), `{"input_tokens":100,"cache_read_input_tokens":0,"output_tokens":2}`},
		{"split by lifetime", `{"input_tokens":1,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1}`, `{"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.CacheWrite5m: 10, meter.CacheWrite1h: 20, meter.Output: 2}), ""},
		{"stale split", `{"input_tokens":1,"cache_creation_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":1}`, `{"cache_creation_input_tokens":17269,"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.CacheWrite5m: 17269, meter.Output: 2}), ""},
		{"split over the sum", `{"input_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":50},"output_tokens":1}`, `{"cache_creation_input_tokens":20,"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.CacheWrite1h: 20, meter.Output: 2}), ""},
		{"split without a sum", `{"input_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},"output_tokens":1}`, `{"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.CacheWrite5m: 3, meter.CacheWrite1h: 4, meter.Output: 2}), ""},
		{"thinking is inside the output", `{"input_tokens":1,"output_tokens":1}`, `{"output_tokens":20,"output_tokens_details":{"thinking_tokens":15}}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.Output: 5, meter.Reasoning: 15}), ""},
		{"thinking is clamped", `{"input_tokens":1,"output_tokens":1}`, `{"output_tokens":20,"output_tokens_details":{"thinking_tokens":150}}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.Reasoning: 20}), ""},
		{"iterations stay in the raw object", `{"input_tokens":1,"output_tokens":1}`, `{"output_tokens":2,"iterations":[{"type":"message"}]}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.Output: 2}), `{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"message"}]}`},
		{"none", `{}`, `{"service_tier":"standard"}`, nil, ""},
		{"nonsense is no count", `{"input_tokens":-1}`, `{"output_tokens":"many"}`, nil, ""},
	} {
		body := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":" + c.start + "}}\n\n" +
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":" + c.delta + "}\n\n" +
			"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
		got := feed(t, body, 0, true)
		if diff := cmp.Diff(c.want, got.Usage); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if !got.Terminal || got.Partial || got.Model != "m" || (got.RawUsage == nil) != (c.want == nil) || c.raw != "" && string(got.RawUsage) != c.raw {
			t.Errorf("%s: %+v, raw %s", c.name, got, got.RawUsage)
		}
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	const (
		start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\n"
		text  = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"h\u00e9llo\"}}\n\n"
		args  = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\n"
		delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\n"
		stop  = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
		ouch  = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
		whole = `{"type":"message","model":"m","content":[{"type":"text","text":"abc"},{"type":"tool_use","input":{"x":1}},{"type":"web_search_tool_result","content":[{"text":"not ours"}]}],"usage":{"input_tokens":9,"output_tokens":5}}`
	)
	inOut := func(o int64) *meter.Usage {
		return usage(map[meter.Kind]int64{meter.Input: 9, meter.Output: o})
	}
	for _, c := range []struct {
		name, body        string
		end               bool
		usage             *meter.Usage
		terminal, partial bool
		failure           string
		bytes             int64
	}{
		{"stream", start + text + args + delta + stop, false, inOut(5), true, false, "", 8},
		{"stream with CRLF", strings.ReplaceAll(start+text+delta+stop, "\n", "\r\n"), true, inOut(5), true, false, "", 6},
		{"cut before the delta", start + text, true, inOut(1), false, true, "", 6},
		{"cut before the stop", start + text + delta, true, inOut(5), false, false, "", 6},
		{"cut in the stop", start + delta + stop[:len(stop)-1], true, inOut(5), false, false, "", 0},
		{"error event", start + ouch, true, inOut(1), false, true, "Overloaded", 0},
		{"message", whole, false, inOut(5), true, false, "", 3 + 7},
		{"message in space", "\n " + whole + " \n", true, inOut(5), true, false, "", 3 + 7},
		{"message cut", whole[:len(whole)-1], true, nil, false, false, "", 0},
		{"message and more", whole + "x", true, nil, false, false, "", 0},
		{"two messages", whole + whole, true, nil, false, false, "", 0},
		{"half a usage", `{"usage":{"input_tokens":9}}`, true, inOut(0), true, true, "", 0},
		{"error", `{"type":"error","error":{"type":"rate_limit_error","message":"slow"},"request_id":"r"}`, true, nil, true, false, "slow", 0},
		{"error in a list", `[{"error":{"code":429,"message":"slow"}}]`, true, nil, true, false, "slow", 0},
		{"error as a text", `{"error":"slow"}`, true, nil, true, false, "slow", 0},
		{"text", "Not Found", true, nil, false, false, "", 0},
		{"nothing", "", true, nil, false, false, "", 0},
	} {
		for seed := range uint64(20) {
			got := feed(t, c.body, seed, c.end)
			if diff := cmp.Diff(c.usage, got.Usage); diff != "" || got.Terminal != c.terminal || got.Partial != c.partial || got.Failure != c.failure || got.OutputBytes != c.bytes {
				t.Errorf("%s, seed %d: %s %+v", c.name, seed, diff, got)
				break
			}
		}
	}
	reader := Codec{}.NewReader(nil, 200, nil)
	reader.Feed([]byte(whole), false)
	if got := reader.Reading(); !got.Terminal || got.Usage == nil {
		t.Errorf("complete, without the end of the body: %+v", got)
	}
	reader.Feed([]byte("x"), true)
	if got := reader.Reading(); got.Terminal || got.Usage != nil {
		t.Errorf("what is no JSON said %+v", got)
	}
	if got := feed(t, start, 0, false); got.ServiceTier != "standard" {
		t.Errorf("service tier %q", got.ServiceTier)
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]string{400: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error", 503: "overloaded_error", 500: "api_error"} {
		contentType, body := Codec{}.Refuse(wire.Refusal{Status: status, Code: "budget_exceeded", Message: `say "no"`, DecisionID: "d1", Details: map[string]string{"budget": "b"}})
		want := fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":"say \"no\""},"request_id":"d1","keel":{"code":"budget_exceeded","decision_id":"d1","details":{"budget":"b"}}}`, kind)
		if contentType != "application/json" || string(body) != want {
			t.Errorf("%d: %s %s, want %s", status, contentType, body, want)
		}
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(path, `{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`, int64(5))
	f.Add(path, `{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":8000},"system":[{"type":"text","text":"x"}]}`, int64(2000))
	f.Add(vertex, `{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"AAAA"}}]}],"tools":[{}]}`, int64(1))
	f.Fuzz(func(t *testing.T, path, body string, limit int64) {
		r, err := Codec{}.ReadRequest(path, []byte(body))
		if err != nil {
			return
		}
		if p, b := (Codec{}).Rewrite(r, path, []byte(body), wire.Edit{}); p != path || string(b) != body {
			t.Fatalf("an empty edit made %s %s", p, b)
		}
		edit := wire.Edit{Model: "claude-x", MaxOutputTokens: max(limit, 1)}
		newPath, newBody := Codec{}.Rewrite(r, path, []byte(body), edit)
		again, err := Codec{}.ReadRequest(newPath, newBody)
		if err != nil || again.Model != edit.Model || again.MaxOutputTokens > edit.MaxOutputTokens || again.MaxOutputTokens < 1 || again.Prompt != r.Prompt {
			t.Fatalf("rewritten to %s %s: %+v, %v", newPath, newBody, again, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add(`{"model":"m","usage":{"input_tokens":9,"output_tokens":5}}`, uint64(3))
	f.Add("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_stop\"}\n\n", uint64(5))
	f.Add(`{"usage":{"input_tokens":9}}}`, uint64(2))
	f.Add(`[{"error":"no"}]`, uint64(2))
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		whole := feed(t, body, 0, true)
		if diff := cmp.Diff(whole, feed(t, body, seed|1, true)); diff != "" {
			t.Fatal(diff)
		}
		if u := whole.Usage; u != nil {
			for k, n := range u {
				if n < 0 {
					t.Fatalf("%v is %d", meter.Kind(k), n)
				}
			}
		}
	})
}
