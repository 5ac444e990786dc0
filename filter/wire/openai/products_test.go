package openai

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"keel/filter/wire"
	"keel/pricing/meter"
)

// metered renders what a Reading says is billed.
func metered(r wire.Reading) string {
	list := func(u *meter.Usage) string {
		var all []string
		for kind, n := range u {
			if n != 0 {
				all = append(all, fmt.Sprintf("%v %d", meter.Kind(kind), n))
			}
		}
		return strings.Join(all, ", ")
	}
	s := "none"
	if r.Usage != nil {
		s = list(r.Usage)
	}
	for _, p := range r.Parts {
		s += "; " + strings.TrimSpace(p.Model+" "+list(&p.Usage))
	}
	if r.ReportedCost != "" {
		s += "; $" + r.ReportedCost
	}
	if r.Partial {
		s += "; partial"
	}
	if r.Terminal {
		s += "; terminal"
	}
	return s
}

func events(data ...string) string { return "data: " + strings.Join(data, "\n\ndata: ") + "\n\n" }

// TestProducts reads what the APIs bill for beside the tokens of text.
func TestProducts(t *testing.T) {
	t.Parallel()
	const (
		chat, embed, image, sound, speak = chatPath, "/v1/embeddings", "/v1/images/generations", transcriptionsPath, "/v1/audio/speech"
		search                           = `{"type":"web_search_call","action":{"type":"search","query":"x"}}`
		open                             = `{"type":"web_search_call","action":{"type":"open_page"}}`
		tokens                           = `"usage":{"input_tokens":3,"output_tokens":2}`
		code                             = `{"type":"code_interpreter_call","container_id":"%s","code":"1"}`
	)
	code1, code2 := fmt.Sprintf(code, "c1"), fmt.Sprintf(code, "c2")
	tests := []struct {
		name, path, body, want string
	}{
		{"embeddings", embed, `{"data":[{"embedding":[0.1]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}`, "input 7; terminal"},
		{"embeddings, total alone (Voyage)", embed, `{"usage":{"total_tokens":7}}`, "input 7; terminal"},
		{"embeddings, no tokens (Voyage)", embed, `{"usage":{"total_tokens":0}}`, "; terminal"},
		{"embeddings, cost (Perplexity)", embed, `{"usage":{"cost":{"currency":"USD","input_cost":2.8e-08,"total_cost":2.8e-08},"prompt_tokens":7,"total_tokens":7}}`, "input 7; $0.000000028; terminal"},
		{"rerank (OpenRouter)", "/v1/rerank", `{"results":[],"usage":{"total_tokens":17,"cost":3.4e-7}}`, "input 17; $0.00000034; terminal"},
		{"moderation", "/v1/moderations", `{"id":"modr-1","model":"m","results":[]}`, "none; terminal"},
		{"count", "/v1/responses/input_tokens", `{"object":"response.input_tokens","input_tokens":18}`, "unbilled_input 18; terminal"},

		{"image tokens", image, `{"data":[{"b64_json":"AA"}],"usage":{"total_tokens":1106,"input_tokens":50,"output_tokens":1056,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}`,
			"input 10, input_image 40, output_image 1056; terminal"},
		{"image tokens and text", image, `{"data":[{}],"usage":{"input_tokens":5,"output_tokens":30,"output_tokens_details":{"image_tokens":20,"text_tokens":10}}}`, "input 5, output 10, output_image 20; terminal"},
		{"image tokens (OpenRouter)", image, `{"data":[{}],"usage":{"prompt_tokens":1125,"completion_tokens":1120,"total_tokens":2245,"cost":0.03388125,"completion_tokens_details":{"image_tokens":1120}}}`,
			"input 1125, output_image 1120; $0.03388125; terminal"},
		{"image cost (xAI)", image, `{"data":[{"url":"u"}],"usage":{"cost_in_usd_ticks":700000000}}`, "images 1; $0.07; terminal"},
		// OpenAI, Batch object: usage is of the whole job, 0 until it has ended (measured).
		{"batch under way", "GET /v1/batches/b", `{"id":"batch_1","object":"batch","model":null,"status":"validating","usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0}}`, "; partial; terminal"},
		{"batch", "GET /v1/batches/b", `{"id":"batch_1","object":"batch","model":"m","status":"completed","usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":6},"output_tokens":224,"output_tokens_details":{"reasoning_tokens":128},"total_tokens":260}}`,
			"input 30, cached_input 6, output 96, reasoning 128; terminal"},
		{"batch before 2025", "GET /v1/batches/b", `{"id":"batch_1","object":"batch","status":"completed"}`, "none; terminal"},
		// Mistral, Get batch job: outputs are inline where the requests were.
		{"batch (Mistral)", "GET /v1/batch/jobs/b", `{"id":"b","status":"SUCCESS","outputs":[{"response":{"body":{"model":"m","usage":{"prompt_tokens":27,"completion_tokens":2,"total_tokens":29},"choices":[{"usage":{"prompt_tokens":1}}]}}},{"response":{"body":{"usage":{"prompt_tokens":27,"completion_tokens":3}}}},{"error":{"usage":{"prompt_tokens":1}}}]}`,
			"input 54, output 5; terminal"},
		{"batch under way (Mistral)", "GET /v1/batch/jobs/b", `{"id":"b","status":"RUNNING","outputs":null}`, "none; terminal"},
		// xAI, List batch results: each has its own usage and cost.
		{"batch (xAI)", "GET /v1/batches/b/results", `{"results":[{"batch_result":{"response":{"chat_get_completion":{"model":"m","usage":{"prompt_tokens":204,"completion_tokens":1,"total_tokens":287,"prompt_tokens_details":{"cached_tokens":192},"completion_tokens_details":{"reasoning_tokens":82},"cost_in_usd_ticks":2087200}}}}},
			{"batch_result":{"response":{"chat_get_completion":{"usage":{"prompt_tokens":204,"completion_tokens":2,"total_tokens":268,"prompt_tokens_details":{"cached_tokens":128},"completion_tokens_details":{"reasoning_tokens":62},"cost_in_usd_ticks":2244800}}}}}],"pagination_token":null}`,
			"input 88, cached_input 320, output 3, reasoning 144; $0.0004332; terminal"},
		{"batch with more pages (xAI)", "GET /v1/batches/b/results", `{"results":[{"usage":{"prompt_tokens":2,"completion_tokens":1}}],"pagination_token":"x"}`, "input 2, output 1; partial; terminal"},

		// OpenAI, Video object; xAI, Get video (measured).
		{"video under way", "GET /v1/videos/v", `{"id":"video_1","object":"video","status":"in_progress","progress":33,"model":"sora-2","seconds":"8","size":"720x1280"}`, "none; terminal"},
		{"video", "GET /v1/videos/v", `{"id":"video_1","object":"video","status":"completed","model":"sora-2","seconds":"8","size":"720x1280"}`, "none; output_seconds 8; terminal"},
		{"video that failed", "GET /v1/videos/v", `{"id":"video_1","object":"video","status":"failed","seconds":"8","error":{"message":"no"}}`, "none; terminal"},
		{"video started (xAI)", "POST /v1/videos/generations", `{"request_id":"v"}`, "none; terminal"},
		{"video (xAI)", "GET /v1/videos/v", `{"status":"done","video":{"url":"u","duration":1},"model":"grok-imagine-video","usage":{"cost_in_usd_ticks":500000000},"progress":100}`, "output_seconds 1; $0.05; terminal"},

		// watsonx.ai, Text embeddings and Infer text chat.
		{"embeddings (watsonx)", "POST /ml/v1/text/embeddings", `{"model_id":"m","results":[{"embedding":[1]}],"input_token_count":10}`, "input 10; terminal"},
		{"chat (watsonx)", "POST /ml/v1/text/chat", `{"id":"chat-1","model_id":"m","choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"completion_tokens":20,"prompt_tokens":10,"total_tokens":30}}`, "input 10, output 20; terminal"},
		{"chat in a stream (watsonx)", "POST /ml/v1/text/chat_stream", events(`{"model_id":"m","choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}`, `{"model_id":"m","choices":[],"usage":{"completion_tokens":20,"prompt_tokens":10,"total_tokens":30}}`), "input 10, output 20; terminal"},

		// Azure serves models of xAI, and leaves the cost at 0 (measured).
		{"a cost that is not stated (Azure)", chat, `{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":8,"total_tokens":15,"cost_in_usd_ticks":0}}`, "input 7, output 8; terminal"},
		{"images without usage", image, `{"created":1685630540,"data":[{"url":"u"},{"url":"v"}]}`, "none; images 2; terminal"},
		{"no image", image, `{"error":{"message":"no"}}`, "none; terminal"},
		{"image stream", image, events(`{"type":"image_generation.partial_image","b64_json":"AA"}`, `{"type":"image_generation.completed","usage":{"input_tokens":5,"output_tokens":30}}`),
			"input 5, output_image 30; terminal"},
		{"image stream, not all", image, events(`{"type":"image_generation.partial_image","b64_json":"AA"}`), "none"},

		{"transcription by tokens", sound, `{"text":"a","usage":{"type":"tokens","total_tokens":49,"input_tokens":37,"input_token_details":{"text_tokens":0,"audio_tokens":37},"output_tokens":12}}`,
			"input_audio 37, output 12; terminal"},
		{"transcription by seconds", sound, `{"text":"a","usage":{"type":"duration","seconds":4}}`, "input_seconds 4; terminal"},
		{"transcription by parts of seconds", sound, `{"text":"a","usage":{"type":"duration","seconds":4.01}}`, "input_seconds 5; terminal"},
		{"transcription (Mistral)", sound, `{"text":"a","usage":{"prompt_audio_seconds":3,"prompt_tokens":5,"total_tokens":400,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":375}}}`,
			"input 5, unbilled_input 375, output 20, input_seconds 3; terminal"},
		{"transcription with a duration (xAI)", sound, `{"text":"a","duration":3.7}`, "none; input_seconds 4; terminal"},
		{"transcription with a duration in quotes", sound, `{"text":"a","duration":"8.47"}`, "none; input_seconds 9; terminal"},
		{"transcription without usage", sound, `{"text":"a"}`, "none; terminal"},
		{"transcription as a stream", sound, events(`{"type":"transcript.text.delta","delta":"a"}`, `{"type":"transcript.text.done","text":"a","usage":{"type":"tokens","input_tokens":37,"output_tokens":12}}`, "[DONE]"),
			"input 37, output 12; terminal"},
		{"transcription as a stream, cut", sound, events(`{"type":"transcript.text.delta","delta":"a"}`, `{"type":"transcript.text.done","text":"a","usage":{"type":"tokens","input_tokens":37,"output_tokens":12}}`),
			"input 37, output 12"},
		{"speech as events", speak, events(`{"type":"speech.audio.delta","audio":"AA"}`, `{"type":"speech.audio.done","usage":{"input_tokens":7,"output_tokens":90,"total_tokens":97}}`), "input 7, output_audio 90; terminal"},

		{"searches", responsesPath, `{"output":[` + search + `,` + open + `,` + search + `],` + tokens + `}`, "input 3, output 2, web_search 2; terminal"},
		{"searches told beside usage", responsesPath, `{"output":[` + search + `],"tool_usage":{"image_gen":{"total_tokens":0},"web_search":{"num_requests":2}},` + tokens + `}`, "input 3, output 2, web_search 2; terminal"},
		{"searches in a stream", responsesPath, events(`{"type":"response.output_item.done","item":`+search+`}`, `{"type":"response.output_item.done","item":`+search+`}`, `{"type":"response.completed","response":{"output":[`+search+`,`+search+`],`+tokens+`}}`),
			"input 3, output 2, web_search 2; terminal"},
		{"files and code", responsesPath, `{"output":[{"type":"file_search_call"},{"type":"file_search_call"},` + code1 + `,` + code1 + `,` + code2 + `,{"type":"mcp_call"}],` + tokens + `}`,
			"input 3, output 2, file_search 2, code_interpreter 2; terminal"},
		{"files and code in a stream", responsesPath, events(`{"type":"response.output_item.done","item":`+code1+`}`, `{"type":"response.output_item.done","item":{"type":"file_search_call"}}`, `{"type":"response.completed","response":{"output":[`+code1+`,{"type":"file_search_call"}],`+tokens+`}}`),
			"input 3, output 2, file_search 1, code_interpreter 1; terminal"},
		{"xAI counts its tools", responsesPath, `{"output":[` + search + `],"usage":{"input_tokens":3,"output_tokens":2,"cost_in_usd_ticks":160708500,"server_side_tool_usage_details":{"web_search_calls":2,"x_search_calls":1,"code_interpreter_calls":4,"file_search_calls":5,"document_search_calls":6,"mcp_calls":7}}}`,
			"input 3, output 2, web_search 3, file_search 11, code_interpreter 4; $0.01607085; terminal"},
		{"images made by a tool, tokens told", responsesPath, `{"output":[{"type":"image_generation_call","result":"AA"}],"tools":[{"type":"image_generation","model":"gpt-image-1.5"}],"tool_usage":{"image_gen":{"input_tokens":9,"output_tokens":100,"total_tokens":109,"output_tokens_details":{"image_tokens":100,"text_tokens":0}}},` + tokens + `}`,
			"input 3, output 2; input 3, output 2; gpt-image-1.5 input 9, output_image 100; terminal"},
		{"images made by a tool", responsesPath, `{"output":[{"type":"image_generation_call","result":"AA"}],` + tokens + `}`, "input 3, output 2, images 1; terminal"},
		{"cost told in the end of a stream that is marked", responsesPath, events(`{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":2,"cost":0.002196}}}`), "input 3, output 2; $0.002196; terminal"},

		{"search model", chat, `{"model":"gpt-4o-search-preview-2025-03-11","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}`, "input 3, output 2, web_search 1; terminal"},
		{"search that is counted", chat, `{"model":"openai/gpt-5","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"cost":0.0105,"server_tool_use":{"web_search_requests":1}}}`, "input 3, output 2, web_search 1; $0.0105; terminal"},
		{"own key (OpenRouter)", chat, `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"cost":0.0000003,"is_byok":true,"cost_details":{"upstream_inference_cost":6.3e-06}}}`, "input 3, output 2; $0.0000066; terminal"},
		{"free", chat, `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"cost":0,"is_byok":false,"cost_details":{"upstream_inference_cost":1}}}`, "input 3, output 2; $0; terminal"},
		{"cost of a request (Perplexity)", chat, `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"search_context_size":"low","cost":{"input_tokens_cost":0.00002,"output_tokens_cost":1e-05,"request_cost":0.005,"total_cost":0.00503}}}`, "input 3, output 2; $0.00503; terminal"},
		{"deep research (Perplexity)", chat, `{"choices":[],"usage":{"prompt_tokens":33,"completion_tokens":7163,"total_tokens":7196,"citation_tokens":20016,"num_search_queries":22,"reasoning_tokens":193000}}`,
			"input 20049, output 7163, reasoning 193000, web_search 22; terminal"},
		{"a gateway's estimate", chat, `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"pydantic_ai_gateway":{"cost_estimate":0.00012}}}`, "input 3, output 2; $0.00012; terminal"},
		{"cost alone", chat, `{"choices":[],"usage":{"cost":0.5}}`, "; $0.5; partial; terminal"},
		{"sound in a chat (Mistral)", chat, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":248,"total_tokens":632,"prompt_audio_seconds":30,"prompt_tokens_details":{"audio_tokens":375}}}`,
			"input 9, unbilled_input 375, output 248, input_seconds 30; terminal"},
		{"sound outside the prompt", chat, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":248,"total_tokens":632,"prompt_tokens_details":{"audio_tokens":375}}}`, "input 9, input_audio 375, output 248; terminal"},
		{"sound inside the prompt, reasoning outside", chat, `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":150,"prompt_tokens_details":{"audio_tokens":40},"completion_tokens_details":{"reasoning_tokens":40}}}`,
			"input 60, input_audio 40, output 10, reasoning 40; terminal"},
		{"video", chat, `{"choices":[],"usage":{"prompt_tokens":270,"completion_tokens":28,"prompt_tokens_details":{"video_tokens":258}}}`, "input 12, input_video 258, output 28; terminal"},
		{"models of a compound (Groq)", chat, `{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":3},"usage_breakdown":{"models":[{"model":"a","usage":{"prompt_tokens":10,"completion_tokens":1}},{"model":"b","usage":{"prompt_tokens":20,"completion_tokens":2}}]}}`,
			"input 30, output 3; a input 10, output 1; b input 20, output 2; terminal"},
		{"models that repeat the output (Groq)", chat, `{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":3},"usage_breakdown":{"models":[{"model":"a","usage":{"prompt_tokens":10,"completion_tokens":3}},{"model":"b","usage":{"prompt_tokens":20,"completion_tokens":3}}]}}`,
			"input 30, output 3; terminal"},
		{"models that repeat the input (Groq)", chat, `{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":3},"usage_breakdown":{"models":[{"model":"a","usage":{"prompt_tokens":30,"completion_tokens":1}},{"model":"b","usage":{"prompt_tokens":30,"completion_tokens":2}}]}}`,
			"input 30, output 3; terminal"},
		{"tools of a compound (Groq)", chat, `{"choices":[{"message":{"content":"x","executed_tools":[{"index":0,"type":"search"},{"index":1,"type":"python"}]}}],"usage":{"prompt_tokens":30,"completion_tokens":3},"usage_breakdown":{"models":[{"model":"a","usage":{"prompt_tokens":30,"completion_tokens":3}}]}}`,
			"input 30, output 3, web_search 1, hosted_tools 1; a input 30, output 3; web_search 1, hosted_tools 1; terminal"},
		{"tools of a compound in a stream (Groq)", chat, events(`{"choices":[{"delta":{"executed_tools":[{"index":0,"type":"search"}]}}]}`, `{"choices":[{"delta":{"executed_tools":[{"index":0,"type":"search","output":"x"}]},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":30,"completion_tokens":3}}}`, "[DONE]"),
			"input 30, output 3, web_search 1; terminal"},
		{"another model as a tool (OpenRouter)", chat, `{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":3,"cost":0.0160614,"server_tool_use_details":{"tool_calls_executed":1,"tool_calls_requested":1}}}`, "input 30, output 3, hosted_tools 1; $0.0160614; terminal"},
		{"searches are tool calls, too (OpenRouter)", chat, `{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":3,"server_tool_use_details":{"tool_calls_executed":2,"web_search_requests":2}}}`, "input 30, output 3, web_search 2; terminal"},
		{"models that repeat the total (Groq)", chat, `{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":3},"usage_breakdown":{"models":[{"model":"a","usage":{"prompt_tokens":30,"completion_tokens":3}},{"model":"b","usage":{"prompt_tokens":30,"completion_tokens":3}}]}}`,
			"input 30, output 3; terminal"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &wire.Request{Choices: 1, Stream: strings.HasPrefix(test.body, "data")}
			if got := metered(readAll(codecOf(test.path), r, 200, test.body)); got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
			if r := readAll(codecOf(test.path), r, 429, test.body); slices.ContainsFunc(r.Parts, func(p meter.Part) bool { return p.Usage[meter.Images] > 0 }) {
				t.Error("an error is billed")
			}
		})
	}
}

// TestImagesInAStream: each image tells what it used, and the last asked for is the end.
func TestImagesInAStream(t *testing.T) {
	t.Parallel()
	const one = `{"type":"image_generation.completed","usage":{"input_tokens":5,"output_tokens":30,"input_tokens_details":{"text_tokens":5,"image_tokens":0}}}`
	r := &wire.Request{Choices: 2, Stream: true}
	if got := metered(readAll(images, r, 200, events(one))); got != "input 5, output_image 30" {
		t.Error(got)
	}
	if got := metered(readAll(images, r, 200, events(one, `{"type":"image_generation.partial_image"}`, one))); got != "input 10, output_image 60; terminal" {
		t.Error(got)
	}
}

// TestSpeech: sound passes unread and is billed by the characters that were asked for.
func TestSpeech(t *testing.T) {
	t.Parallel()
	r, err := speech.ReadRequest("/v1/audio/speech", []byte(`{"model":"tts-1","input":"h\u00e9y \ud83d\ude00","voice":"alloy"}`))
	if err != nil {
		t.Fatal(err)
	}
	for contentType, status := range map[string]int{"audio/mpeg": 200, "application/octet-stream": 200} {
		reader := speech.NewReader(r, status, http.Header{"Content-Type": {contentType}})
		chunk := []byte("ID3\x04{\"usage\":1}")
		if got := reader.Feed(chunk, true); string(got) != string(chunk) {
			t.Errorf("forwarded %q", got)
		}
		reading := reader.Reading()
		if got := metered(reading); got != "none; characters 5" || reading.OutputBytes != 0 {
			t.Errorf("%s, %d bytes", got, reading.OutputBytes)
		}
	}
	if got := metered(readAll(speech, r, 400, `{"error":{"message":"no"}}`)); got != "none; terminal" {
		t.Error(got)
	}
}

// TestRuns: of what a stream of a run tells again and again, the run's counts are taken.
func TestRuns(t *testing.T) {
	t.Parallel()
	const (
		created = `{"id":"run_1","object":"thread.run","created_at":1774965933,"model":"gpt-4o","status":"queued","usage":null}`
		delta   = `{"id":"msg_1","object":"thread.message.delta","delta":{"content":[{"type":"text","text":{"value":"four"}}]}}`
		code    = `{"id":"step_1","object":"thread.run.step.delta","delta":{"step_details":{"type":"tool_calls","tool_calls":[{"type":"code_interpreter","code_interpreter":{"input":"2+2"}}]}}}`
		step1   = `{"usage":{"prompt_tokens":154,"completion_tokens":62,"total_tokens":216,"prompt_token_details":{"cached_tokens":10}},"object":"thread.run.step","step_details":{"tool_calls":[{"type":"code_interpreter"},{"type":"file_search"}]},"id":"step_1"}`
		step2   = `{"object":"thread.run.step","usage":{"prompt_tokens":200,"completion_tokens":20,"total_tokens":220}}`
		run     = `{"id":"run_1","object":"thread.run","created_at":1774965933,"model":"gpt-4o","usage":{"prompt_tokens":354,"completion_tokens":82,"total_tokens":436,"prompt_token_details":{"cached_tokens":10}}}`
		failed  = `{"id":"run_1","object":"thread.run","last_error":{"code":"server_error","message":"sorry"},"usage":null}`
	)
	for _, test := range []struct{ name, body, want string }{
		{"whole", events(created, code, step1, delta, step2, run, "[DONE]"), "input 344, cached_input 10, output 82, file_search 1, code_interpreter 1; terminal"},
		{"a step told behind the run", events(created, run, step2, "[DONE]"), "input 344, cached_input 10, output 82; terminal"},
		{"cut behind the run", events(created, code, step1, delta, step2, run), "input 344, cached_input 10, output 82, file_search 1, code_interpreter 1"},
		{"cut behind a step", events(created, step1), "input 144, cached_input 10, output 62, file_search 1, code_interpreter 1; partial"},
		{"cut behind both steps", events(created, step1, step2), "input 344, cached_input 10, output 82, file_search 1, code_interpreter 1; partial"},
		{"cut before", events(created, delta), "none"},
		{"failed", events(created, failed, "[DONE]"), "none; terminal"},
		{"poll", run, "input 344, cached_input 10, output 82; terminal"},
		{"poll too early", created, "none; terminal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reading := readAll(runs, &wire.Request{Choices: 1, Stream: strings.HasPrefix(test.body, "data")}, 200, test.body)
			if got := metered(reading); got != test.want || reading.ID != "run_1" || reading.Created != 1774965933 && test.name != "failed" || reading.Model != "gpt-4o" {
				t.Errorf("%s, %+v\nwant %s", got, reading, test.want)
			}
			if test.name == "failed" && reading.Failure != "sorry" {
				t.Error("no failure")
			}
		})
	}
	if reading := readAll(runs, &wire.Request{Stream: true}, 200, events(created, code, delta)); reading.OutputBytes != 7 {
		t.Errorf("%d bytes of output", reading.OutputBytes)
	}
}

// TestWhatItIs: id, time, tier and search context of a response.
func TestWhatItIs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ path, body, want string }{
		{chatPath, `{"id":"c-1","created":1715361795,"service_tier":"flex","usage":{"prompt_tokens":1,"search_context_size":"medium"}}`, "c-1 1715361795 flex medium"},
		{chatPath, `{"id":"c-1","created":"1715361795"}`, "c-1 1715361795  "},
		{chatPath, `{"id":"c-1","created":63400}`, "c-1 0  "},
		{chatPath, `{"created":0,"usage":{"prompt_tokens":1,"completion_tokens":1,"service_tier":"standard"}}`, " 0 standard "},
		{responsesPath, `{"id":"resp_1","created_at":1771881597,"service_tier":"priority"}`, "resp_1 1771881597 priority "},
		{responsesPath, events(`{"type":"response.created","response":{"id":"resp_1","created_at":1771881597,"service_tier":"auto"}}`, `{"type":"response.completed","response":{"id":"resp_1","service_tier":"default"}}`), "resp_1 1771881597 default "},
	} {
		r := readAll(codecOf(test.path), &wire.Request{Choices: 1, Stream: strings.HasPrefix(test.body, "data")}, 200, test.body)
		if got := fmt.Sprint(r.ID, " ", r.Created, " ", r.ServiceTier, " ", r.SearchContext); got != test.want {
			t.Errorf("%s: %q, want %q", test.body, got, test.want)
		}
	}
}

// TestEnds: where a host ends its streams is known by its name.
func TestEnds(t *testing.T) {
	t.Parallel()
	usage := events(`{"choices":[{"finish_reason":"stop"}]}`, `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`)
	completed := events(`{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":1}}}`)
	for _, test := range []struct {
		provider, path, body string
		want                 bool
	}{
		{"writer", "/v1/chat", usage, true},
		{"openai", chatPath, usage, false},
		{"openai", responsesPath, completed, true},
		{"openrouter", responsesPath, completed, false},
		{"openrouter", responsesPath, completed + "data: [DONE]\n\n", true},
	} {
		codec, _ := Match(test.provider, "POST", test.path)
		r := readAll(codec, &wire.Request{Choices: 1, Stream: true}, 200, test.body)
		if r.Terminal != test.want || r.Partial || r.Usage == nil {
			t.Errorf("%s %q: %s", test.provider, test.body, metered(r))
		}
	}
}

// TestConversations: Mistral, Websearch: what a tool brought in is connector_tokens, beside the prompt
// and inside the total.
func TestConversations(t *testing.T) {
	t.Parallel()
	const usage = `"usage":{"prompt_tokens":188,"completion_tokens":55,"total_tokens":7355,"connector_tokens":7112,"connectors":{"web_search":1,"code_interpreter":2}}`
	const want = "input 7300, output 55, web_search 1, hosted_tools 2; terminal"
	codec, _ := Match("mistral", "POST", "/v1/conversations")
	for _, body := range []string{
		`{"object":"conversation.response","conversation_id":"c","outputs":[{"type":"tool.execution","name":"web_search"},{"type":"message.output","model":"m","content":[{"type":"text","text":"abc"}]}],` + usage + `}`,
		events(`{"type":"conversation.response.started","conversation_id":"c"}`, `{"type":"message.output.delta","content":"abc","model":"m"}`, `{"type":"conversation.response.done",`+usage+`}`),
	} {
		r := readAll(codec, &wire.Request{Choices: 1, Stream: strings.HasPrefix(body, "data")}, 200, body)
		if got := metered(r); got != want || r.Model != "m" || r.OutputBytes != 3 {
			t.Errorf("%s of %q, %d bytes; want %s", got, r.Model, r.OutputBytes, want)
		}
	}
	cut := events(`{"type":"message.output.delta","content":"abc","model":"m"}`, `{"type":"conversation.response.error","message":"no","code":1}`)
	if r := readAll(codec, &wire.Request{Choices: 1, Stream: true}, 200, cut); r.Terminal || r.Failure != "no" || r.Usage != nil {
		t.Errorf("an error: %+v", r)
	}
	body := []byte(`{"agent_id":"a","inputs":"hi","completion_args":{"max_tokens":9}}`)
	r, err := codec.ReadRequest("/v1/conversations", body)
	if err != nil || r.MaxOutputTokens != 9 || r.Prompt.Hosted != "agent" || len(r.Prompt.Segments) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, got := codec.Rewrite(r, "/v1/conversations", body, wire.Edit{MaxOutputTokens: 5}); string(got) != `{"agent_id":"a","inputs":"hi","completion_args":{"max_tokens":5}}` {
		t.Errorf("became %s", got)
	}
}
