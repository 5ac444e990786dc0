package bedrock

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

// TestClaude: what Claude's own documents tell is read in full, and Bedrock's
// figures stand in where they tell nothing.
func TestClaude(t *testing.T) {
	t.Parallel()
	stream := func(docs ...string) []byte {
		var all [][]byte
		for _, doc := range docs {
			all = append(all, event(t, "chunk", `{"bytes":"`+base64.StdEncoding.EncodeToString([]byte(doc))+`","p":"ab"}`))
		}
		return bytes.Join(all, nil)
	}
	const (
		start   = `{"type":"message_start","message":{"id":"msg_1","model":"claude-x","usage":{"input_tokens":9,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1}}}`
		text    = `{"type":"content_block_delta","delta":{"type":"text_delta","text":"hello"}}`
		delta   = `{"type":"message_delta","delta":{},"usage":{"output_tokens":8,"output_tokens_details":{"thinking_tokens":3}}}`
		metrics = `"amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":8,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":30}`
		stop    = `{"type":"message_stop",` + metrics + `}`
		invoke  = "/model/us.anthropic.claude-x-v1%3A0/invoke"
		profile = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc/invoke"
	)
	whole := &meter.Usage{meter.Input: 9, meter.CacheWrite5m: 10, meter.CacheWrite1h: 20, meter.Output: 5, meter.Reasoning: 3}
	for _, test := range []struct {
		name, path        string
		body              []byte
		usage             *meter.Usage
		partial, terminal bool
		bytes             int64
	}{
		{"a message", invoke, []byte(`{"id":"msg_1","content":[{"type":"text","text":"hello"}],"usage":{"input_tokens":9,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_1h_input_tokens":20},"output_tokens":8,"output_tokens_details":{"thinking_tokens":3}}}`), whole, false, true, 5},
		{"a stream", invoke + "-with-response-stream", stream(start, text, delta, stop), whole, false, true, 5},
		{"a stream of a profile", profile + "-with-response-stream", stream(start, text, delta, stop), whole, false, true, 5},
		{"cut before the end", invoke + "-with-response-stream", stream(start, text, delta), whole, false, false, 5},
		{"cut before the last figures", invoke + "-with-response-stream", stream(start, text), &meter.Usage{meter.Input: 9, meter.CacheWrite5m: 10, meter.CacheWrite1h: 20, meter.Output: 1}, true, false, 5},
		{"without its own last figures", invoke + "-with-response-stream", stream(start, text, stop), &meter.Usage{meter.Input: 9, meter.CacheWrite5m: 10, meter.CacheWrite1h: 20, meter.Output: 8}, false, true, 5},
		{"complete", "/model/anthropic.claude-v2/invoke-with-response-stream", stream(`{"type":"completion","completion":"hel","stop_reason":null}`, `{"completion":"lo","stop_reason":"stop_sequence",`+metrics+`}`),
			&meter.Usage{meter.Input: 9, meter.CacheWrite5m: 30, meter.Output: 8}, false, true, 5},
	} {
		codec, _ := Match("", "POST", test.path)
		r := read(t, test.path, `{"anthropic_version":"bedrock-2023-05-31","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`)
		for seed := range uint64(4) {
			got := wiretest.Read(t, codec, r, wiretest.Response{Status: 200, Body: test.body}, seed)
			if diff := cmp.Diff(test.usage, got.Usage); diff != "" || got.Partial != test.partial || got.Terminal != test.terminal || got.Failure != "" || got.OutputBytes != test.bytes || got.RawUsage == nil {
				t.Errorf("%s: %s%+v", test.name, diff, got)
			}
		}
	}
}

// TestClaudeRequest: the body is read as Anthropic's, and limited with its budget of thinking.
func TestClaudeRequest(t *testing.T) {
	t.Parallel()
	const path, body = "/model/anthropic.claude-x-v1%3A0/invoke", `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9000,"stream":true,"thinking":{"type":"enabled","budget_tokens":8000},"messages":[{"role":"user","content":[{"type":"tool_result","content":"x"}]}]}`
	r := read(t, path, body)
	if r.API != wire.BedrockInvoke || r.Model != "anthropic.claude-x-v1:0" || r.Stream || r.MaxOutputTokens != 9000 || !r.Prompt.Thinking || segments(&r.Prompt)[0] != `tool_result "x"` {
		t.Errorf("%+v", r)
	}
	codec, _ := Match("", "POST", path)
	newPath, limited := codec.Rewrite(r, path, []byte(body), wire.Edit{Model: "anthropic.claude-y-v1:0", MaxOutputTokens: 4000})
	if again := read(t, newPath, string(limited)); again.Model != "anthropic.claude-y-v1:0" || again.MaxOutputTokens != 4000 || !bytes.Contains(limited, []byte(`"budget_tokens":3999`)) {
		t.Errorf("%s %s", newPath, limited)
	}
}
