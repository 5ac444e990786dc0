package openai

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/pricing/tokens"
)

const (
	chatPath      = "/v1/chat/completions"
	responsesPath = "/v1/responses"
	azurePath     = "/openai/deployments/my%20gpt/chat/completions?api-version=2024-12-01-preview"
)

func codecOf(path string) wire.Codec {
	codec, _ := Match("POST", path)
	return codec
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]wire.API{
		"POST /v1/chat/completions":                                wire.OpenAIChat,
		"POST /chat/completions":                                   wire.OpenAIChat,
		"POST /api/v1/chat/completions?x=1":                        wire.OpenAIChat,
		"POST /openai/v1/chat/completions":                         wire.OpenAIChat,
		"POST /openai/deployments/x/chat/completions?api-version=": wire.OpenAIChat,
		"POST /v1/responses":                                       wire.OpenAIResponses,
		"POST /responses?api-version=1":                            wire.OpenAIResponses,
		"GET /v1/responses/resp_1":                                 "",
		"POST /v1/responses/resp_1/cancel":                         "",
		"POST /v1/responses/compact":                               "",
		"POST /v1/chat/completions/chatcmpl-1":                     "",
		"GET /v1/chat/completions":                                 "",
		"POST /v1/completions":                                     "",
		"POST /v1/xchat/completions":                               "",
		"POST /v1/models?x=/chat/completions":                      "",
		"POST /v1/xresponses":                                      "",
	} {
		method, path, _ := strings.Cut(line, " ")
		codec, ok := Match(method, path)
		if ok != (want != "") || ok && codec.API() != want {
			t.Errorf("%s: %v, want %q", line, codec, want)
		}
	}
}

func TestReadRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, body string
		want             wire.Request
	}{
		{
			"chat", chatPath,
			`{"model":"gpt-5","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"h\u00e9"}],"stream":true,"max_tokens":10,"max_completion_tokens":20,"n":3,
				"service_tier":"flex","stream_options":{"include_usage":true}}`,
			wire.Request{Model: "gpt-5", Stream: true, MaxOutputTokens: 20, Choices: 3, ServiceTier: "flex", WantsUsage: true,
				Prompt: tokens.Prompt{Messages: 2, TextBytes: 12}},
		},
		{
			"chat with nulls", chatPath,
			`{"model":"m","messages":null,"stream":null,"max_tokens":null,"n":null,"service_tier":null,"stream_options":null,"tools":null,"response_format":null}`,
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
				{"role":"tool","tool_call_id":"call_1","content":"4711"}],"tools":[{"type":"function","function":{"name":"f"}}],"functions":[{"name":"g"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 2, TextBytes: 1 + 7 + 4, Tools: 2, ToolBytes: 43 + 12}},
		},
		{
			"hosted tool", chatPath, `{"model":"m","tools":[{"type":"openrouter:web_search"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{ToolBytes: 32, Opaque: "hosted tool openrouter:web_search"}},
		},
		{
			"schema", chatPath, `{"model":"m","response_format":{"type":"json_schema","json_schema":{"name":"x"}}}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{SchemaBytes: 12}},
		},
		{
			"media", chatPath,
			`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},
				{"type":"input_audio","input_audio":{"data":"BBBBB","format":"wav"}},{"type":"file","file":{"filename":"f","file_data":"data:application/pdf;base64,CC"}}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, TextBytes: 4, Images: 1, ImageBytes: 4, Media: 2, MediaBytes: 7}},
		},
		{
			"image by URL", chatPath, `{"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Opaque: "image URL"}},
		},
		{
			"file by id", chatPath, `{"model":"m","messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Opaque: "file id"}},
		},
		{
			"anything a client can think of is text", chatPath,
			`{"model":"m","messages":[{"content":{"text":"ab"},"documents":[{"id":"counted"}],"reasoning_content":"cde","tools":"xy"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, TextBytes: 2 + 18 + 3 + 4}},
		},
		{
			"web search", chatPath, `{"model":"m","web_search_options":{}}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Opaque: "web_search_options"}},
		},
		{
			"responses", responsesPath,
			`{"model":"gpt-5","input":"hello","instructions":"be kind","max_output_tokens":99,"stream":true,"text":{"format":{"type":"json_schema","schema":{"a":1}}},"tools":[{"type":"function","name":"f"}]}`,
			wire.Request{Model: "gpt-5", Stream: true, MaxOutputTokens: 99, Choices: 1,
				Prompt: tokens.Prompt{Messages: 2, TextBytes: 12, SchemaBytes: 7, Tools: 1, ToolBytes: 30}},
		},
		{
			"responses items", responsesPath,
			`{"model":"m","background":true,"input":[{"role":"user","content":"ab"},{"role":"user","content":[{"type":"input_text","text":"cd"},{"type":"input_image","image_url":"data:image/png;base64,AAA"}]},
				{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"ef"}],"encrypted_content":"gAAA"},
				{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"gh"}]}`,
			wire.Request{Model: "m", Choices: 1, Background: true,
				Prompt: tokens.Prompt{Messages: 5, TextBytes: 2 + 2 + 2 + 4 + 3 + 2, Images: 1, ImageBytes: 3}},
		},
		{
			"stored state", responsesPath, `{"model":"m","previous_response_id":"resp_1","conversation":"conv_1"}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Opaque: "previous_response_id"}},
		},
		{
			"no stored state", responsesPath, `{"model":"m","previous_response_id":null,"conversation":null,"prompt":null,"instructions":null}`,
			wire.Request{Model: "m", Choices: 1},
		},
		{
			"item reference", responsesPath, `{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Messages: 1, Opaque: "item reference"}},
		},
		{
			"stored prompt names the model", responsesPath, `{"prompt":{"id":"pmpt_1","version":"2"},"input":"x"}`,
			wire.Request{Model: "prompt/pmpt_1", Choices: 1, Prompt: tokens.Prompt{Messages: 1, TextBytes: 1, Opaque: "stored prompt"}},
		},
		{
			"pro mode", responsesPath, `{"model":"m","reasoning":{"mode":"pro","effort":"high"}}`,
			wire.Request{Model: "m", Choices: 1, Prompt: tokens.Prompt{Opaque: "reasoning mode pro"}},
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
			if diff := cmp.Diff(test.want, *got); diff != "" {
				t.Error(diff)
			}
		})
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

func TestRewrite(t *testing.T) {
	t.Parallel()
	everything := wire.Edit{Model: `gpt-"5"`, MaxOutputTokens: 50, ForceUsage: true}
	tests := []struct {
		path, body string
		edit       wire.Edit
		want       string // body, with its path in front where that changes
	}{
		{chatPath, `{"model":"a"}`, wire.Edit{}, `{"model":"a"}`},
		{chatPath, `{"model":"a" , "messages":[]}`, wire.Edit{Model: `b"c`}, `{"model":"b\"c" , "messages":[]}`},
		{chatPath, `{"mod\u0065l":"a"}`, wire.Edit{Model: "b"}, `{"mod\u0065l":"b"}`},
		{chatPath, `{"model":"gpt-5"}`, wire.Edit{MaxOutputTokens: 7}, `{"max_completion_tokens":7,"model":"gpt-5"}`},
		{chatPath, `{"model":"openai/gpt-5"}`, wire.Edit{MaxOutputTokens: 7}, `{"max_completion_tokens":7,"model":"openai/gpt-5"}`},
		{chatPath, `{"model":"mistral-large"}`, wire.Edit{MaxOutputTokens: 7}, `{"max_tokens":7,"model":"mistral-large"}`},
		{chatPath, `{"model":"gpt-oss-120b"}`, wire.Edit{MaxOutputTokens: 7}, `{"max_tokens":7,"model":"gpt-oss-120b"}`},
		{chatPath, `{"model":"mistral-large"}`, wire.Edit{Model: "o3", MaxOutputTokens: 7}, `{"max_completion_tokens":7,"model":"o3"}`},
		{chatPath, `{"model":"m","max_tokens":100}`, wire.Edit{MaxOutputTokens: 7}, `{"model":"m","max_tokens":7}`},
		{chatPath, `{"model":"m","max_tokens":5}`, wire.Edit{MaxOutputTokens: 7}, `{"model":"m","max_tokens":5}`},
		{chatPath, `{"model":"m","max_tokens":null}`, wire.Edit{MaxOutputTokens: 7}, `{"model":"m","max_tokens":7}`},
		{chatPath, `{"model":"m","max_tokens":100,"max_completion_tokens":6e1}`, wire.Edit{MaxOutputTokens: 7}, `{"model":"m","max_tokens":7,"max_completion_tokens":7}`},
		{chatPath, `{"model":"m","stream":true}`, wire.Edit{ForceUsage: true}, `{"stream_options":{"include_usage":true},"model":"m","stream":true}`},
		{chatPath, `{"model":"m","stream":false}`, wire.Edit{ForceUsage: true}, `{"model":"m","stream":false}`},
		{chatPath, `{"model":"m","stream":true,"stream_options":null}`, wire.Edit{ForceUsage: true}, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`},
		{chatPath, `{"model":"m","stream":true,"stream_options":{ }}`, wire.Edit{ForceUsage: true}, `{"model":"m","stream":true,"stream_options":{"include_usage":true }}`},
		{chatPath, `{"model":"m","stream":true,"stream_options":{"x":1}}`, wire.Edit{ForceUsage: true}, `{"model":"m","stream":true,"stream_options":{"include_usage":true,"x":1}}`},
		{chatPath, `{"model":"m","stream":true,"stream_options":{"include_usage":false}}`, wire.Edit{ForceUsage: true}, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`},
		{chatPath, `{"model":"m","stream":true,"stream_options":{"include_usage":null}}`, wire.Edit{ForceUsage: true}, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`},
		{chatPath, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, wire.Edit{ForceUsage: true}, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`},
		{chatPath, `{"model":"m","stream":true}`, everything, `{"max_completion_tokens":50,"stream_options":{"include_usage":true},"model":"gpt-\"5\"","stream":true}`},
		{azurePath, `{}`, wire.Edit{Model: "a/b", MaxOutputTokens: 7}, `/openai/deployments/a%2Fb/chat/completions?api-version=2024-12-01-preview {"max_completion_tokens":7}`},
		{azurePath, `{"model":"x"}`, wire.Edit{Model: "y"}, `/openai/deployments/y/chat/completions?api-version=2024-12-01-preview {"model":"y"}`},
		{responsesPath, `{"model":"m","stream":true}`, everything, `{"max_output_tokens":50,"model":"gpt-\"5\"","stream":true}`},
		{responsesPath, `{"model":"m","max_output_tokens":51}`, wire.Edit{MaxOutputTokens: 50}, `{"model":"m","max_output_tokens":50}`},
		{responsesPath, `{"prompt":{"id":"p"}}`, wire.Edit{Model: "m", MaxOutputTokens: 50}, `{"model":"m","max_output_tokens":50,"prompt":{"id":"p"}}`},
	}
	for _, test := range tests {
		codec, body := codecOf(test.path), []byte(test.body)
		r, err := codec.ReadRequest(test.path, body)
		if err != nil {
			t.Fatal(err)
		}
		path, changed := codec.Rewrite(r, test.path, body, test.edit)
		got := string(changed)
		if path != test.path {
			got = path + " " + got
		}
		if got != test.want {
			t.Errorf("%s with %+v:\n%s, want\n%s", test.body, test.edit, got, test.want)
		}
		if string(body) != test.body {
			t.Errorf("the body itself became %s", body)
		}
		if test.want == test.body && &changed[0] != &body[0] {
			t.Errorf("%s: copied for nothing", test.body)
		}
		// What was rewritten reads as what was asked for.
		again, err := codec.ReadRequest(path, changed)
		if err != nil {
			t.Errorf("%s: %v", changed, err)
			continue
		}
		if test.edit.Model != "" && again.Model != test.edit.Model ||
			test.edit.MaxOutputTokens > 0 && (again.MaxOutputTokens == 0 || again.MaxOutputTokens > test.edit.MaxOutputTokens) ||
			test.edit.ForceUsage && again.Stream && again.API == wire.OpenAIChat && !again.WantsUsage {
			t.Errorf("%s reads as %+v", changed, again)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	refusal := wire.Refusal{
		Status: 429, Code: "budget_exceeded", Message: "budget \"research\" is spent\nask for less", DecisionID: "0192",
		Details: map[string]string{"limit_usd": "10", "budget": "research"},
	}
	const want = `{"error":{"message":"budget \"research\" is spent\nask for less","type":"insufficient_quota","param":null,"code":"budget_exceeded",` +
		`"keel":{"decision_id":"0192","details":{"budget":"research","limit_usd":"10"}}}}` + "\n"
	for _, codec := range []wire.Codec{Chat{}, Responses{}} {
		contentType, body := codec.Refuse(refusal)
		if contentType != "application/json" || string(body) != want {
			t.Errorf("%s %s", contentType, body)
		}
	}
	for status, kind := range map[int]string{400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "invalid_request_error", 503: "server_error"} {
		_, body := Chat{}.Refuse(wire.Refusal{Status: status, Message: "\xff<b>"})
		if !strings.Contains(string(body), fmt.Sprintf(`"message":"%s<b>","type":"%s"`, "\ufffd", kind)) {
			t.Errorf("%d: %s", status, body)
		}
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(chatPath, `{"model":"m","messages":[{"content":[{"text":"x","image_url":{"url":"data:,"}}]}],"stream":true,"stream_options":{"include_usage":false},"max_tokens":5}`)
	f.Add(azurePath, `{"tools":[{"type":"function"},7],"n":3,"response_format":{"json_schema":{}}}`)
	f.Add(responsesPath, `{"model":"m","input":[{"type":"item_reference"}],"prompt":{"id":"x"},"text":{"format":{"schema":{}}},"reasoning":{"mode":"pro"}}`)
	edit := wire.Edit{Model: "other", MaxOutputTokens: 3, ForceUsage: true}
	f.Fuzz(func(t *testing.T, path, body string) {
		for _, codec := range []wire.Codec{Chat{}, Responses{}} {
			r, err := codec.ReadRequest(path, []byte(body))
			if err != nil {
				continue
			}
			if r.Model == "" || r.Choices < 1 || r.MaxOutputTokens < 0 || r.Prompt.TextBytes > int64(len(body)) {
				t.Fatalf("%+v", r)
			}
			newPath, changed := codec.Rewrite(r, path, []byte(body), edit)
			again, err := codec.ReadRequest(newPath, changed)
			if err != nil {
				t.Fatalf("%s became %s: %v", body, changed, err)
			}
			if again.Model != "other" || again.MaxOutputTokens > 3 || again.MaxOutputTokens < 1 || again.Choices != r.Choices || again.Stream != r.Stream {
				t.Fatalf("%s became %s", body, changed)
			}
		}
	})
}
