package anthropic

import (
	"errors"
	"testing"

	"keel/filter/wire"
	"keel/pricing/meter"
)

// What stands in the envelope of another API, whose path names the model.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, want string }{
		{`{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"content":"hi"}]}`, `{"anthropic_version":"bedrock-2023-05-31","max_tokens":7,"messages":[{"content":"hi"}]}`},
		{`{"messages":[{"content":"hi"}]}`, `{"max_tokens":7,"messages":[{"content":"hi"}]}`},
		{`{"prompt":"hi"}`, `{"max_tokens_to_sample":7,"prompt":"hi"}`},
		{`{"prompt":"hi","max_tokens_to_sample":8}`, `{"prompt":"hi","max_tokens_to_sample":7}`},
	} {
		r := &wire.Request{API: wire.BedrockInvoke, Model: "anthropic.claude-x", Choices: 1}
		if err := ReadBody(r, []byte(c.body)); err != nil {
			t.Fatal(err)
		}
		if r.API != wire.BedrockInvoke || r.Model != "anthropic.claude-x" || r.Prompt.Messages != 1 || len(r.Prompt.Segments) != 1 {
			t.Errorf("%s: %+v", c.body, r)
		}
		if got := RewriteBody(r, []byte(c.body), wire.Edit{Model: "anthropic.claude-y", MaxOutputTokens: 7}); string(got) != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	var want *wire.RequestError
	if err := ReadBody(&wire.Request{Model: "m"}, []byte(`{"model":"n"}`)); !errors.As(err, &want) {
		t.Errorf("another model inside: %v", err)
	}
}

func TestMessageByDocuments(t *testing.T) {
	t.Parallel()
	m := NewMessage(&wire.Request{})
	if got := m.Reading(); got.Usage != nil || got.Terminal {
		t.Errorf("before anything: %+v", got)
	}
	for _, doc := range []string{
		`{"type":"message_start","message":{"id":"a","model":"m","usage":{"input_tokens":9,"output_tokens":1}}}`,
		`{"type":"message_delta","delta":{},"usage":{"output_tokens":50}}`,
	} {
		if err := m.Document([]byte(doc)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Document([]byte(`{"usage":`)); err == nil {
		t.Error("half a document is one")
	}
	if got := m.Reading(); got.Terminal || got.Partial || got.Usage == nil || *got.Usage != (meter.Usage{meter.Input: 9, meter.Output: 50}) || got.ID != "a" {
		t.Errorf("%+v", got)
	}
	if err := m.Document([]byte(`{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":9}}`)); err != nil || !m.Reading().Terminal {
		t.Errorf("%v, %+v", err, m.Reading())
	}
}
