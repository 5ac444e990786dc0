package bedrock

import (
	"encoding/base64"
	"net/http"
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/tokens"
)

// TestTerms: which model and terms a call is billed at may be told by the response alone.
func TestTerms(t *testing.T) {
	t.Parallel()
	const routed = `{"trace":{"promptRouter":{"invokedModelId":"arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-x-v1:0"}},"usage":{"inputTokens":1,"outputTokens":1},"serviceTier":{"type":"flex"}}`
	for _, test := range []struct {
		path   string
		body   []byte
		header http.Header
	}{
		{"/model/r/converse", []byte(routed), nil},
		{"/model/r/converse-stream", event(t, "metadata", routed), nil},
		{"/model/r/converse", []byte(`{"trace":{"promptRouter":{"invokedModelId":"us.anthropic.claude-x-v1:0"}}}`), http.Header{"X-Amzn-Bedrock-Service-Tier": {"flex"}}},
	} {
		codec, _ := Match("", "POST", test.path)
		got := wiretest.Read(t, codec, read(t, test.path, `{}`), wiretest.Response{Status: 200, Header: test.header, Body: test.body}, 1)
		if got.Model != "us.anthropic.claude-x-v1:0" || got.ServiceTier != "flex" || !got.Terminal {
			t.Errorf("%s: %+v", test.body, got)
		}
	}
	codec, _ := Match("", "POST", "/model/x/invoke")
	header := http.Header{"X-Amzn-Bedrock-Performanceconfig-Latency": {"optimized"}}
	if got := wiretest.Read(t, codec, read(t, "/model/x/invoke", `{}`), wiretest.Response{Status: 200, Header: header, Body: []byte(`{}`)}, 0); got.Speed != "fast" {
		t.Errorf("%+v", got)
	}
}

// TestCountedBody: what is counted of InvokeModel is read as InvokeModel would read it.
func TestCountedBody(t *testing.T) {
	t.Parallel()
	const path = "/model/anthropic.claude-x-v1%3A0/count-tokens"
	of := func(body string) *wire.Request {
		return read(t, path, `{"input":{"invokeModel":{"body":"`+base64.StdEncoding.EncodeToString([]byte(body))+`"}}}`)
	}
	r := of(`{"max_tokens":5,"system":"be","messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{}}]}`)
	if p := &r.Prompt; p.Task != tokens.Count || p.Messages != 2 || !p.System || p.Tools != 1 || len(p.Segments) != 3 || p.Hosted != "" || r.MaxOutputTokens != 0 {
		t.Errorf("%+v", r)
	}
	if r := of(`no JSON`); r.Prompt.Hosted == "" {
		t.Errorf("%+v", r)
	}
	if r := read(t, path, `{"input":{"invokeModel":{"body":"*"}}}`); r.Prompt.Hosted == "" {
		t.Errorf("%+v", r)
	}
}
