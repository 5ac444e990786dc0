package metering

import (
	"testing"
	"time"

	"keel/filter/wire/recording"
	"keel/pricing"
	"keel/pricing/tokens"
)

// day is the price date of hand-made exchanges.
var day = time.Date(2026, 8, 22, 0, 0, 0, 0, time.UTC)

func catalogMeter() *Meter {
	return &Meter{Book: pricing.Catalog(), Estimator: tokens.New(), At: day}
}

// exchange is a hand-made one with status 200.
func exchange(provider, path, request, response string) *recording.Exchange {
	return &recording.Exchange{Provider: provider, Method: "POST", Path: path, RequestText: &request, ResponseText: &response, Status: 200}
}

const (
	chatPath  = "/v1/chat/completions"
	ask       = `"messages":[{"role":"user","content":"Say hi"}]}`
	askClaude = `{"model":"claude-sonnet-5","max_tokens":4096,"stream":true,` + ask
)

// TestTraps: where the same field means different things at different
// providers. Every figure of a response here was seen in recorded traffic or
// has the form of one, and what is wanted is worked out by hand.
func TestTraps(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                              string
		provider, path, request, response string
		want                              totals
		cost                              string // at catalogue prices; "" is not looked at
	}{
		{"xAI chat: reasoning is beside completion_tokens", "xai", chatPath, `{"model":"grok-4-fast",` + ask,
			`{"model":"grok-4-fast","choices":[],"usage":{"prompt_tokens":401,"completion_tokens":44,"total_tokens":630,"completion_tokens_details":{"reasoning_tokens":185}}}`,
			totals{401, 0, 0, 229, 185}, "0.0001947"}, // 401 × 0.20 + 229 × 0.50 a million
		{"xAI Responses: reasoning is inside", "xai", "/v1/responses", `{"model":"grok-4.3","input":"hi"}`,
			`{"id":"r","object":"response","status":"completed","model":"grok-4.3","output":[],"usage":{"input_tokens":100,"output_tokens":50,"output_tokens_details":{"reasoning_tokens":40},"total_tokens":150}}`,
			totals{100, 0, 0, 50, 40}, "0.00025"}, // 100 × 1.25 + 50 × 2.50
		{"Vercel: reasoning is beside, and the total leaves it out", "vercel-gateway", chatPath, `{"model":"openai/gpt-5",` + ask,
			`{"model":"openai/gpt-5","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"cost":0.0008525,"market_cost":0.0008525,"completion_tokens_details":{"reasoning_tokens":64}}}`,
			totals{10, 0, 0, 84, 64}, "0.0008525"}, // 10 × 1.25 + 84 × 10
		{"Google's OpenAI-compatible endpoint hides thoughts in the total", "google", "/v1beta/openai/chat/completions", `{"model":"gemini-2.5-flash",` + ask,
			`{"model":"gemini-2.5-flash","choices":[],"usage":{"prompt_tokens":35,"completion_tokens":12,"total_tokens":109}}`,
			totals{input: 35, output: 74}, "0.0001955"}, // 35 × 0.30 + 74 × 2.50
		{"Gemini: thoughts beside candidates, tools beside the prompt, modalities as numbers", "google", "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[{"parts":[{"text":"hi"}]}]}`,
			`{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"modelVersion":"gemini-2.5-flash","usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":122,"thoughtsTokenCount":447,"toolUsePromptTokenCount":419,"totalTokenCount":996,"promptTokensDetails":[{"modality":1,"tokenCount":8}],"trafficType":1}}`,
			totals{427, 0, 0, 569, 447}, "0.0015506"}, // 427 × 0.30 + 569 × 2.50
		{"Anthropic: caches are beside input_tokens", "anthropic", "/v1/messages", `{"model":"claude-sonnet-4-5","max_tokens":9,` + ask,
			`{"id":"m","type":"message","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":5}}`,
			totals{1110, 1000, 100, 5, 0}, "0.00078"}, // 10 × 3 + 100 × 3.75 + 1000 × 0.30 + 5 × 15
		{"Anthropic: what is not said to be kept an hour is kept five minutes", "anthropic", "/v1/messages", `{"model":"claude-sonnet-4-5","max_tokens":9,` + ask,
			`{"id":"m","type":"message","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":"end_turn","usage":{"input_tokens":0,"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":40},"cache_read_input_tokens":0,"output_tokens":0}}`,
			totals{input: 100, written: 100}, "0.000465"}, // 60 × 3.75 + 40 × 6
		{"cached above the prompt", "azure", "/openai/deployments/x/chat/completions", `{` + ask,
			`{"model":"grok-4-1-fast-non-reasoning","choices":[],"usage":{"prompt_tokens":202,"completion_tokens":7,"total_tokens":209,"prompt_tokens_details":{"cached_tokens":314}}}`,
			totals{202, 202, 0, 7, 0}, ""},
		{"reasoning above completion", "openrouter", chatPath, `{"model":"minimax/minimax-m2",` + ask,
			`{"model":"minimax/minimax-m2","choices":[],"usage":{"prompt_tokens":50,"completion_tokens":10,"total_tokens":60,"completion_tokens_details":{"reasoning_tokens":11}}}`,
			totals{50, 0, 0, 10, 10}, ""},
		{"Bedrock: caches beside the input, under two names each", "bedrock", "/model/us.anthropic.claude-sonnet-4-20250514-v1:0/converse", `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`,
			`{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn","usage":{"inputTokens":10,"outputTokens":5,"totalTokens":1115,"cacheReadInputTokens":1000,"cacheReadInputTokenCount":1000,"cacheWriteInputTokens":100,"cacheWriteInputTokenCount":100}}`,
			totals{1110, 1000, 100, 5, 0}, ""},
		{"Cohere: what was counted is more than what is billed", "cohere", "/v2/chat", `{"model":"command-r-08-2024",` + ask,
			`{"id":"c","finish_reason":"COMPLETE","message":{"role":"assistant","content":[]},"usage":{"billed_units":{"input_tokens":8,"output_tokens":4},"tokens":{"input_tokens":503,"output_tokens":6}}}`,
			totals{input: 503, output: 6}, "0.0000036"}, // 8 × 0.15 + 4 × 0.60
		{"Mistral: audio is beside the prompt", "mistral", chatPath, `{"model":"voxtral-mini-latest",` + ask,
			`{"model":"voxtral-mini-latest","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":248,"total_tokens":632,"prompt_audio_seconds":30,"prompt_tokens_details":{"audio_tokens":375}}}`,
			totals{input: 384, output: 248}, ""},
		{"DeepSeek: hits and misses are the prompt", "deepseek", "/chat/completions", `{"model":"deepseek-chat",` + ask,
			`{"model":"deepseek-chat","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}}`,
			totals{input: 100, cached: 64, output: 5}, ""},
		{"Groq: three copies of one usage", "groq", "/openai/v1/chat/completions", `{"model":"llama-3.3-70b-versatile","stream":true,` + ask,
			`data: {"model":"llama-3.3-70b-versatile","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}},"usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}` + "\n\n" +
				`data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}` + "\n\ndata: [DONE]\n\n",
			totals{input: 20, output: 3}, "0.00001417"}, // 20 × 0.59 + 3 × 0.79
		{"Anthropic: message_delta is final, of input, too", "anthropic", "/v1/messages", askClaude,
			"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"claude-sonnet-5\",\"usage\":{\"input_tokens\":2049,\"output_tokens\":1}}}\n\n" +
				"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":13520,\"output_tokens\":88}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
			totals{input: 13520, output: 88}, ""},
		{"watsonx: the input is in the first event alone", "watsonx", "/ml/v1/text/generation_stream?version=2024", `{"model_id":"google/flan-ul2","input":"hi"}`,
			"id: 1\nevent: message\ndata: {\"model_id\":\"google/flan-ul2\",\"results\":[{\"generated_text\":\"a\",\"generated_token_count\":1,\"input_token_count\":9,\"stop_reason\":\"not_finished\"}]}\n\n" +
				"id: 2\nevent: message\ndata: {\"model_id\":\"google/flan-ul2\",\"results\":[{\"generated_text\":\"b\",\"generated_token_count\":2,\"input_token_count\":0,\"stop_reason\":\"eos_token\"}]}\n\n",
			totals{input: 9, output: 2}, ""},
		{"OpenAI compacts for money", "openai", "/v1/responses/compact", `{"model":"gpt-5-mini","input":"hi"}`,
			`{"id":"resp","object":"response.compaction","created_at":1767225600,"output":[],"usage":{"input_tokens":139,"input_tokens_details":{"cached_tokens":0},"output_tokens":438,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":577}}`,
			totals{139, 0, 0, 438, 64}, "0.00091075"}, // 139 × 0.25 + 438 × 2
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := catalogMeter().Meter(exchange(test.provider, test.path, test.request, test.response))
			if r.Err != nil || r.Reading.Usage == nil || !r.Terminal {
				t.Fatalf("usage %v, terminal %v, error %v", r.Reading.Usage, r.Terminal, r.Err)
			}
			if got := totalsOf(r.Reading.Usage); got != test.want {
				t.Errorf("usage %+v, want %+v", got, test.want)
			}
			if got := r.Cost.Total.String(); test.cost != "" && (!r.Priced || got != test.cost) {
				t.Errorf("cost %s, priced %v, want %s (%s)", got, r.Priced, test.cost, r.Note)
			}
		})
	}
}

// TestAdvisor: a second model worked on the answer, and the total does not have its tokens.
func TestAdvisor(t *testing.T) {
	t.Parallel()
	response := `{"id":"m","type":"message","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":"end_turn","usage":{"input_tokens":2417,"output_tokens":133,
		"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"iterations":[
		{"type":"message","input_tokens":1000,"output_tokens":33,"cache_read_input_tokens":0,"cache_creation_input_tokens":0},
		{"type":"advisor_message","model":"claude-opus-4-5","input_tokens":2529,"output_tokens":38,"cache_read_input_tokens":0,"cache_creation_input_tokens":0},
		{"type":"message","input_tokens":1417,"output_tokens":100,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}]}}`
	r := catalogMeter().Meter(exchange("anthropic", "/v1/messages", `{"model":"claude-sonnet-4-5","max_tokens":4096,`+ask, response))
	if got, want := totalsOf(r.Reading.Usage), (totals{input: 2417, output: 133}); got != want {
		t.Errorf("usage %+v, want the total that the provider states, %+v", got, want)
	}
	// 2417 × 3 + 133 × 15 of the model itself, 2529 × 5 + 38 × 25 of the adviser.
	if got, want := r.Cost.Total.String(), "0.022841"; got != want || !r.Priced {
		t.Errorf("cost %s, want %s (%s)", got, want, r.Note)
	}
}
