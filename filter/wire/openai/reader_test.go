package openai

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"keel/filter/wire"
	"keel/pricing/meter"
)

var (
	eventStream = http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}
	plainJSON   = http.Header{"Content-Type": {"application/json"}}
)

func readAll(codec wire.Codec, r *wire.Request, status int, body string) wire.Reading {
	header := plainJSON
	if r.Stream {
		header = eventStream
	}
	_, reading := feed(codec.NewReader(r, status, header), []byte(body), nil, true)
	return reading
}

func TestReader(t *testing.T) {
	t.Parallel()
	sse := func(events ...string) string { return "data: " + strings.Join(events, "\n\ndata: ") + "\n\n" }
	const (
		hello = `{"model":"gpt-5-2025","service_tier":"auto","choices":[{"delta":{"content":"h\u00e9"},"finish_reason":null}],"usage":null}`
		stop  = `{"model":"gpt-5-2025","service_tier":"default","choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}`
		usage = `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`
	)
	tests := []struct {
		name   string
		codec  wire.Codec
		stream bool
		status int
		body   string
		want   string
	}{
		{"chat", Chat{}, false, 200, `{"model":"gpt-5-2025","service_tier":"default","choices":[{"message":{"content":"h\u00e9","refusal":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`,
			`model gpt-5-2025 tier default usage 3/2 terminal bytes 6`},
		{"chat cut", Chat{}, false, 200, `{"model":"gpt-5-2025","choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}`,
			`usage none bytes 115`},
		{"chat without usage", Chat{}, false, 200, `{"model":"x","choices":[]}`, `model x usage none terminal bytes 0`},
		{"chat with empty usage", Chat{}, false, 200, `{"model":"x","usage":{}}`, `model x usage none terminal bytes 0`},
		{"keep-alive in front", Chat{}, false, 200, "\n\n\n " + `{"model":"x","usage":{"prompt_tokens":1,"completion_tokens":0}}`, `model x usage 1/0 terminal bytes 0`},
		{"stream", Chat{}, true, 200, sse(hello, hello, stop, usage, "[DONE]"), `model gpt-5-2025 tier default usage 3/2 terminal bytes 6`},
		{"stream without done", Chat{}, true, 200, sse(hello, stop, usage), `model gpt-5-2025 tier default usage 3/2 bytes 3`},
		{"stream without usage", Chat{}, true, 200, sse(hello, stop, "[DONE]"), `model gpt-5-2025 tier default usage none terminal bytes 3`},
		{"stream cut", Chat{}, true, 200, sse(hello, hello), `model gpt-5-2025 tier auto usage none bytes 6`},
		{"moderation behind usage", Chat{}, true, 200, sse(stop, usage, `{"choices":[],"moderation":{}}`, "[DONE]"), `model gpt-5-2025 tier default usage 3/2 terminal bytes 0`},
		{"running usage", Chat{}, true, 200, sse(`{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`), `usage 3/1 partial bytes 1`},
		{"running usage, finished", Chat{}, true, 200, sse(`{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`,
			`{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`), `usage 3/4 bytes 1`},
		{"Perplexity", Chat{}, true, 200, strings.ReplaceAll(sse(`{"object":"chat.completion","choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`,
			`{"object":"chat.completion","choices":[{"delta":{"content":"b"},"message":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`), "\n", "\r\n"), `usage 3/2 terminal bytes 2`},
		{"Groq", Chat{}, true, 200, sse(hello, `{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":3,"completion_tokens":2}}}`, "[DONE]"),
			`model gpt-5-2025 tier auto usage 3/2 terminal bytes 3`},
		{"Groq fails", Chat{}, true, 200, sse(hello) + "event: error\n" + sse(`{"error":{"message":"Tool choice is required"}}`), `model gpt-5-2025 tier auto usage none bytes 3 failure Tool choice is required`},
		{"reasoning told twice", Chat{}, true, 200, sse(`{"choices":[{"delta":{"content":"a","reasoning":"bcd","reasoning_content":"bcd","reasoning_details":[{"text":"b"},{"summary":"cd"}]}}]}`), `usage none bytes 4`},
		{"half an emoji", Chat{}, true, 200, sse(`{"choices":[{"delta":{"content":"\ud83d"}}]}`), `usage none bytes 3`},
		{"broken event", Chat{}, true, 200, sse(`{"choices":`, usage, "[DONE]"), `usage 3/2 terminal bytes 0`},
		{"error for a stream", Chat{}, true, 429, `{"error":{"message":"slow down","code":"rate_limit"}}`, `usage none terminal bytes 0 failure slow down`},
		{"error of xAI", Chat{}, false, 400, `{"code":"invalid","error":"no such model"}`, `usage none terminal bytes 0 failure no such model`},
		{"error of Google", Chat{}, false, 400, `[{"error":{"code":400,"message":"bad key"}}]`, `usage none terminal bytes 0 failure bad key`},
		{"error without message", Chat{}, false, 400, `{"error":{"code":7}}`, `usage none terminal bytes 0 failure {"code":7}`},
		{"error as text", Chat{}, false, 404, `Not Found`, `usage none bytes 0 failure Not Found`},
		{"error as detail", Chat{}, false, 422, `{"detail":[{"msg":"extra"}]}`, `usage none terminal bytes 0 failure [{"msg":"extra"}]`},
		{"error inside a 200", Chat{}, false, 200, `{"error":{"message":"filtered"}}`, `usage none terminal bytes 0 failure filtered`},

		{"responses", Responses{}, false, 200, `{"status":"completed","error":null,"model":"m","service_tier":"flex","output":[{"type":"reasoning","summary":[{"text":"ab"}]},{"type":"web_search_call","action":{"type":"search"}},
			{"type":"web_search_call","action":{"type":"open_page"}},{"type":"message","content":[{"type":"output_text","text":"cde"}]}],"usage":{"input_tokens":3,"output_tokens":2}}`,
			`model m tier flex usage 3/2 searches 1 terminal bytes 5`},
		{"responses in the background", Responses{}, false, 200, `{"status":"queued","model":"m","output":[],"usage":null}`, `model m usage none terminal bytes 0`},
		{"responses stream", Responses{}, true, 200, sse(`{"type":"response.created","response":{"model":"m","service_tier":"auto","usage":null,"output":[]}}`,
			`{"type":"response.output_text.delta","delta":"abc","obfuscation":"xxxx"}`, `{"type":"response.output_text.done","text":"abc"}`, `{"type":"response.function_call_arguments.delta","delta":"{}"}`,
			`{"type":"response.output_item.done","item":{"type":"web_search_call","action":{"type":"search"}}}`,
			`{"type":"response.completed","response":{"service_tier":"default","output":[{"type":"web_search_call"},{"type":"message","content":[{"text":"abc"}]}],"usage":{"input_tokens":3,"output_tokens":2}}}`),
			`model m tier default usage 3/2 searches 1 terminal bytes 5`},
		{"responses incomplete", Responses{}, true, 200, sse(`{"type":"response.incomplete","response":{"usage":{"input_tokens":3,"output_tokens":2}}}`), `usage 3/2 terminal bytes 0`},
		{"responses failed", Responses{}, true, 200, sse(`{"type":"response.failed","response":{"error":{"code":"server_error","message":"sorry"},"usage":null}}`), `usage none terminal bytes 0 failure sorry`},
		{"responses error event", Responses{}, true, 200, sse(`{"message":"sorry","type":"error"}`), `usage none bytes 0 failure sorry`},
		{"responses usage too early", Responses{}, true, 200, sse(`{"type":"response.in_progress","response":{"usage":{"input_tokens":3,"output_tokens":0}}}`), `usage 3/0 partial bytes 0`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reading := readAll(test.codec, &wire.Request{Stream: test.stream, Choices: 1}, test.status, test.body)
			if got := short(reading); got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
		})
	}
}

// short renders a Reading in one line.
func short(r wire.Reading) string {
	var b strings.Builder
	if r.Model != "" {
		fmt.Fprintf(&b, "model %s ", r.Model)
	}
	if r.ServiceTier != "" {
		fmt.Fprintf(&b, "tier %s ", r.ServiceTier)
	}
	if r.Usage == nil {
		b.WriteString("usage none")
	} else {
		fmt.Fprintf(&b, "usage %d/%d", r.Usage.InputTokens(), r.Usage.OutputTokens())
		if n := r.Usage[meter.WebSearch]; n > 0 {
			fmt.Fprintf(&b, " searches %d", n)
		}
	}
	if r.Terminal {
		b.WriteString(" terminal")
	}
	if r.Partial {
		b.WriteString(" partial")
	}
	fmt.Fprintf(&b, " bytes %d", r.OutputBytes)
	if r.Failure != "" {
		b.WriteString(" failure " + r.Failure)
	}
	return b.String()
}

func TestGarbageIsForwarded(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "<html>", "data: ", "[1,2", "{", "\x00\xff", "[]", "  ", "null"} {
		for _, codec := range []wire.Codec{Chat{}, Responses{}} {
			for _, r := range []*wire.Request{{Stream: true, UsageForced: true}, {}} {
				got, reading := feed(codec.NewReader(r, 200, http.Header{}), []byte(body), nil, true)
				if string(got) != body || reading.Terminal || reading.Usage != nil {
					t.Errorf("%q became %q, %s", body, got, short(reading))
				}
			}
		}
	}
}

func TestLargeBodyIsNotKept(t *testing.T) {
	t.Parallel()
	reader := newReader(&chatReading{choices: 1}, &wire.Request{Choices: 1}, 200, plainJSON)
	reader.Feed([]byte(`{"model":"`), false)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range maxBody>>20 + 1 {
		reader.Feed(chunk, false)
	}
	reader.Feed([]byte(`"}`), true)
	if r := reader.Reading(); r.Terminal || r.OutputBytes < maxBody || cap(reader.buffer) > 0 {
		t.Errorf("%s, keeps %d bytes", short(r), cap(reader.buffer))
	}
}
