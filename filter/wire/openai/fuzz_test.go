package openai

import (
	"bytes"
	"net/http"
	"testing"

	"keel/filter/wire"
)

// codecs are all that Match gives, by a path that gives them.
var codecs = map[string]wire.Codec{}

func init() {
	for _, path := range []string{
		chatPath, responsesPath, "/v1/responses/compact", "/v1/responses/input_tokens", "/v1/completions", "/v1/embeddings", "/v1/rerank",
		"/v1/moderations", "/v1/images/edits", "/v1/audio/transcriptions", "/v1/audio/speech", "/v1/threads/t/runs",
	} {
		codecs[path] = codecOf(path)
	}
	codecs["writer"] = Chat{unmarked: true}
	codecs["openrouter"] = Responses{marked: true}
	codecs["openai"] = Completions{shortByDefault: true}
	codecs["retrieve"], codecs["poll"] = retrieve, pollRun
	codecs["batch"], codecs["started batch"] = pollBatch, createBatch
	codecs["video"], codecs["started video"] = pollVideo, createVideo
	codecs["conversations"] = conversations
	codecs["watsonx"], codecs["watsonx embeddings"], codecs["watsonx rerank"] = Chat{watsonx: true, unmarked: true, unasked: true}, embeddingsWatsonx, rerankWatsonx
}

func FuzzReader(f *testing.F) {
	for _, body := range []string{
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n",
		"event: x\r\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1}}}\r\n\r\n",
		"data: {\"object\":\"thread.run.step\",\"usage\":{\"prompt_tokens\":1}}\n\ndata: {\"object\":\"thread.run\",\"usage\":{\"prompt_tokens\":2}}\n\ndata: [DONE]\n\n",
		"data: {\"type\":\"image_generation.completed\",\"usage\":{\"input_tokens\":1,\"output_tokens\":5}}\n\n",
		"data: {\"type\":\"transcript.text.delta\",\"delta\":\"x\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"x\",\"usage\":{\"type\":\"duration\",\"seconds\":2.5}}\n\ndata: [DONE]\n\n",
		"data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":1,\"output_tokens\":5}}\n\n",
		"data: {\"type\":\"message.output.delta\",\"content\":\"x\",\"model\":\"m\"}\n\ndata: {\"type\":\"conversation.response.done\",\"usage\":{\"prompt_tokens\":9,\"connector_tokens\":7,\"connectors\":{\"a\":1}}}\n\n",
		"data: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"code_interpreter_call\",\"container_id\":\"c\"}}\n\n",
	} {
		f.Add(body, uint8(7), true)
	}
	for _, body := range []string{
		`{"choices":[{"message":{"content":"x","reasoning":"y"}}],"usage":{"prompt_tokens":1,"total_tokens":9}}`,
		`[{"error":{"message":"x"}}]`,
		`{"usage":{"cost":1.4e-7,"is_byok":true,"cost_details":{"upstream_inference_cost":"0.1"},"cost_in_usd_ticks":7}}`,
		`{"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":386,"prompt_audio_seconds":3,"prompt_tokens_details":{"audio_tokens":375}}}`,
		`{"id":"b","status":"SUCCESS","outputs":[{"response":{"body":{"model":"m","usage":{"prompt_tokens":27,"completion_tokens":2}}}},{"usage":{"cost_in_usd_ticks":3}},{"usage":{"cost":0.25}}]}`,
		`{"results":[{"usage":{"prompt_tokens":204,"total_tokens":287,"cost_in_usd_ticks":2087200}}],"pagination_token":null}`,
		`{"status":"done","video":{"duration":1.5},"seconds":"8","usage":{"cost_in_usd_ticks":500000000},"input_token_count":7}`,
		`{"data":[{},{}],"created":"1715361795","input_tokens":18,"duration":3.7,"text":"x"}`,
		`{"usage":{"prompt_tokens":3,"completion_tokens":1},"usage_breakdown":{"models":[{"model":"a","usage":{"prompt_tokens":3,"completion_tokens":1}}]}}`,
		`{"output":[{"type":"web_search_call"}],"tool_usage":{"image_gen":{"total_tokens":5},"web_search":{"num_requests":2}},"tools":[{"type":"image_generation","model":"g"}],"usage":{"input_tokens":1}}`,
	} {
		f.Add(body, uint8(3), false)
	}
	f.Fuzz(func(t *testing.T, body string, size uint8, stream bool) {
		for name, codec := range codecs {
			r := &wire.Request{Stream: stream, Choices: 1}
			whole, want := feed(codec.NewReader(r, 200, http.Header{}), []byte(body), nil, true)
			if string(whole) != body {
				t.Fatalf("%s forwarded %q", name, whole)
			}
			r.UsageForced = true
			var hidden [2][]byte
			for i, step := range []int{len(body) + 1, int(size) + 1} {
				reader := codec.NewReader(r, 200, http.Header{})
				for at := 0; at < len(body); at += step {
					hidden[i] = append(hidden[i], reader.Feed([]byte(body[at:min(at+step, len(body))]), false)...)
				}
				hidden[i] = append(hidden[i], reader.Feed(nil, true)...)
				if got := reader.Reading(); describe(got) != describe(want) {
					t.Fatalf("%s in pieces of %d: %s\nwhole: %s", name, step, describe(got), describe(want))
				}
			}
			if !bytes.Equal(hidden[0], hidden[1]) || len(hidden[0]) > len(body) {
				t.Fatalf("%s forwarded %q whole and %q in pieces", name, hidden[0], hidden[1])
			}
			if want.Usage != nil {
				for _, n := range want.Usage {
					if n < 0 {
						t.Fatalf("%s: %v", name, *want.Usage)
					}
				}
			}
			if want.ReportedCost != "" && plain(want.ReportedCost)[0] == 'n' {
				t.Fatalf("%s: cost %q", name, want.ReportedCost)
			}
		}
	})
}

func FuzzReadRequest(f *testing.F) {
	f.Add(chatPath, `{"model":"m","messages":[{"content":[{"text":"x","image_url":{"url":"data:,"}}]}],"stream":true,"stream_options":{"include_usage":false},"max_tokens":5}`)
	f.Add(azurePath, `{"tools":[{"type":"function"},7],"n":3,"response_format":{"json_schema":{}}}`)
	f.Add(responsesPath, `{"model":"m","input":[{"type":"item_reference"}],"prompt":{"id":"x"},"text":{"format":{"schema":{}}},"reasoning":{"mode":"pro"}}`)
	f.Add("/v1/completions", `{"model":"m","prompt":[[1,2],"x",["y"]],"best_of":3}`)
	f.Add("/v1/audio/transcriptions", "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n")
	f.Add("/v1/images/edits", `{"model":"m","prompt":"x","images":[{"image_url":{"url":"https://x"}}],"mask":"data:,"}`)
	f.Add("/serving-endpoints/a/invocations", `{}`)
	f.Add("/ml/v1/text/chat_stream", `{"model_id":"m","model":"n","messages":[{"role":"user","content":"x"}],"max_tokens":9}`)
	f.Add("/ml/v1/deployments/d/text/chat", `{"messages":[]}`)
	f.Add("/v1/projects/p/locations/l/publishers/mistralai/models/m@1%3ArawPredict", `{"model":"m"}`)
	f.Add("/v1/batch/jobs", `{"model":"m","requests":[{"body":{"messages":[{"content":"x"}],"input":[[1,2]]}}],"input_file_id":"f"}`)
	f.Add("/v1/conversations", `{"model":"m","inputs":[{"role":"user","content":"x"}],"completion_args":{"max_tokens":9}}`)
	f.Add("/v1/videos", `{"model":"m","prompt":"x","image":{"url":"https://x"},"video":{"url":"https://x"}}`)
	edit := wire.Edit{Model: "other", MaxOutputTokens: 3, ForceUsage: true}
	f.Fuzz(func(t *testing.T, path, body string) {
		for name, codec := range codecs {
			r, err := codec.ReadRequest(path, []byte(body))
			if err != nil || r.Marks == nil {
				continue
			}
			size := 0
			for _, s := range r.Prompt.Segments {
				size += len(s.JSON)
			}
			if r.Choices < 1 || r.MaxOutputTokens < 0 || size > len(body) {
				t.Fatalf("%s: %+v", name, r)
			}
			newPath, changed := codec.Rewrite(r, path, []byte(body), edit)
			again, err := codec.ReadRequest(newPath, changed)
			if err != nil {
				t.Fatalf("%s: %q became %q: %v", name, body, changed, err)
			}
			if again.Model != "other" || again.MaxOutputTokens > 3 || again.Choices != r.Choices || again.Stream != r.Stream {
				t.Fatalf("%s: %q became %q", name, body, changed)
			}
		}
	})
}
