package watsonx

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		provider, method, path string
		ok, streamed           bool
	}{
		{"watsonx", "POST", "/ml/v1/text/generation?version=2023-05-29", true, false},
		{"", "POST", "/ml/v1/text/generation_stream", true, true},
		{"", "POST", "/ml/v1-beta/generation/text", true, false},
		{"", "POST", "/ml/v1/deployments/d1/text/generation", true, false},
		{"", "GET", "/ml/v1/text/generation", false, false},
		{"openai", "POST", "/ml/v1/text/generation", false, false},
		{"", "POST", "/v1/text/generation", false, false},
		{"", "POST", "/ml/v1/text/chat", false, false},
	} {
		codec_, ok := Match(c.provider, c.method, c.path)
		if ok != c.ok || ok && codec_ != (codec{streamed: c.streamed}) {
			t.Errorf("%s %s of %q: %v %v", c.method, c.path, c.provider, codec_, ok)
		}
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	const body = `{"model_id":"m","input":"a","parameters":{"max_new_tokens":9,"temperature":1},"project_id":"p"}`
	r, err := codec{streamed: true}.ReadRequest("/ml/v1/text/generation_stream", []byte(body))
	if err != nil || r.Model != "m" || r.MaxOutputTokens != 9 || !r.Stream || r.Prompt.Messages != 1 || len(r.Prompt.Segments) != 1 || r.Prompt.Segments[0].Class != tokens.Text || string(r.Prompt.Segments[0].JSON) != `"a"` {
		t.Errorf("%+v, %v", r, err)
	}
	wiretest.Rewrite(t, codec{}, "/ml/v1/text/generation", []byte(body))
	r, err = codec{}.ReadRequest("/ml/v1/deployments/d1/text/generation?version=x", []byte(`{"input":"a"}`))
	if err != nil || r.Model != "deployment/d1" {
		t.Errorf("%+v, %v", r, err)
	}
	if path, got := (codec{}).Rewrite(r, "/x", []byte(`{"input":"a"}`), wire.Edit{Model: "n", MaxOutputTokens: 7}); path != "/x" || string(got) != `{"parameters":{"max_new_tokens":7},"input":"a"}` {
		t.Errorf("%s %s", path, got)
	}
	if _, err := (codec{}).ReadRequest("/ml/v1/text/generation", []byte(`{"input":"a"}`)); err == nil {
		t.Error("a request without a model is read")
	}
}

func TestResponse(t *testing.T) {
	t.Parallel()
	event := func(result string) string {
		return "id: 1\nevent: message\ndata: {\"model_id\":\"m\",\"created_at\":\"1970-01-01T00:01:00Z\",\"results\":[" + result + "]}\n\n"
	}
	first := event(`{"generated_text":"a","generated_token_count":1,"input_token_count":7,"stop_reason":"not_finished"}`)
	second := event(`{"generated_text":"b","generated_token_count":2,"input_token_count":0,"stop_reason":"not_finished"}`)
	last := event(`{"generated_text":"","generated_token_count":3,"input_token_count":0,"stop_reason":"eos_token"}`)
	reading := func(output, bytes int64, terminal, partial bool) wire.Reading {
		return wire.Reading{Usage: &meter.Usage{meter.Input: 7, meter.Output: output}, Terminal: terminal, Partial: partial, OutputBytes: bytes, Created: 60, Model: "m"}
	}
	for _, c := range []struct {
		name, body string
		open       bool
		status     int
		want       wire.Reading
	}{
		{"stream", first + second + last, false, 200, reading(3, 2, true, false)},
		{"stream, open", first + second + last, true, 200, reading(3, 2, false, false)},
		{"stream, cut", first + second, false, 200, reading(2, 2, false, true)},
		{"unary", `{"model_id":"m","created_at":"1970-01-01T00:01:00Z","results":[{"generated_text":"ab","generated_token_count":3,"input_token_count":7,"stop_reason":"eos_token"}]}`, true, 200, reading(3, 2, true, false)},
		{"error", `{"errors":[{"code":"model_not_supported","message":"no"}],"trace":"x","status_code":404}`, true, 404, wire.Reading{Terminal: true, Failure: "no"}},
		{"no counts", `{"results":[{"generated_text":"ab"}]}`, true, 200, wire.Reading{Terminal: true, OutputBytes: 2}},
	} {
		for seed := range uint64(10) {
			got := wiretest.Read(t, codec{}, &wire.Request{}, wiretest.Response{Status: c.status, Body: []byte(c.body), Open: c.open}, seed)
			got.RawUsage = nil
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
				break
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	_, got := codec{}.Refuse(wire.Refusal{Status: 429, Code: "budget_exceeded", Message: "no", DecisionID: "d1"})
	if want := `{"errors":[{"code":"budget_exceeded","message":"no"}],"trace":"d1","status_code":429,"keel":{"decision_id":"d1"}}` + "\n"; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(`{"model_id":"m","input":"a","parameters":{"max_new_tokens":9}}`)
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/ml/v1/text/generation", "/ml/v1/deployments/d/text/generation"} {
			if _, err := (codec{}).ReadRequest(path, []byte(body)); err == nil {
				wiretest.Rewrite(t, codec{}, path, []byte(body))
			}
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add("data: {\"results\":[{\"input_token_count\":7,\"generated_token_count\":1}]}\n\n", uint64(3))
	f.Add(`{"errors":[{"message":"no"}]}`, uint64(3))
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		wiretest.Fuzz(t, codec{}, &wire.Request{}, 200, []byte(body), seed)
	})
}
