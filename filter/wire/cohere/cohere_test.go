package cohere

import (
	"encoding/json"
	"strings"
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
		{"cohere", "POST", "/v1/chat", "cohere.chat"},
		{"cohere", "POST", "/v2/chat", "cohere.chat"},
		{"", "POST", "/v2/chat", "cohere.chat"},
		{"azure", "POST", "/v2/chat", "cohere.chat"},
		{"", "POST", "/cohere/v1/chat", "cohere.chat"}, // a gateway's folder
		{"", "POST", "/v1/chat", ""},                   // may be Writer
		{"writer", "POST", "/v1/chat", ""},
		{"writer", "POST", "/v2/chat", ""},
		{"azure", "POST", "/v1/chat", ""},
		{"cohere", "GET", "/v2/chat", ""},
		{"cohere", "POST", "/v1/generate", "cohere.generate"},
		{"", "POST", "/v1/generate", ""},
		{"", "POST", "/v2/embed?x=y", "cohere.embed"},
		{"cohere", "POST", "/v1/embed", "cohere.embed"},
		{"cohere", "POST", "/v2/rerank", "cohere.rerank"},
		{"", "POST", "/v2/rerank", ""}, // vLLM too
		{"voyage", "POST", "/v1/rerank", ""},
		{"cohere", "POST", "/v2/audio/transcriptions", "cohere.audio"},
		{"", "POST", "/v2/audio/transcriptions", ""},
		{"cohere", "POST", "/compatibility/v1/chat/completions", ""},
		{"cohere", "POST", "/v1/tokenize", ""},
		{"cohere", "POST", "/", ""},
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
		{"chat", chat2, `{"model":"m","stream":true,"max_tokens":9,"thinking":{"type":"enabled"},"tool_choice":"REQUIRED","messages":[{"role":"system","content":"a"},
			{"content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}],"role":"user"},
			{"role":"assistant","tool_plan":"c","content":[{"type":"thinking","thinking":"d"}],"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
			{"content":[{"type":"document","document":{"data":"e"}}],"tool_call_id":"1","role":"tool"}],"tools":[{"type":"function"}],"documents":["g"],"response_format":{"type":"json_object","json_schema":{}}}`,
			wire.Request{API: wire.CohereChat, Model: "m", Stream: true, MaxOutputTokens: 9, Choices: 1, Prompt: tokens.Prompt{Messages: 4, System: true, Tools: 1, Thinking: true, ToolChoice: true, Citations: 1, Images: []tokens.Image{{Bytes: 4, Detail: "low"}},
				Segments: segments(tokens.Text, `"a"`, tokens.Text, `"b"`, tokens.Text, `"c"`, tokens.Text, `"d"`, tokens.ToolCall, `"f"`, tokens.ToolCall, `"{}"`, tokens.ToolResult, `{"data":"e"}`,
					tokens.ToolSchema, `{"type":"function"}`, tokens.Text, `"g"`, tokens.Schema, `{}`)}}},
		{"chat of an image elsewhere", chat2, `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]}`,
			wire.Request{API: wire.CohereChat, Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, FarImages: true, Hosted: "image URL"}}},
		{"chat, first version", chat1, `{"message":"a","preamble":"b","chat_history":[{"role":"USER","message":"c"},{"role":"TOOL","tool_results":[1]}],"tool_results":[{"call":{}}],"tools":[{"name":"f"}],"documents":[{"text":"d"}],"connectors":[{"id":"web-search"}],"response_format":{"schema":{}}}`,
			wire.Request{API: wire.CohereChat, Choices: 1, Prompt: tokens.Prompt{Messages: 4, System: true, Tools: 1, Citations: 1, Hosted: "connector",
				Segments: segments(tokens.Text, `"a"`, tokens.Text, `"b"`, tokens.Text, `"c"`, tokens.ToolResult, `[1]`, tokens.ToolResult, `{"call":{}}`, tokens.ToolSchema, `{"name":"f"}`, tokens.Text, `{"text":"d"}`, tokens.Schema, `{}`)}}},
		{"a conversation", chat1, `{"message":"a","conversation_id":"c"}`, wire.Request{API: wire.CohereChat, Choices: 1, Prompt: tokens.Prompt{Messages: 1, Hosted: "stored conversation", Segments: segments(tokens.Text, `"a"`)}}},
		{"generate", generate, `{"prompt":"a","model":"","num_generations":3}`, wire.Request{API: wire.CohereGenerate, Choices: 3, Prompt: tokens.Prompt{Messages: 1, Segments: segments(tokens.Text, `"a"`)}}},
		{"embed", embed, `{"model":"m","texts":["a"],"images":["data:image/png;base64,AAAA"],"inputs":[{"content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAAAAAA"}}]}],"max_tokens":null}`,
			wire.Request{API: wire.CohereEmbed, Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Embed, Messages: 3, Images: []tokens.Image{{Bytes: 4}, {Bytes: 8}}, Segments: segments(tokens.Text, `"a"`, tokens.Text, `"b"`)}}},
		{"rerank", rerank, `{"model":"m","query":"a","documents":["b",{"text":"c"}],"top_n":1}`,
			wire.Request{API: wire.CohereRerank, Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Rerank, Messages: 3, Segments: segments(tokens.Text, `"a"`, tokens.Text, `"b"`, tokens.Text, `{"text":"c"}`)}}},
	} {
		r, err := c.codec.ReadRequest("/x", []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		r.Marks = nil
		if diff := cmp.Diff(c.want, *r, wiretest.PromptOptions); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		wiretest.Rewrite(t, c.codec, "/x", []byte(c.body))
	}
	if _, err := chat2.ReadRequest("/v2/chat", []byte(`{"messages":[]}`)); err == nil {
		t.Error("a request without a model is read")
	}
	if _, err := generate.ReadRequest("/v1/generate", []byte(`{"num_generations":0}`)); err == nil {
		t.Error("no generation is taken for one")
	}
}

func TestAudio(t *testing.T) {
	t.Parallel()
	const body = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\nID3\r\n--b--\r\n"
	r, err := audio{}.ReadRequest("/v2/audio/transcriptions", []byte(body))
	if err != nil || r.Model != "m" || r.Prompt.Task != tokens.Transcribe || len(r.Prompt.Media) != 1 || r.Prompt.Media[0].Kind != tokens.Audio {
		t.Fatalf("%+v, %v", r, err)
	}
	wiretest.Rewrite(t, audio{}, "/v2/audio/transcriptions", []byte(body))
	if _, got := (audio{}).Rewrite(r, "", []byte(body), wire.Edit{Model: "other"}); string(got) != strings.Replace(body, "\r\nm\r\n", "\r\nother\r\n", 1) {
		t.Errorf("%s", got)
	}
	if _, got := (audio{}).Rewrite(r, "", []byte(body), wire.Edit{Model: "a\r\n--b"}); string(got) != body {
		t.Errorf("a line break came through: %s", got)
	}
	if _, err := (audio{}).ReadRequest("", []byte("--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nID3\r\n--b--\r\n")); err == nil {
		t.Error("a request without a model is read")
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, usage string
		want        *meter.Usage
	}{
		{"both", `{"billed_units":{"input_tokens":8,"output_tokens":7},"tokens":{"input_tokens":503,"output_tokens":11},"cached_tokens":448}`,
			&meter.Usage{meter.Input: 8, meter.UnbilledInput: 47, meter.UnbilledCachedInput: 448, meter.Output: 7, meter.UnbilledOutput: 4}},
		{"billed alone", `{"billed_units":{"input_tokens":8,"output_tokens":7}}`, &meter.Usage{meter.Input: 8, meter.Output: 7}},
		{"tokens alone", `{"tokens":{"input_tokens":8,"output_tokens":7}}`, &meter.Usage{meter.Input: 8, meter.Output: 7}},
		{"more billed than counted", `{"billed_units":{"input_tokens":8,"output_tokens":9},"tokens":{"input_tokens":5,"output_tokens":7}}`, &meter.Usage{meter.Input: 8, meter.Output: 9}},
		{"more cached than unbilled", `{"billed_units":{"input_tokens":8},"tokens":{"input_tokens":10},"cached_tokens":5}`,
			&meter.Usage{meter.Input: 5, meter.CachedInput: 3, meter.UnbilledCachedInput: 2}},
		{"more cached than there is", `{"billed_units":{"input_tokens":8},"tokens":{"input_tokens":10},"cached_tokens":50}`, &meter.Usage{meter.CachedInput: 8, meter.UnbilledCachedInput: 2}},
		{"images", `{"billed_units":{"input_tokens":267,"output_tokens":66},"tokens":{"input_tokens":34,"output_tokens":70,"reasoning_tokens":0,"image_tokens":259},"cached_tokens":0}`,
			&meter.Usage{meter.Input: 8, meter.InputImage: 259, meter.UnbilledInput: 26, meter.Output: 66, meter.UnbilledOutput: 4}},
		{"reasoning", `{"billed_units":{"input_tokens":8,"output_tokens":50},"tokens":{"input_tokens":8,"output_tokens":55,"reasoning_tokens":38}}`,
			&meter.Usage{meter.Input: 8, meter.Output: 12, meter.Reasoning: 38, meter.UnbilledOutput: 5}},
		{"reasoning above output", `{"billed_units":{"output_tokens":5},"tokens":{"output_tokens":5,"reasoning_tokens":38}}`, &meter.Usage{meter.Reasoning: 5}},
		{"embeddings", `{"api_version":{"version":"2"},"billed_units":{"input_tokens":7,"image_tokens":3}}`, &meter.Usage{meter.Input: 7, meter.InputImage: 3}},
		{"embedded images, older", `{"billed_units":{"images":2}}`, &meter.Usage{meter.Images: 2}},
		{"rerank", `{"billed_units":{"search_units":2}}`, &meter.Usage{meter.SearchUnits: 2}},
		{"zero", `{"billed_units":{"input_tokens":0}}`, new(meter.Usage)},
		{"none", `{"api_version":{"version":"1"},"billed_units":{}}`, nil},
		{"nonsense", `{"billed_units":{"input_tokens":-1},"tokens":7}`, nil},
	} {
		got := wiretest.Read(t, chat2, &wire.Request{}, wiretest.Response{Status: 200, Body: []byte(`{"id":"x","usage":` + c.usage + `}`)}, 0)
		if diff := cmp.Diff(c.want, got.Usage); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if got.Usage != nil && string(got.RawUsage) != c.usage {
			t.Errorf("%s: raw %s", c.name, got.RawUsage)
		}
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	const (
		start = "{\"is_finished\":false,\"event_type\":\"stream-start\",\"generation_id\":\"g\"}\n"
		text  = "{\"is_finished\":false,\"event_type\":\"text-generation\",\"text\":\"abc\"}\n"
		end   = "{\"is_finished\":true,\"event_type\":\"stream-end\",\"response\":{\"response_id\":\"r\",\"text\":\"abc\",\"meta\":{\"billed_units\":{\"input_tokens\":7,\"output_tokens\":3}}},\"finish_reason\":\"COMPLETE\"}\n"

		start2 = "event: message-start\ndata: {\"id\":\"r\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[],\"tool_plan\":\"\"}}}\n\n"
		text2  = "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"ab\"},\"tool_calls\":{\"function\":{\"arguments\":\"c\"}}}}}\n\n"
		end2   = "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":7,\"output_tokens\":3}}}}\n\n"
		fails2 = "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"ERROR\",\"error\":\"overloaded\"}}\n\n"
		done   = "data: [DONE]\n\n"
	)
	used := &meter.Usage{meter.Input: 7, meter.Output: 3}
	for _, c := range []struct {
		name, body string
		open       bool
		want       wire.Reading
	}{
		{"lines", start + text + end, true, wire.Reading{ID: "r", Usage: used, Terminal: true, OutputBytes: 3}},
		{"lines, cut", start + text, false, wire.Reading{ID: "g", OutputBytes: 3}},
		{"lines, the first alone", start, false, wire.Reading{ID: "g"}},
		{"lines as events", "data: " + text + "\ndata: " + end + "\n", false, wire.Reading{ID: "r", Usage: used, Terminal: true, OutputBytes: 3}},
		{"events", start2 + text2 + end2 + done, true, wire.Reading{ID: "r", Usage: used, Terminal: true, OutputBytes: 3}},
		{"events without an end marker", start2 + text2 + end2, false, wire.Reading{ID: "r", Usage: used, Terminal: true, OutputBytes: 3}},
		{"events, open behind the last", start2 + text2 + end2, true, wire.Reading{ID: "r", Usage: used, OutputBytes: 3}},
		{"events, cut", start2 + text2, false, wire.Reading{ID: "r", OutputBytes: 3}},
		{"events that fail", start2 + fails2 + done, false, wire.Reading{ID: "r", Terminal: true, Failure: "overloaded"}},
		{"unary", `{"id":"r","message":{"role":"assistant","tool_plan":"a","content":[{"type":"text","text":"bc"},{"type":"thinking","thinking":"d"}],"tool_calls":[{"function":{"name":"e","arguments":"f"}}]}}`, true, wire.Reading{ID: "r", Terminal: true, OutputBytes: 6}},
		{"unary, first version", `{"generation_id":"g","response_id":"r","text":"abc","chat_history":[{"message":"abc"}],"tool_calls":[{"name":"d","parameters":{"x":1}}]}`, true, wire.Reading{ID: "r", Terminal: true, OutputBytes: 4 + int64(len(`{"x":1}`))}},
		{"generate", `{"id":"r","generations":[{"text":"ab"},{"text":"c"}],"prompt":"no"}`, true, wire.Reading{ID: "r", Terminal: true, OutputBytes: 3}},
		{"error", `{"id":"r","message":"no model"}`, true, wire.Reading{ID: "r", Terminal: true, Failure: "no model"}},
	} {
		for seed := range uint64(10) {
			got := wiretest.Read(t, chat2, &wire.Request{}, wiretest.Response{Status: 200, Body: []byte(c.body), Open: c.open}, seed)
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
	contentType, got := chat2.Refuse(wire.Refusal{Status: 403, Code: "policy_denied", Message: `say "no"`, DecisionID: "d1"})
	if want := `{"id":"d1","message":"say \"no\"","error_type":"policy_denied","keel":{"decision_id":"d1"}}` + "\n"; string(got) != want || contentType != "application/json" || !json.Valid(got) {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(uint8(0), `{"message":"a","chat_history":[{"message":"b"}],"connectors":[{}]}`)
	f.Add(uint8(1), `{"model":"m","messages":[{"role":"tool","content":[{"type":"image_url","image_url":{"url":"data:"}}],"tool_calls":[{"function":{"name":"f"}}]}],"max_tokens":3}`)
	f.Add(uint8(2), `{"prompt":"a","num_generations":2}`)
	f.Add(uint8(3), `{"texts":["a"],"inputs":[{"content":"b"}]}`)
	f.Add(uint8(4), `{"query":"a","documents":["b"]}`)
	f.Add(uint8(5), "--b\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		codec := []wire.Codec{chat1, chat2, generate, embed, rerank, audio{}}[which%6]
		if _, err := codec.ReadRequest("/x", []byte(body)); err == nil {
			wiretest.Rewrite(t, codec, "/x", []byte(body))
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add("{\"event_type\":\"text-generation\",\"text\":\"a\"}\n{\"is_finished\":true,\"response\":{\"meta\":{\"billed_units\":{\"input_tokens\":1}}}}\n", uint64(3))
	f.Add("data: {\"type\":\"message-end\",\"delta\":{\"usage\":{\"tokens\":{\"input_tokens\":9},\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n", uint64(5))
	f.Add(`{"message":"no"}`, uint64(4))
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		wiretest.Fuzz(t, chat2, &wire.Request{}, 200, []byte(body), seed)
	})
}
