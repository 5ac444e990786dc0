package anthropic

import (
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
)

// lines has one request line of each codec.
var lines = []struct{ method, path string }{
	{"POST", path}, {"POST", vertex}, {"POST", countPath}, {"POST", batchPath}, {"GET", batchPath + "/b"}, {"GET", batchPath + "/b/results"}, {"POST", "/v1/complete"},
}

func FuzzReadRequest(f *testing.F) {
	f.Add(uint8(0), `{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`)
	f.Add(uint8(0), `{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":8000},"system":[{"type":"text","text":"x"}]}`)
	f.Add(uint8(1), `{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"AAAA"}}]}],"tools":[{}]}`)
	f.Add(uint8(2), `{"model":"m","messages":[{"content":[{"content":[{"text":"a"}],"type":"tool_result"}]}],"context_management":{"edits":[7]}}`)
	f.Add(uint8(3), `{"requests":[{"params":{"model":"m"}},{"params":{"model":"m","max_tokens":null}}]}`)
	f.Add(uint8(4), `{}`)
	f.Add(uint8(6), `{"model":"m","prompt":"x","max_tokens_to_sample":9}`)
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		at := lines[int(which)%len(lines)]
		codec, ok := Match("anthropic", at.method, at.path)
		if !ok {
			t.Fatal("not matched")
		}
		r, err := codec.ReadRequest(at.path, []byte(body))
		if err != nil {
			return
		}
		size := 0
		for _, s := range r.Prompt.Segments {
			size += len(s.JSON)
		}
		if r.Choices < 1 || r.MaxOutputTokens < 0 || size > len(body) {
			t.Fatalf("%+v", r)
		}
		wiretest.Rewrite(t, codec, at.path, []byte(body))
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("/x/publishers/anthropic/models/a%20b:rawPredict")
	f.Add("/v1/messages/batches/x/results")
	f.Fuzz(func(t *testing.T, path string) {
		codec, ok := Match("", "POST", path)
		if !ok {
			return
		}
		body := []byte(`{"model":"m"}`)
		if _, err := codec.ReadRequest(path, body); err == nil {
			wiretest.Rewrite(t, codec, path, body)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add(uint8(0), `{"model":"m","usage":{"input_tokens":9,"output_tokens":5}}`, uint64(3))
	f.Add(uint8(0), "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_stop\"}\n\n", uint64(5))
	f.Add(uint8(0), `{"model":"m","usage":{"input_tokens":9,"iterations":[{"input_tokens":3},{"model":"n","cache_creation":{"ephemeral_1h_input_tokens":5},"output_tokens":7}]}}`, uint64(3))
	f.Add(uint8(0), `{"usage":{"input_tokens":9}}}`, uint64(2))
	f.Add(uint8(1), `[{"error":"no"}]`, uint64(2))
	f.Add(uint8(2), `{"input_tokens":3}`, uint64(2))
	f.Add(uint8(4), `{"id":"b","created_at":"2026-08-19T14:49:30.044811+00:00"}`, uint64(2))
	f.Add(uint8(5), `{"result":{"message":{"model":"m","usage":{"input_tokens":3}}}}`+"\n"+`{"result":{"message":{"usage":{"output_tokens":3}}}}`, uint64(2))
	f.Add(uint8(6), "data: {\"completion\":\"x\",\"stop_reason\":\"y\"}\r\n\r\n", uint64(2))
	f.Fuzz(func(t *testing.T, which uint8, body string, seed uint64) {
		at := lines[int(which)%len(lines)]
		codec, _ := Match("anthropic", at.method, at.path)
		wiretest.Fuzz(t, codec, &wire.Request{}, 200, []byte(body), seed)
	})
}
