package openai

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"keel/filter/wire"
	"keel/pricing/tokens"
)

const (
	chatPath      = "/v1/chat/completions"
	responsesPath = "/v1/responses"
	azurePath     = "/openai/deployments/my%20gpt/chat/completions?api-version=2024-12-01-preview"
)

// codecOf is the codec of a path, or of a method and a path.
func codecOf(line string) wire.Codec {
	method, path, ok := strings.Cut(line, " ")
	if !ok {
		method, path = "POST", line
	}
	codec, _ := Match("", method, path)
	return codec
}

// segments are pieces of one class as they stand in a body.
func segments(class tokens.Class, json ...string) (all []tokens.Segment) {
	for _, s := range json {
		all = append(all, tokens.Segment{Class: class, JSON: []byte(s)})
	}
	return all
}

func text(json ...string) []tokens.Segment { return segments(tokens.Text, json...) }

func TestReadRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, body string
		want             wire.Request
	}{
		{
			"chat", chatPath,
			`{"model":"gpt-5","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"h\u00e9"}],"stream":true,"max_tokens":10,"max_completion_tokens":20,"n":3,
				"service_tier":"flex","stream_options":{"include_usage":true},"reasoning_effort":"low"}`,
			wire.Request{Model: "gpt-5", Stream: true, MaxOutputTokens: 20, Choices: 3, ServiceTier: "flex", Effort: "low", WantsUsage: true,
				Prompt: tokens.Prompt{System: true, Messages: 2, Segments: text(`"Be brief."`, `"h\u00e9"`), Thinking: true}},
		},
		{
			"chat with nulls", chatPath,
			`{"model":"m","messages":null,"stream":null,"max_tokens":null,"n":null,"service_tier":null,"stream_options":null,"tools":null,"response_format":null,"reasoning":null,"tool_choice":null,"web_search_options":null}`,
			wire.Request{Model: "m", Choices: 1},
		},
		{
			"names are case-sensitive", chatPath, `{"Model":"x","model":"m","MAX_TOKENS":-1,"N":"a"}`,
			wire.Request{Model: "m", Choices: 1},
		},
		{
			"Azure deployment", azurePath, `{"messages":[]}`,
			wire.Request{Model: "my gpt", Choices: 1},
		},
		{
			"Azure goes by the path", azurePath, `{"model":"gpt-4o"}`,
			wire.Request{Model: "my gpt", Choices: 1},
		},
		{
			"tools", chatPath,
			`{"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
				{"content":"4711","role":"tool","tool_call_id":"call_1"},{"role":"user","content":"go on"}],"tools":[{"type":"function","function":{"name":"f"}}],"functions":[{"name":"g"}],"tool_choice":"required"}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 3, Tools: 2, ToolChoice: true, Segments: slices.Concat(
				segments(tokens.ToolCall, `"f"`, `"{\"a\":1}"`), segments(tokens.ToolResult, `"4711"`), text(`"go on"`),
				segments(tokens.ToolSchema, `{"type":"function","function":{"name":"f"}}`, `{"name":"g"}`))}},
		},
		{
			"tool choice", chatPath, `{"model":"m","tool_choice":{"type":"allowed_tools","mode":"auto"},"function_call":"none"}`,
			wire.Request{Model: "m", Choices: 1},
		},
		{
			"hosted tool", chatPath, `{"model":"m","tools":[{"type":"openrouter:web_search"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Segments: segments(tokens.ToolSchema, `{"type":"openrouter:web_search"}`), Hosted: "hosted tool openrouter:web_search"}},
		},
		{
			"schema", chatPath, `{"model":"m","response_format":{"type":"json_schema","json_schema":{"name":"x"}}}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Segments: segments(tokens.Schema, `{"name":"x"}`)}},
		},
		{
			"media", chatPath,
			`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/gif;base64,R0lGODlhgAAwAAAAACw=","detail":"low"}},
				{"type":"input_audio","input_audio":{"data":"BBBBB","format":"wav"}},{"type":"file","file":{"filename":"f","file_data":"data:application/pdf;base64,CC"}}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Segments: text(`"see"`, `"f"`),
				Images: []tokens.Image{{Width: 128, Height: 48, Detail: "low", Bytes: 20}}, Media: []tokens.Media{{Kind: tokens.Audio, Bytes: 5}, {Kind: tokens.Document, Bytes: 2}}}},
		},
		{
			"image by URL", chatPath, `{"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, FarImages: true, Hosted: "image URL"}},
		},
		{
			"file by URL in place of its data (OpenRouter)", chatPath, `{"model":"m","messages":[{"content":[{"type":"file","file":{"file_data":"https://x/y.pdf"}}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Hosted: "file URL"}},
		},
		{
			"file by id", chatPath, `{"model":"m","messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Hosted: "file id"}},
		},
		{
			"anything a client can think of is text", chatPath,
			`{"model":"m","messages":[{"content":{"text":"ab"},"documents":[{"id":"counted"}],"reasoning_content":"cde","tools":"xy"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Segments: slices.Concat(
				text(`"ab"`, `[{"id":"counted"}]`, `"cde"`), segments(tokens.ToolSchema, `"xy"`))}},
		},
		{
			"reasoning that nobody can read (OpenRouter)", chatPath,
			`{"model":"m","reasoning":{"max_tokens":100},"messages":[{"role":"assistant","reasoning_details":[{"type":"reasoning.encrypted","data":"gAAA"},{"type":"reasoning.text","text":"a","signature":"sig"}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Thinking: true, Segments: slices.Concat(
				segments(tokens.Hidden, `"gAAA"`), text(`"a"`), segments(tokens.Hidden, `"sig"`))}},
		},
		{
			"web search", chatPath, `{"model":"m","web_search_options":{"search_context_size":"high"}}`,
			wire.Request{Model: "m", Choices: 1, SearchContext: "high", Prompt: tokens.Prompt{Hosted: "web_search_options"}},
		},
		{
			"stored prompt of a gateway", "/v1/prompts/pp-1/completions", `{"variables":{"city":"New York"}}`,
			wire.Request{Model: "prompt/pp-1", Choices: 1, Prompt: tokens.Prompt{Segments: text(`"New York"`), Hosted: "stored prompt"}},
		},
		{
			"Databricks endpoint", "/serving-endpoints/my-llm/invocations", `{"messages":[{"role":"user","content":"x"}]}`,
			wire.Request{Model: "my-llm", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Segments: text(`"x"`)}},
		},
		{
			"responses", responsesPath,
			`{"model":"gpt-5","input":"hello","instructions":"be kind","max_output_tokens":99,"stream":true,"text":{"format":{"type":"json_schema","schema":{"a":1}}},"tools":[{"type":"function","name":"f"}]}`,
			wire.Request{Model: "gpt-5", Stream: true, MaxOutputTokens: 99, Choices: 1,
				Prompt: tokens.Prompt{System: true, Messages: 2, Tools: 1, Segments: slices.Concat(text(`"hello"`, `"be kind"`), segments(tokens.Schema, `{"a":1}`), segments(tokens.ToolSchema, `{"type":"function","name":"f"}`))}},
		},
		{
			"responses items", responsesPath,
			`{"model":"m","background":true,"input":[{"role":"user","content":"ab"},{"role":"user","content":[{"type":"input_text","text":"cd"},{"type":"input_image","detail":"high","image_url":"data:image/png;base64,AAA"}]},
				{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"ef"}],"encrypted_content":"gAAA"},
				{"call_id":"c","name":"f","arguments":"{}","type":"function_call"},{"type":"function_call_output","call_id":"c","output":"gh"},
				{"type":"image_generation_call","result":"iVBORw0KGgo"}]}`,
			wire.Request{Model: "m", Choices: 1, Background: true,
				Prompt: tokens.Prompt{Messages: 6, Images: []tokens.Image{{Detail: "high", Bytes: 3}, {Bytes: 11}}, Segments: slices.Concat(
					text(`"ab"`, `"cd"`, `"ef"`), segments(tokens.Hidden, `"gAAA"`), segments(tokens.ToolCall, `"f"`, `"{}"`), segments(tokens.ToolResult, `"gh"`))}},
		},
		{
			"hosted search", responsesPath, `{"model":"m","tools":[{"type":"web_search_preview","search_context_size":"low"}],"tool_choice":{"type":"web_search_preview"}}`,
			wire.Request{Model: "m", Choices: 1, SearchContext: "low", Prompt: tokens.Prompt{ToolChoice: true, Hosted: "hosted tool web_search_preview",
				Segments: segments(tokens.ToolSchema, `{"type":"web_search_preview","search_context_size":"low"}`)}},
		},
		{
			"stored state", responsesPath, `{"model":"m","previous_response_id":"resp_1","conversation":"conv_1"}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Hosted: "previous_response_id"}},
		},
		{
			"no stored state", responsesPath, `{"model":"m","previous_response_id":null,"conversation":null,"prompt":null,"instructions":null}`,
			wire.Request{Model: "m", Choices: 1},
		},
		{
			"item reference", responsesPath, `{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Hosted: "item reference"}},
		},
		{
			"stored prompt names the model", responsesPath, `{"prompt":{"id":"pmpt_1","version":"2"},"input":"x"}`,
			wire.Request{Model: "prompt/pmpt_1", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Segments: text(`"x"`), Hosted: "stored prompt"}},
		},
		{
			"pro mode", responsesPath, `{"model":"m","reasoning":{"mode":"pro","effort":"high"}}`,
			wire.Request{Model: "m", Choices: 1, Effort: "high", Prompt: tokens.Prompt{Thinking: true, Hosted: "reasoning mode pro"}},
		},
		{
			"compact", "/v1/responses/compact", `{"model":"m","input":[{"role":"user","content":"x"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Segments: text(`"x"`)}},
		},
		{
			"count of tokens", "/v1/responses/input_tokens", `{"model":"m","input":"x"}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Count, Messages: 1, Segments: text(`"x"`)}},
		},
		{
			"completions", "/v1/completions", `{"model":"m","prompt":["a","b"],"suffix":"c","n":2,"best_of":3,"max_tokens":25}`,
			wire.Request{Model: "m", Choices: 6, MaxOutputTokens: 25, Prompt: tokens.Prompt{Messages: 2, Segments: text(`"a"`, `"b"`, `"c"`)}},
		},
		{
			"completions of ids", "/v1/completions", `{"model":"m","prompt":[[1,2,3],[ 4 ]]}`,
			wire.Request{Model: "m", Choices: 2, Prompt: tokens.Prompt{Messages: 2, TokenIDs: 4}},
		},
		{
			"embeddings", "/v1/embeddings", `{"model":"m","input":"x"}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Embed, Messages: 1, Segments: text(`"x"`)}},
		},
		{
			"embeddings of ids", "/v1/embeddings", `{"model":"m","input":[5,6,7]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Embed, Messages: 1, TokenIDs: 3}},
		},
		{
			"embeddings of several kinds (Voyage)", "/v1/multimodalembeddings", `{"model":"m","inputs":[{"content":[{"type":"text","text":"x"},{"type":"image_base64","image_base64":"data:image/png;base64,AA"}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Embed, Messages: 1, Segments: text(`"x"`), Images: []tokens.Image{{Bytes: 2}}}},
		},
		{
			"rerank", "/v1/rerank", `{"model":"m","query":"q","documents":["a",{"text":"b"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Rerank, Messages: 3, Segments: text(`"q"`, `"a"`, `"b"`)}},
		},
		{
			"moderation", "/v1/moderations", `{"input":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"https://x/y"}}]}`,
			wire.Request{Choices: 1, Prompt: tokens.Prompt{Task: tokens.Moderate, Messages: 2, Segments: text(`"x"`), FarImages: true, Hosted: "image URL"}},
		},
		{
			"images", "/v1/images/generations", `{"model":"gpt-image-1","prompt":"a cat","n":4,"size":"1024x1024"}`,
			wire.Request{Model: "gpt-image-1", Choices: 4, Prompt: tokens.Prompt{Task: tokens.Draw, Messages: 1, Segments: text(`"a cat"`)}},
		},
		{
			"image edits (xAI)", "/v1/images/edits", `{"model":"m","prompt":"x","images":[{"type":"image_url","url":"data:image/png;base64,AA"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Draw, Messages: 1, Segments: text(`"x"`), Images: []tokens.Image{{Bytes: 2}}}},
		},
		{
			"speech", "/v1/audio/speech", `{"model":"tts-1","input":"h\u00e9y","voice":"alloy","instructions":"slowly","stream_format":"sse"}`,
			wire.Request{Model: "tts-1", Choices: 1, Stream: true, Prompt: tokens.Prompt{Task: tokens.Speak, Messages: 1, Segments: text(`"h\u00e9y"`, `"slowly"`)}},
		},
		{
			"run", "/v1/threads/t/runs", `{"assistant_id":"asst_1","instructions":"x","stream":true,"max_completion_tokens":9}`,
			wire.Request{Choices: 1, Stream: true, MaxOutputTokens: 9, Prompt: tokens.Prompt{Segments: text(`"x"`), Hosted: "thread of an assistant"}},
		},
		{
			"run with its thread", "/v1/threads/runs", `{"assistant_id":"asst_1","model":"m","thread":{"messages":[{"role":"user","content":"y"}]}}`,
			wire.Request{Model: "m", Choices: 1, Background: true, Prompt: tokens.Prompt{Messages: 1, Segments: text(`"y"`), Hosted: "thread of an assistant"}},
		},
		{
			"outputs of tools for a run", "/v1/threads/t/runs/r/submit_tool_outputs", `{"tool_outputs":[{"tool_call_id":"c","output":"z"}]}`,
			wire.Request{Choices: 1, Background: true, Prompt: tokens.Prompt{Segments: segments(tokens.ToolResult, `"z"`), Hosted: "thread of an assistant"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			codec := codecOf(test.path)
			got, err := codec.ReadRequest(test.path, []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			test.want.API = codec.API()
			got.Marks = nil
			if diff := cmp.Diff(test.want, *got, cmpopts.IgnoreUnexported(tokens.Prompt{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRetrieve: what is asked for with GET has no body.
func TestRetrieve(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]wire.Request{
		"/v1/responses/resp_1?stream=true":  {API: wire.OpenAIResponses, Choices: 1, Stream: true, Prompt: tokens.Prompt{Task: tokens.Retrieve}},
		"/v1/responses/resp_1?stream=false": {API: wire.OpenAIResponses, Choices: 1, Prompt: tokens.Prompt{Task: tokens.Retrieve}},
		"/v1/threads/t/runs/r":              {API: wire.OpenAIAssistants, Choices: 1, Prompt: tokens.Prompt{Task: tokens.Retrieve}},
	} {
		codec, _ := Match("openai", "GET", path)
		got, err := codec.ReadRequest(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, *got, cmpopts.IgnoreUnexported(tokens.Prompt{})); diff != "" {
			t.Error(diff)
		}
		if same, body := codec.Rewrite(got, path, nil, wire.Edit{Model: "x", MaxOutputTokens: 1}); same != path || body != nil {
			t.Errorf("%s became %s %s", path, same, body)
		}
	}
}

func TestReadRequestRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ path, body, field string }{
		{chatPath, `{}`, "model"},
		{chatPath, `{"Model":"gpt-5"}`, "model"},
		{chatPath, `{"model":null}`, "model"},
		{chatPath, `{"model":""}`, "model"},
		{chatPath, `{"model":["a"]}`, "model"},
		{chatPath, `{"model":"m","stream":"true"}`, "stream"},
		{chatPath, `{"model":"m","stream":1}`, "stream"},
		{chatPath, `{"model":"m","n":0}`, "n"},
		{chatPath, `{"model":"m","n":-1}`, "n"},
		{chatPath, `{"model":"m","n":129}`, "n"},
		{chatPath, `{"model":"m","n":1.5}`, "n"},
		{chatPath, `{"model":"m","n":"2"}`, "n"},
		{chatPath, `{"model":"m","max_tokens":0}`, "max_tokens"},
		{chatPath, `{"model":"m","max_tokens":-5}`, "max_tokens"},
		{chatPath, `{"model":"m","max_completion_tokens":10.5}`, "max_completion_tokens"},
		{chatPath, `{"model":"m","max_completion_tokens":1e99}`, "max_completion_tokens"},
		{chatPath, `{"model":"m","stream_options":true}`, "stream_options"},
		{chatPath, `{"model":"m","stream_options":{"include_usage":"yes"}}`, "stream_options.include_usage"},
		{chatPath, `{"model":"m","messages":{}}`, "messages"},
		{chatPath, `{"model":"m","service_tier":1}`, "service_tier"},
		{responsesPath, `{"model":"m","max_output_tokens":0}`, "max_output_tokens"},
		{responsesPath, `{"model":"m","background":"yes"}`, "background"},
		{responsesPath, `{"input":"x"}`, "model"},
		{"/v1/embeddings", `{"input":"x"}`, "model"},
		{"/v1/images/generations", `{"prompt":"x","n":0}`, "n"},
		{"/v1/threads/t/runs", `{"max_completion_tokens":0}`, "max_completion_tokens"},
		{"/openai/deployments/%zz/chat/completions", `{}`, "model"},
		{chatPath, `{"model":"a","model":"b"}`, ""},
		{chatPath, `{"model":"a","messages":[{"content":"x","content":"y"}]}`, ""},
		{chatPath, `{"model":"a"`, ""},
		{chatPath, "{\"model\":\"a\",\"messages\":[{\"content\":\"\xff\"}]}", ""},
		{chatPath, `{"model":"a"}{"model":"b"}`, ""},
	}
	for _, test := range tests {
		_, err := codecOf(test.path).ReadRequest(test.path, []byte(test.body))
		var field *wire.RequestError
		var syntax *wire.SyntaxError
		switch {
		case test.field == "" && !errors.As(err, &syntax):
			t.Errorf("%s: %v, want a syntax error", test.body, err)
		case test.field != "" && (!errors.As(err, &field) || field.Field != test.field):
			t.Errorf("%s: %v, want an error about %s", test.body, err, test.field)
		}
	}
}

// TestOtherNames: hosts that call the model otherwise, or have it in the path.
func TestOtherNames(t *testing.T) {
	t.Parallel()
	const vertex = "/v1/projects/p/locations/l/publishers/mistralai/models/mistral-large-2411:streamRawPredict"
	edit := wire.Edit{Model: "new", MaxOutputTokens: 5, ForceUsage: true}
	for _, test := range []struct {
		line, body, model string
		stream            bool
		newPath, newBody  string
	}{
		// watsonx.ai, Infer text chat: model_id, or a deployment; the path says that it streams.
		{"POST /ml/v1/text/chat?version=1", `{"model_id":"m","model":"n","messages":[]}`, "m", false, "/ml/v1/text/chat?version=1", `{"max_tokens":5,"model_id":"new","model":"n","messages":[]}`},
		{"POST /ml/v1/text/chat_stream", `{"model_id":"m","messages":[],"max_tokens":9}`, "m", true, "/ml/v1/text/chat_stream", `{"model_id":"new","messages":[],"max_tokens":5}`},
		{"POST /ml/v1/deployments/d/text/chat", `{"messages":[],"max_tokens":9}`, "d", false, "/ml/v1/deployments/new/text/chat", `{"messages":[],"max_tokens":5}`},
		// Vertex AI, Mistral models: the path rules, and the body repeats it.
		{"POST " + vertex, `{"model":"mistral-large","stream":true,"messages":[],"max_tokens":9}`, "mistral-large-2411", true,
			"/v1/projects/p/locations/l/publishers/mistralai/models/new:streamRawPredict", `{"model":"new","stream":true,"messages":[],"max_tokens":5}`},
		// Mistral, Agents completion: the agent has the model.
		{"POST /v1/agents/completions", `{"agent_id":"a","messages":[],"max_tokens":9}`, "", false, "/v1/agents/completions", `{"agent_id":"a","messages":[],"max_tokens":5}`},
		{"POST /ml/v1/text/embeddings", `{"model_id":"m","inputs":["x"]}`, "m", false, "/ml/v1/text/embeddings", `{"model_id":"new","inputs":["x"]}`},
	} {
		codec := codecOf(test.line)
		path := strings.TrimPrefix(test.line, "POST ")
		r, err := codec.ReadRequest(path, []byte(test.body))
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		newPath, newBody := codec.Rewrite(r, path, []byte(test.body), edit)
		if r.Model != test.model || r.Stream != test.stream || newPath != test.newPath || string(newBody) != test.newBody {
			t.Errorf("%s: model %q, stream %t, became %s %s", test.line, r.Model, r.Stream, newPath, newBody)
		}
	}
}

// TestJobs: work that is done later is told by the call that fetches it, and what is
// only referred to can't be bounded.
func TestJobs(t *testing.T) {
	t.Parallel()
	form := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsora-2\r\n--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nx\r\n--b--\r\n"
	for _, test := range []struct{ path, body, model, hosted string }{
		{"/v1/batches", `{"input_file_id":"f","endpoint":"/v1/responses","completion_window":"24h"}`, "", "file id"},
		{"/v1/batch/jobs", `{"model":"m","requests":[{"body":{"messages":[{"role":"user","content":"x"}]}}]}`, "m", "batch"},
		{"/v1/videos", `{"model":"sora-2","prompt":"x","seconds":"8"}`, "sora-2", ""},
		{"/v1/videos", form, "sora-2", ""},
		{"/v1/videos/edits", `{"model":"m","prompt":"x","video":{"url":"https://x"}}`, "m", "video URL"},
	} {
		r, err := codecOf(test.path).ReadRequest(test.path, []byte(test.body))
		if err != nil || !r.Background || r.Model != test.model || r.Prompt.Hosted != test.hosted {
			t.Errorf("%s: %+v, %v", test.path, r, err)
		}
	}
}
