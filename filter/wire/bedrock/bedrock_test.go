package bedrock

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	oracle "github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, path string
		want         wire.API
	}{
		{"POST", "/model/amazon.nova-lite-v1:0/converse", wire.BedrockConverse},
		{"POST", "/bedrock/model/arn:aws:bedrock:us-east-1:1:inference-profile/x/converse-stream", wire.BedrockStream},
		{"POST", "/model/x/invoke?trace=1", wire.BedrockInvoke},
		{"POST", "/model/x/invoke-with-response-stream", wire.BedrockInvokeStream},
		{"POST", "/model/x/count-tokens", wire.BedrockCount},
		{"GET", "/model/x/converse", ""},
		{"POST", "/model/converse", ""},
		{"POST", "/model/x/async-invoke", ""},
		{"POST", "/v1/chat/completions", ""},
		{"POST", "/model//converse", ""},
	} {
		codec, ok := Match("", test.method, test.path)
		if ok != (test.want != "") || ok && codec.API() != test.want {
			t.Errorf("%s %s: %v", test.method, test.path, codec)
		}
	}
}

func read(t *testing.T, path, body string) *wire.Request {
	t.Helper()
	codec, ok := Match("", "POST", path)
	if !ok {
		t.Fatalf("%s is not matched", path)
	}
	r, err := codec.ReadRequest(path, []byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return r
}

func segments(p *tokens.Prompt) (all []string) {
	for _, s := range p.Segments {
		all = append(all, s.Class.String()+" "+string(s.JSON))
	}
	return all
}

func TestConverseRequest(t *testing.T) {
	t.Parallel()
	r := read(t, "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/converse", `{
		"system": [{"text": "be brief"}, {"cachePoint": {"type": "default"}}],
		"messages": [
			{"role": "user", "content": [{"text": "hi"}, {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
				{"document": {"name": "d", "format": "txt", "source": {"text": "doc"}, "citations": {"enabled": true}}}]},
			{"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}}, {"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": 1}}}]},
			{"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": [{"json": {"b": 2}}, {"text": "ok"}]}}]}],
		"inferenceConfig": {"maxTokens": 100},
		"toolConfig": {"tools": [{"toolSpec": {"name": "f"}}, {"cachePoint": {}}], "toolChoice": {"any": {}}},
		"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
		"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}}},
		"performanceConfig": {"latency": "optimized"}, "serviceTier": {"type": "priority"}}`)
	want := []string{`text "be brief"`, `text "hi"`, `text "d"`, `text "doc"`, `text "hm"`, `hidden "sig"`, `tool_call "f"`, `tool_call {"a": 1}`,
		`tool_result {"b": 2}`, `tool_result "ok"`, `tool_schema {"name": "f"}`, `schema "{}"`}
	if diff := cmp.Diff(want, segments(&r.Prompt)); diff != "" {
		t.Error(diff)
	}
	p := &r.Prompt
	if r.Model != "us.anthropic.claude-sonnet-4-20250514-v1:0" || r.MaxOutputTokens != 100 || r.Speed != "fast" || r.ServiceTier != "priority" || r.Stream {
		t.Errorf("%+v", r)
	}
	if p.Messages != 4 || !p.System || p.Tools != 1 || !p.ToolChoice || !p.Thinking || p.Citations != 1 || len(p.Images) != 1 || p.Hosted != "" {
		t.Errorf("%+v", p)
	}
}

func TestHosted(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"messages":[{"role":"user","content":[{"image":{"source":{"s3Location":{"uri":"s3://x"}}}}]}]}`: "S3 location",
		`{"messages":[],"toolConfig":{"tools":[{"systemTool":{"name":"nova_grounding"}}]}}`:               "hosted tool nova_grounding",
		`{"additionalModelRequestFields":{"tools":[{"type":"computer_20250124","name":"computer"}]}}`:     "tool computer_20250124",
		`{"promptVariables":{"x":{"text":"y"}}}`:                                                          "stored prompt",
	} {
		if r := read(t, "/model/amazon.nova-2-lite-v1:0/converse", body); r.Prompt.Hosted != want {
			t.Errorf("%s: %q, want %q", body, r.Prompt.Hosted, want)
		}
	}
	if r := read(t, "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprompt%2Fabc/converse", `{}`); r.Prompt.Hosted == "" {
		t.Error("a stored prompt passes for nothing")
	}
}

// TestInvokeRequest: the limit of each family stands where that family has it, and can be lowered and set.
func TestInvokeRequest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ model, body, without string }{
		{"anthropic.claude-3-haiku-20240307-v1:0", `{"max_tokens":50,"messages":[{"role":"user","content":"hi"}]}`, `{"messages":[{"role":"user","content":"hi"}]}`},
		{"anthropic.claude-v2", `{"prompt":"hi","max_tokens_to_sample":50}`, ""},
		{"us.amazon.nova-lite-v1:0", `{"inferenceConfig":{"maxTokens":50},"messages":[{"role":"user","content":[{"text":"hi"}]}]}`, `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`},
		{"amazon.titan-text-express-v1", `{"inputText":"hi","textGenerationConfig":{"maxTokenCount":50}}`, `{"inputText":"hi"}`},
		{"meta.llama3-8b-instruct-v1:0", `{"prompt":"hi","max_gen_len":50}`, `{"prompt":"hi"}`},
		{"mistral.mistral-7b-instruct-v0:2", `{"prompt":"hi","max_tokens":50}`, `{"prompt":"hi"}`},
		{"cohere.command-r-v1:0", `{"message":"hi","max_tokens":50}`, `{"message":"hi"}`},
		{"ai21.j2-mid-v1", `{"prompt":"hi","maxTokens":50}`, `{"prompt":"hi"}`},
	} {
		path := "/model/" + strings.ReplaceAll(test.model, ":", "%3A") + "/invoke"
		r := read(t, path, test.body)
		if r.Model != test.model || r.MaxOutputTokens != 50 || len(segments(&r.Prompt)) != 1 || segments(&r.Prompt)[0] != `text "hi"` || r.Prompt.Messages != 1 {
			t.Errorf("%s: %+v", test.model, r)
		}
		codec, _ := Match("", "POST", path)
		wiretest.Rewrite(t, codec, path, []byte(test.body))
		if test.without != "" {
			_, limited := codec.Rewrite(read(t, path, test.without), path, []byte(test.without), wire.Edit{MaxOutputTokens: 7})
			if again := read(t, path, string(limited)); again.MaxOutputTokens != 7 {
				t.Errorf("%s: %s is not limited", test.model, limited)
			}
		}
	}
	if r := read(t, "/model/amazon.titan-embed-text-v2:0/invoke", `{"inputText":"hi"}`); r.Prompt.Task != tokens.Embed {
		t.Error("an embedding passes for text")
	}
	r := read(t, "/model/anthropic.claude-3-haiku-20240307-v1:0/invoke", `{"max_tokens":9,"messages":[],"tools":[{"name":"f","input_schema":{}},{"type":"computer_20241022","name":"computer"}]}`)
	if r.Prompt.Tools != 1 || r.Prompt.Hosted != "tool computer_20241022" {
		t.Errorf("%+v", r.Prompt)
	}
}

// TestReasoningOfOthers: Qwen takes the effort itself where Claude takes an object (measured).
func TestReasoningOfOthers(t *testing.T) {
	t.Parallel()
	for _, fields := range []string{`{"reasoning_config":"high"}`, `{"reasoning_config":{"type":"enabled","budget_tokens":1024}}`} {
		path := "/model/qwen.qwen3-32b-v1%3A0/converse"
		codec, _ := Match("", "POST", path)
		r, err := codec.ReadRequest(path, []byte(`{"messages":[{"role":"user","content":[{"text":"hi"}]}],"additionalModelRequestFields":`+fields+`}`))
		if err != nil || !r.Prompt.Thinking {
			t.Errorf("%s: %+v, %v", fields, r, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	codec, _ := Match("", "POST", "/model/x/converse")
	for _, body := range []string{``, `[]`, `{"messages":[],"messages":[]}`} {
		_, err := codec.ReadRequest("/model/x/converse", []byte(body))
		var syntax *wire.SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{"inferenceConfig":{"maxTokens":0}}`, `{"inferenceConfig":{"maxTokens":"9"}}`, `{"messages":7}`} {
		_, err := codec.ReadRequest("/model/x/converse", []byte(body))
		var field *wire.RequestError
		if !errors.As(err, &field) {
			t.Errorf("%s: %v", body, err)
		}
	}
	kind, refusal := codec.Refuse(wire.Refusal{Status: 429, Code: "budget_exceeded", Message: `no "room"`, DecisionID: "d"})
	if kind != "application/json" || string(refusal) != `{"message":"no \"room\"","code":"ThrottlingException","keel":{"code":"budget_exceeded","decision_id":"d"}}`+"\n" {
		t.Errorf("%s", refusal)
	}
}

func event(t testing.TB, name, payload string) []byte {
	t.Helper()
	message := oracle.Message{Payload: []byte(payload)}
	kind := "event"
	if strings.HasSuffix(name, "Exception") {
		kind = "exception"
	}
	message.Headers.Set(":message-type", oracle.StringValue(kind))
	message.Headers.Set(":"+kind+"-type", oracle.StringValue(name))
	var b bytes.Buffer
	if err := oracle.NewEncoder().Encode(&b, message); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUsage(t *testing.T) {
	t.Parallel()
	stream := func(events ...[]byte) []byte { return bytes.Join(events, nil) }
	metadata := event(t, "metadata", `{"usage":{"inputTokens":10,"outputTokens":4,"totalTokens":44,"cacheReadInputTokens":10,"cacheReadInputTokenCount":10,"cacheWriteInputTokens":20,"cacheDetails":[{"inputTokens":5,"ttl":"1h"},{"inputTokens":15,"ttl":"5m"}]},"p":"abc"}`)
	delta := event(t, "contentBlockDelta", `{"delta":{"text":"hello"},"p":"ab"}`)
	cached := &meter.Usage{meter.Input: 10, meter.CachedInput: 10, meter.CacheWrite5m: 15, meter.CacheWrite1h: 5, meter.Output: 4}
	header := http.Header{"X-Amzn-Bedrock-Input-Token-Count": {"7"}, "X-Amzn-Bedrock-Output-Token-Count": {"3"}}
	for _, test := range []struct {
		name, path string
		body       []byte
		header     http.Header
		status     int
		usage      *meter.Usage
		partial    bool
		terminal   bool
		failure    string
	}{
		{"stream", "/model/x/converse-stream", stream(delta, event(t, "messageStop", `{"stopReason":"end_turn"}`), metadata), nil, 200, cached, false, true, ""},
		{"stream without its metadata", "/model/x/converse-stream", stream(delta, event(t, "messageStop", `{}`)), nil, 200, nil, false, false, ""},
		{"stream that fails", "/model/x/converse-stream", stream(delta, event(t, "throttlingException", `{"message":"slow down"}`)), nil, 200, nil, false, false, "throttlingException: slow down"},
		{"stream that is broken", "/model/x/converse-stream", append(stream(delta), metadata[:40]...), nil, 200, nil, false, false, ""},
		{"Claude's events, cut", "/model/anthropic.x/invoke-with-response-stream", stream(event(t, "chunk", `{"bytes":"eyJ0eXBlIjoibWVzc2FnZV9zdGFydCIsIm1lc3NhZ2UiOnsidXNhZ2UiOnsiaW5wdXRfdG9rZW5zIjo5LCJvdXRwdXRfdG9rZW5zIjoxfX19"}`)), nil, 200,
			&meter.Usage{meter.Input: 9, meter.Output: 1}, true, false, ""},
		{"headers alone", "/model/ai21.j2-mid-v1/invoke", []byte(`{"completions":[]}`), header, 200, &meter.Usage{meter.Input: 7, meter.Output: 3}, false, true, ""},
		{"headers of a body that was cut", "/model/ai21.j2-mid-v1/invoke", []byte(`{"completions":[`), header, 200, nil, false, false, ""},
		{"the body is nearer than headers", "/model/amazon.nova-lite-v1:0/invoke", []byte(`{"usage":{"inputTokens":8,"outputTokens":2}}`), header, 200, &meter.Usage{meter.Input: 8, meter.Output: 2}, false, true, ""},
		{"the alias alone", "/model/x/converse", []byte(`{"usage":{"inputTokens":1,"outputTokens":2,"cacheReadInputTokenCount":5,"cacheWriteInputTokenCount":7}}`), nil, 200,
			&meter.Usage{meter.Input: 1, meter.CachedInput: 5, meter.CacheWrite5m: 7, meter.Output: 2}, false, true, ""},
		{"zero is a usage", "/model/x/converse", []byte(`{"usage":{"inputTokens":0,"outputTokens":0}}`), nil, 200, &meter.Usage{}, false, true, ""},
		{"no usage", "/model/x/converse", []byte(`{"output":{}}`), nil, 200, nil, false, true, ""},
		{"counting is free", "/model/x/count-tokens", []byte(`{"inputTokens":12}`), nil, 200, &meter.Usage{meter.UnbilledInput: 12}, false, true, ""},
		{"error", "/model/x/converse", []byte(`{"message":"no such model"}`), header, 404, nil, false, true, "no such model"},
		{"OpenAI's form", "/model/openai.gpt-oss-20b-1:0/invoke", []byte(`{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}`), nil, 200,
			&meter.Usage{meter.Input: 6, meter.CachedInput: 4, meter.Output: 3, meter.Reasoning: 2}, false, true, ""},
	} {
		codec, _ := Match("", "POST", test.path)
		for seed := range uint64(4) {
			got := wiretest.Read(t, codec, read(t, test.path, `{}`), wiretest.Response{Status: test.status, Header: test.header, Body: test.body}, seed)
			if diff := cmp.Diff(test.usage, got.Usage); diff != "" || got.Partial != test.partial || got.Terminal != test.terminal || got.Failure != test.failure {
				t.Errorf("%s: partial %t, terminal %t, failure %q %s", test.name, got.Partial, got.Terminal, got.Failure, diff)
			}
		}
	}
}

// TestBrokenChecksum: a stream whose checksum is wrong is not whole, and says where it broke.
func TestBrokenChecksum(t *testing.T) {
	t.Parallel()
	body := event(t, "metadata", `{"usage":{"inputTokens":1,"outputTokens":1}}`)
	body[len(body)-1] ^= 1
	codec, _ := Match("", "POST", "/model/x/converse-stream")
	got := wiretest.Read(t, codec, read(t, "/model/x/converse-stream", `{}`), wiretest.Response{Status: 200, Body: body}, 1)
	if got.Terminal || got.Usage != nil || !strings.Contains(got.Failure, "at byte 0") {
		t.Errorf("%+v", got)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("anthropic.claude-3", `{"messages":[{"content":[{"type":"image","source":{"data":"x"}}]}],"tools":[{}]}`, true)
	f.Add("amazon.nova", `{"system":[{"text":"x"}],"toolConfig":{"tools":[{"toolSpec":{}}]}}`, false)
	f.Fuzz(func(t *testing.T, model, body string, invoke bool) {
		path := "/model/x" + strings.Map(func(r rune) rune {
			if r == '.' || r == '-' || r >= 'a' && r <= 'z' {
				return r
			}
			return -1
		}, model) + "/converse"
		if invoke {
			path = strings.TrimSuffix(path, "converse") + "invoke"
		}
		codec, ok := Match("", "POST", path)
		if !ok {
			return
		}
		r, err := codec.ReadRequest(path, []byte(body))
		if err != nil {
			return
		}
		if _, claude := ofClaude(r); !claude { // which is read otherwise than a model of another name
			wiretest.Rewrite(t, codec, path, []byte(body))
			return
		}
		_, limited := codec.Rewrite(r, path, []byte(body), wire.Edit{MaxOutputTokens: 7})
		if again, err := codec.ReadRequest(path, limited); err != nil || again.MaxOutputTokens > 7 {
			t.Fatalf("limited to %s: %v", limited, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"usage":{"inputTokens":1,"outputTokens":2}}`), uint8(0), uint64(1))
	f.Add(event(f, "metadata", `{"usage":{"inputTokens":1},"trace":{"promptRouter":{"invokedModelId":"a/b"}}}`), uint8(1), uint64(2))
	f.Add(event(f, "chunk", `{"bytes":"e30="}`), uint8(2), uint64(3))
	f.Add([]byte(`{"usage":{"input_tokens":1,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_1h_input_tokens":5}},"completion":"x"}`), uint8(3), uint64(1))
	f.Add(event(f, "chunk", `{"bytes":"eyJ0eXBlIjoibWVzc2FnZV9zdG9wIiwiYW1hem9uLWJlZHJvY2staW52b2NhdGlvbk1ldHJpY3MiOnsiaW5wdXRUb2tlbkNvdW50Ijo5fX0="}`), uint8(4), uint64(3))
	paths := []string{"/model/x/converse", "/model/x/converse-stream", "/model/x/invoke-with-response-stream", "/model/anthropic.x/invoke", "/model/anthropic.x/invoke-with-response-stream", "/model/x/count-tokens"}
	f.Fuzz(func(t *testing.T, body []byte, which uint8, seed uint64) {
		path := paths[int(which)%len(paths)]
		codec, _ := Match("", "POST", path)
		r, err := codec.ReadRequest(path, []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		wiretest.Fuzz(t, codec, r, 200, body, seed)
	})
}
