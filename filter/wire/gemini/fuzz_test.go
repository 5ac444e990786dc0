package gemini

import (
	"net/http"
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
)

// paths has one of each codec.
var paths = []struct{ method, path string }{
	{"POST", path},
	{"POST", "/models/m:streamGenerateContent?alt=sse"},
	{"POST", "/models/m:countTokens"},
	{"POST", "/models/m:batchEmbedContents"},
	{"POST", "/v1beta/models/m:predict"},
	{"POST", "/models/m:batchGenerateContent"},
	{"POST", "/v1beta/cachedContents"},
	{"POST", "/v1beta/interactions"},
	{"GET", "/v1beta/interactions/x"},
	{"GET", "/v1beta/batches/x"},
}

func FuzzReadRequest(f *testing.F) {
	f.Add(uint8(0), `{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":10}}`)
	f.Add(uint8(1), `{"contents":"x","generation_config":null,"tools":{"googleSearch":{}},"model":"m"}`)
	f.Add(uint8(2), `{"generateContentRequest":{"generation_config":{"max_output_tokens":"9"}}}`)
	f.Add(uint8(3), `{"requests":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}]}`)
	f.Add(uint8(4), `{"instances":[{"prompt":"a"}],"parameters":{"sampleCount":2}}`)
	f.Add(uint8(5), `{"batch":{"inputConfig":{"requests":{"requests":[{"request":{"contents":[{"parts":[{"functionResponse":{"parts":[{}]}}]}]}}]}}}}`)
	f.Add(uint8(6), `{"model":"models/m","ttl":"300s","contents":{"parts":{"functionCall":{}}}}`)
	f.Add(uint8(7), `{"model":"m","input":[{"type":"image","data":"AAAA"}],"generation_config":{"thinking_level":"low"}}`)
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		at := paths[int(which)%len(paths)]
		codec, ok := Match("google", at.method, at.path)
		if !ok {
			t.Fatal("not matched")
		}
		if _, err := codec.ReadRequest(at.path, []byte(body)); err == nil {
			wiretest.Rewrite(t, codec, at.path, []byte(body))
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("/x/tunedModels/a%20b:generateContent")
	f.Add("/v1beta/interactions")
	f.Fuzz(func(t *testing.T, path string) {
		codec, ok := Match("", http.MethodPost, path)
		if !ok {
			return
		}
		body := []byte(`{"model":"m"}`)
		if r, err := codec.ReadRequest(path, []byte(`{}`)); err == nil && r.Model != "" {
			body = []byte(`{}`)
		}
		if _, err := codec.ReadRequest(path, body); err == nil {
			wiretest.Rewrite(t, codec, path, body)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add(uint8(0), `{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}`, uint64(3))
	f.Add(uint8(1), "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":1}}\r\n\r\n", uint64(3))
	f.Add(uint8(1), `[{"usageMetadata":{}},{"candidates":[{"index":1}]}]`, uint64(9))
	f.Add(uint8(0), `[{"error":{"message":"no"}}`, uint64(2))
	f.Add(uint8(2), `{"totalTokens":3}`, uint64(2))
	f.Add(uint8(3), `{"usageMetadata":{"promptTokenCount":1}}`, uint64(2))
	f.Add(uint8(4), `{"predictions":[{"embeddings":{"statistics":{"token_count":1}}},{"bytesBase64Encoded":"A"}]}`, uint64(2))
	f.Add(uint8(6), `{"usageMetadata":{"totalTokenCount":1}}`, uint64(2))
	f.Add(uint8(7), "event: x\ndata: {\"interaction\":{\"usage\":{\"total_input_tokens\":1}}}\n\ndata: [DONE]\n\n", uint64(2))
	f.Add(uint8(9), `{"response":{"inlinedResponses":[{"response":{"usageMetadata":{"promptTokenCount":1}}}]}}`, uint64(2))
	f.Fuzz(func(t *testing.T, which uint8, body string, seed uint64) {
		at := paths[int(which)%len(paths)]
		codec, _ := Match("google", at.method, at.path)
		wiretest.Fuzz(t, codec, &wire.Request{}, 200, []byte(body), seed)
	})
}
