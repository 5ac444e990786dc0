package anthropic

import (
	"errors"
	"testing"

	"keel/filter/wire"
	"keel/pricing/tokens"
)

func TestReadRequest(t *testing.T) {
	t.Parallel()
	r, err := messages.ReadRequest(path, []byte(`{"model":"claude-sonnet-5","max_tokens":100,"stream":true,"service_tier":"auto","inference_geo":"us","speed":"fast","messages":[]}`))
	if err != nil || r.Model != "claude-sonnet-5" || r.MaxOutputTokens != 100 || !r.Stream || r.ServiceTier != "auto" || r.Choices != 1 || r.API != wire.Anthropic ||
		r.Region != "us" || r.Speed != "fast" || r.Background {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = messages.ReadRequest(path, []byte(`{"model":"m","speed":null}`)); err != nil || r.MaxOutputTokens != 0 || r.Stream || r.Speed != "" {
		t.Errorf("what the provider refuses must pass: %+v, %v", r, err)
	}
	if r, err = messages.ReadRequest(vertex, []byte(`{"anthropic_version":"vertex-2023-10-16","stream":false}`)); err != nil || r.Model != "claude-sonnet-5" || r.Region != "us-east5" {
		t.Errorf("vertex: %+v, %v", r, err)
	}
	if r, err = countTokens.ReadRequest(vertexCountPath, []byte(`{"model":"m","system":"x"}`)); err != nil || r.Model != "m" || r.Prompt.Task != tokens.Count || len(r.Prompt.Segments) != 1 {
		t.Errorf("count_tokens: %+v, %v", r, err)
	}
	if r, err = complete.ReadRequest("/v1/complete", []byte(`{"model":"claude-2.1","prompt":"hi","max_tokens_to_sample":5,"stream":true}`)); err != nil ||
		r.API != wire.AnthropicComplete || r.Model != "claude-2.1" || r.MaxOutputTokens != 5 || !r.Stream || r.Prompt.Messages != 1 || len(r.Prompt.Segments) != 1 {
		t.Errorf("complete: %+v, %v", r, err)
	}
}

func TestBatchRequest(t *testing.T) {
	t.Parallel()
	const asks = `{"requests":[{"custom_id":"a","params":{"model":"m","max_tokens":9,"stream":false,"system":"x"}},{"custom_id":"b","params":{"max_tokens":70,"model":"m","messages":[{"content":"y"}]}}]}`
	r, err := batches.ReadRequest(batchPath, []byte(asks))
	if err != nil || r.Model != "m" || r.Choices != 2 || r.MaxOutputTokens != 70 || !r.Background || r.Stream || r.ServiceTier != "batch" || r.Prompt.Messages != 2 || len(r.Prompt.Segments) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = batches.ReadRequest(batchPath, []byte(`{"requests":[{"params":{"model":"m","max_tokens":9}},{"params":{"model":"m"}}]}`)); err != nil || r.MaxOutputTokens != 0 {
		t.Errorf("a batch with an ask that states no limit has none: %+v, %v", r, err)
	}
	for _, body := range []string{
		`{}`, `{"requests":[]}`, `{"requests":[{}]}`, `{"requests":[{"params":{}}]}`, `{"requests":[{"params":{"model":"m"}},{"params":{"model":null}}]}`,
		`{"requests":[{"params":{"model":"m","max_tokens":0}}]}`,
	} {
		var want *wire.RequestError
		if _, err := batches.ReadRequest(batchPath, []byte(body)); !errors.As(err, &want) {
			t.Errorf("%s: %v, want a RequestError", body, err)
		}
	}
	if r, err = batches.ReadRequest(batchPath, []byte(`{"requests":[{"params":{"model":"cheap"}},{"params":{"model":"dear"}}]}`)); err != nil || r.Prompt.Hosted != "several models" {
		t.Errorf("nobody knows what a batch of several models may cost: %+v, %v", r, err)
	}
	if r, err = fetch.ReadRequest(batchPath+"/b", nil); err != nil || r.Prompt.Task != tokens.Retrieve || r.Model != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, body string }{
		{path, `{}`}, {path, `{"model":null}`}, {path, `{"model":""}`}, {path, `{"model":7}`},
		{path, `{"model":"m","max_tokens":0}`}, {path, `{"model":"m","max_tokens":-5}`}, {path, `{"model":"m","max_tokens":"5"}`}, {path, `{"model":"m","max_tokens":1.5}`},
		{path, `{"model":"m","messages":"hi"}`}, {path, `{"model":"m","stream":"yes"}`},
		{path, `{"model":"m","thinking":7}`}, {path, `{"model":"m","speed":1}`},
		{vertex, `{"model":"claude-opus-4-8"}`},
	} {
		_, err := messages.ReadRequest(c.path, []byte(c.body))
		var want *wire.RequestError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a RequestError", c.body, err)
		}
	}
	for _, body := range []string{``, `"m"`, `{"model":"m"`, `{"model":"m","model":"m"}`, `{"model":"m"} 1`, "{\"model\":\"\xff\"}", `{"model":"m","messages":[{"a":1,"a":2}]}`} {
		_, err := messages.ReadRequest(path, []byte(body))
		var want *wire.SyntaxError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a SyntaxError", body, err)
		}
	}
}
