package openai

import (
	"fmt"
	"strings"
	"testing"

	"keel/filter/wire"
)

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
		{"/v1/responses/compact", `{"model":"m"}`, everything, `{"model":"gpt-\"5\""}`},
		{"/v1/completions", `{"model":"m","stream":true}`, everything, `{"max_tokens":50,"stream_options":{"include_usage":true},"model":"gpt-\"5\"","stream":true}`},
		{"/v1/embeddings", `{"input":"x","model":"m"}`, everything, `{"input":"x","model":"gpt-\"5\""}`},
		{"/v1/threads/t/runs", `{"max_completion_tokens":80}`, wire.Edit{MaxOutputTokens: 50}, `{"max_completion_tokens":50}`},
		{"/serving-endpoints/a/invocations", `{}`, wire.Edit{Model: "b c", MaxOutputTokens: 7}, `/serving-endpoints/b%20c/invocations {"max_tokens":7}`},
		{responsesPath, `{"prompt":{"id":"p"}}`, wire.Edit{Model: "m", MaxOutputTokens: 50}, `{"model":"m","max_output_tokens":50,"prompt":{"id":"p"}}`},
	}
	limited := map[wire.API]bool{wire.OpenAIChat: true, wire.OpenAICompletions: true, wire.OpenAIResponses: true}
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
			test.edit.MaxOutputTokens > 0 && (again.MaxOutputTokens == 0 && limited[again.API] && path != "/v1/responses/compact" || again.MaxOutputTokens > test.edit.MaxOutputTokens) ||
			test.edit.ForceUsage && again.Stream && again.API == wire.OpenAIChat && !again.WantsUsage {
			t.Errorf("%s reads as %+v", changed, again)
		}
	}
}

// TestUnasked: a host that tells usage anyway is not asked for it, since it may not know how to be.
func TestUnasked(t *testing.T) {
	t.Parallel()
	body := []byte(`{"model":"m","stream":true}`)
	for provider, want := range map[string]string{"mistral": string(body), "openai": `{"stream_options":{"include_usage":true},"model":"m","stream":true}`} {
		codec, _ := Match(provider, "POST", chatPath)
		r, err := codec.ReadRequest(chatPath, body)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := codec.Rewrite(r, chatPath, body, wire.Edit{ForceUsage: true}); string(got) != want {
			t.Errorf("%s: %s, want %s", provider, got, want)
		}
	}
}

// TestShortByDefault: a limit that is added never makes a completion longer than it would be.
func TestShortByDefault(t *testing.T) {
	t.Parallel()
	for most, want := range map[int64]string{7: `{"max_tokens":7,"model":"m"}`, 1000: `{"max_tokens":16,"model":"m"}`} {
		codec, _ := Match("openai", "POST", "/v1/completions")
		body := []byte(`{"model":"m"}`)
		r, err := codec.ReadRequest("/v1/completions", body)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := codec.Rewrite(r, "/v1/completions", body, wire.Edit{MaxOutputTokens: most}); string(got) != want {
			t.Errorf("%s, want %s", got, want)
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
