package gemini

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

func TestResources(t *testing.T) {
	t.Parallel()
	const interaction = `{"id":"v1_x","status":"completed","created":"1970-01-01T00:01:00Z","model":"gemini-3-flash-preview","service_tier":"flex","steps":[{"type":"model_output","content":[{"type":"text","text":"abc"}]},{"type":"google_search_call","arguments":{"queries":["a","b"]}}],"usage":{"total_tokens":25,"total_input_tokens":10,"input_tokens_by_modality":[{"modality":"audio","tokens":4}],"total_cached_tokens":2,"total_output_tokens":3,"total_tool_use_tokens":5,"total_thought_tokens":7}}`
	interactionUsage := map[meter.Kind]int64{meter.Input: 9, meter.InputAudio: 4, meter.CachedInput: 2, meter.Output: 3, meter.Reasoning: 7, meter.WebSearch: 2}
	const batch = `{"name":"batches/b","done":true,"metadata":{"model":"models/m","createTime":"1970-01-01T00:01:00Z","output":{"inlinedResponses":{"inlinedResponses":[{"response":{"usageMetadata":{"promptTokenCount":99}}}]}}},
		"response":{"@type":"x","inlinedResponses":{"inlinedResponses":[{"response":{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}},"metadata":{"key":"a"}},{"error":{"message":"no"}},{"response":{"usageMetadata":{"promptTokenCount":3,"thoughtsTokenCount":4}}}]}}}`
	for _, c := range []struct {
		name  string
		codec *codec
		body  string
		want  wire.Reading
	}{
		{"count", methods["countTokens"], `{"totalTokens":12,"cachedContentTokenCount":4,"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}]}`,
			wire.Reading{Usage: usage(map[meter.Kind]int64{meter.UnbilledInput: 8, meter.UnbilledCachedInput: 4})}},
		{"count of nothing", methods["countTokens"], `{}`, wire.Reading{}},
		{"embed", methods["batchEmbedContents"], `{"embeddings":[{"values":[1]}],"usageMetadata":{"promptTokenCount":8,"promptTokenDetails":[{"modality":"IMAGE","tokenCount":3}]}}`,
			wire.Reading{Usage: usage(map[meter.Kind]int64{meter.Input: 5, meter.InputImage: 3}), RawUsage: []byte(`{"promptTokenCount":8,"promptTokenDetails":[{"modality":"IMAGE","tokenCount":3}]}`)}},
		{"embed without usage", methods["embedContent"], `{"embedding":{"values":[1]}}`, wire.Reading{}},
		{"predict", methods["predict"], `{"predictions":[{"embeddings":{"statistics":{"token_count":3,"truncated":false},"values":[1]}},{"embeddings":{"values":[1],"statistics":{"token_count":4}}}],"metadata":{"billableCharacterCount":20}}`,
			wire.Reading{Usage: usage(map[meter.Kind]int64{meter.Input: 7}), RawUsage: []byte(`[{"token_count":3,"truncated":false},{"token_count":4}]`)}},
		{"predict without usage", methods["predict"], `{"predictions":[{"imageEmbedding":[1]}]}`, wire.Reading{}},
		{"images", methods["predict"], `{"predictions":[{"bytesBase64Encoded":"AAAA","mimeType":"image/png"},{"mimeType":"image/png","gcsUri":"gs://x"},{"raiFilteredReason":"no"},{"bytesBase64Encoded":"AAAA","mimeType":"audio/wav"}]}`,
			wire.Reading{Parts: []meter.Part{{Usage: *usage(map[meter.Kind]int64{meter.Images: 2})}}}},
		{"film", methods["predictLongRunning"], `{"name":"models/veo/operations/x"}`, wire.Reading{ID: "models/veo/operations/x"}},
		{"cache", caches, `{"name":"cachedContents/x","model":"models/m","createTime":"1970-01-01T00:01:00Z","usageMetadata":{"totalTokenCount":1090}}`,
			wire.Reading{ID: "cachedContents/x", Model: "m", Created: 60, Usage: usage(map[meter.Kind]int64{meter.Input: 1090}), RawUsage: []byte(`{"totalTokenCount":1090}`)}},
		{"cache, looked at or kept longer", fetchCache, `{"name":"cachedContents/x","model":"models/m","usageMetadata":{"totalTokenCount":1090}}`,
			wire.Reading{Model: "m", Usage: usage(map[meter.Kind]int64{meter.UnbilledInput: 1090}), RawUsage: []byte(`{"totalTokenCount":1090}`)}},
		{"predict with PaLM", methods["predict"], `{"predictions":[{"content":"x"}],"metadata":{"tokenMetadata":{"inputTokenCount":{"totalTokens":5,"totalBillableCharacters":18},"outputTokenCount":{"totalTokens":9}}}}`,
			wire.Reading{Usage: usage(map[meter.Kind]int64{meter.Input: 5, meter.Output: 9}), RawUsage: []byte(`{"inputTokenCount":{"totalTokens":5,"totalBillableCharacters":18},"outputTokenCount":{"totalTokens":9}}`)}},
		{"batch under way", methods["batchGenerateContent"], `{"name":"batches/b","metadata":{"model":"models/m","state":"BATCH_STATE_PENDING"}}`, wire.Reading{ID: "batches/b", Model: "m"}},
		{"batch", fetchBatch, batch, wire.Reading{ID: "batches/b", Model: "m", Created: 60, ServiceTier: "batch", Usage: usage(map[meter.Kind]int64{meter.Input: 4, meter.Output: 2, meter.Reasoning: 4}),
			RawUsage: []byte(`[{"promptTokenCount":1,"candidatesTokenCount":2},{"promptTokenCount":3,"thoughtsTokenCount":4}]`)}},
		{"batch in a file", fetchBatch, `{"name":"batches/b","done":true,"response":{"responsesFile":"files/x"}}`, wire.Reading{ID: "batches/b", ServiceTier: "batch"}},
		{"interaction", interactions, interaction, wire.Reading{ID: "v1_x", Model: "gemini-3-flash-preview", Created: 60, ServiceTier: "flex", OutputBytes: 3 + int64(len(`{"queries":["a","b"]}`)), Usage: usage(interactionUsage)}},
		{"interaction, fetched", fetchInteraction, interaction, wire.Reading{ID: "v1_x", Model: "gemini-3-flash-preview", Created: 60, ServiceTier: "flex", OutputBytes: 3 + int64(len(`{"queries":["a","b"]}`)), Usage: usage(interactionUsage)}},
		{"interaction under way", interactions, `{"id":"v1_x","status":"in_progress"}`, wire.Reading{ID: "v1_x"}},
		{"searches that are counted", interactions, `{"status":"completed","model":"gemini-2.5-flash","usage":{"total_input_tokens":1,"grounding_tool_count":[{"type":"google_search","count":3},{"type":"google_maps","count":1}]}}`,
			wire.Reading{Model: "gemini-2.5-flash", Usage: usage(map[meter.Kind]int64{meter.Input: 1, meter.WebSearch: 1, meter.HostedTools: 1})}},
	} {
		c.want.Terminal = true
		for seed := range uint64(5) {
			got := wiretest.Read(t, c.codec, &wire.Request{}, wiretest.Response{Status: 200, Body: []byte(c.body)}, seed)
			if (got.RawUsage == nil) != (c.want.Usage == nil) {
				t.Errorf("%s: raw usage %s", c.name, got.RawUsage)
			}
			if c.want.RawUsage == nil {
				got.RawUsage = nil
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
				break
			}
		}
	}
}

func TestInteractionStream(t *testing.T) {
	t.Parallel()
	const (
		created   = "event: interaction.created\ndata: {\"interaction\":{\"id\":\"v1_x\",\"status\":\"in_progress\",\"model\":\"m\"},\"event_type\":\"interaction.created\"}\n\n"
		delta     = "event: step.delta\ndata: {\"index\":0,\"delta\":{\"type\":\"text\",\"text\":\"abc\"},\"event_type\":\"step.delta\"}\n\n"
		completed = "event: interaction.completed\ndata: {\"interaction\":{\"id\":\"v1_x\",\"status\":\"completed\",\"usage\":{\"total_input_tokens\":9,\"total_output_tokens\":4}},\"event_type\":\"interaction.completed\"}\n\n"
		done      = "event: done\ndata: [DONE]\n\n"
		failed    = "event: error\ndata: {\"event_type\":\"error\",\"error\":{\"message\":\"overloaded\",\"code\":\"503\"}}\n\n"
	)
	used := usage(map[meter.Kind]int64{meter.Input: 9, meter.Output: 4})
	for _, c := range []struct {
		name, body string
		open       bool
		want       wire.Reading
	}{
		{"whole", created + delta + completed + done, true, wire.Reading{Usage: used, Terminal: true, OutputBytes: 3}},
		{"without the end marker", created + delta + completed, false, wire.Reading{Usage: used, Terminal: true, OutputBytes: 3}},
		{"cut behind the usage", created + delta + completed, true, wire.Reading{Usage: used, OutputBytes: 3}},
		{"cut before", created + delta, false, wire.Reading{OutputBytes: 3}},
		{"failed", created + delta + failed, false, wire.Reading{OutputBytes: 3, Failure: "overloaded"}},
	} {
		for seed := range uint64(5) {
			got := wiretest.Read(t, interactions, &wire.Request{}, wiretest.Response{Status: 200, Body: []byte(c.body), Open: c.open}, seed)
			got.RawUsage, c.want.ID, c.want.Model = nil, "v1_x", "m"
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
				break
			}
		}
	}
}

// TestCutBody: what a body that broke off showed was made, though its usage was lost.
func TestCutBody(t *testing.T) {
	t.Parallel()
	const body = `{"candidates":[{"content":{"parts":[{"text":"abc`
	for method, want := range map[string]int64{"generateContent": int64(len(body)), "embedContent": 0} {
		got := wiretest.Read(t, methods[method], &wire.Request{}, wiretest.Response{Status: 200, Body: []byte(body), Open: true}, 0)
		if got.OutputBytes != want || got.Terminal || got.Usage != nil {
			t.Errorf("%s: %+v", method, got)
		}
	}
	got := wiretest.Read(t, methods["generateContent"], &wire.Request{}, wiretest.Response{Status: 502, Body: []byte("<html>Bad Gateway")}, 0)
	if got.Failure != "<html>Bad Gateway" || got.Terminal || got.OutputBytes != 0 {
		t.Errorf("%+v", got)
	}
}
