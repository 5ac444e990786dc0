package openai

import (
	"testing"

	"pgregory.net/rapid"

	"keel/filter/wire"
	"keel/pricing/meter"
)

func TestNormalise(t *testing.T) {
	t.Parallel()
	type kinds map[meter.Kind]int64
	tests := []struct {
		name, usage string
		want        kinds
		partial     bool
	}{
		{"plain", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}`, kinds{meter.Input: 10, meter.Output: 5}, false},
		{"zero", `{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`, kinds{}, false},
		{"reasoning inside", `{"prompt_tokens":10,"completion_tokens":50,"total_tokens":60,"completion_tokens_details":{"reasoning_tokens":30}}`,
			kinds{meter.Input: 10, meter.Output: 20, meter.Reasoning: 30}, false},
		{"reasoning outside (xAI 06ad237c7efaeae2)", `{"prompt_tokens":401,"completion_tokens":44,"total_tokens":630,"prompt_tokens_details":{"cached_tokens":305},"completion_tokens_details":{"reasoning_tokens":185}}`,
			kinds{meter.Input: 96, meter.CachedInput: 305, meter.Output: 44, meter.Reasoning: 185}, false},
		{"thoughts in total only (Google e819d093622722ee)", `{"completion_tokens":12,"prompt_tokens":35,"total_tokens":109}`,
			kinds{meter.Input: 35, meter.Output: 74}, false},
		{"gateway that leaves reasoning out of total (Vercel)", `{"prompt_tokens":109,"completion_tokens":368,"total_tokens":477,"completion_tokens_details":{"reasoning_tokens":256},"market_cost":0.00637625}`,
			kinds{meter.Input: 109, meter.Output: 368, meter.Reasoning: 256}, false},
		{"reasoning above output without proof (OpenRouter)", `{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20,"completion_tokens_details":{"reasoning_tokens":11}}`,
			kinds{meter.Input: 10, meter.Reasoning: 10}, false},
		{"cached above input (Azure grok)", `{"prompt_tokens":202,"completion_tokens":15,"total_tokens":217,"prompt_tokens_details":{"cached_tokens":314}}`,
			kinds{meter.CachedInput: 202, meter.Output: 15}, false},
		{"cache write", `{"prompt_tokens":1220,"completion_tokens":1,"total_tokens":1221,"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":1217}}`,
			kinds{meter.Input: 3, meter.CacheWrite5m: 1217, meter.Output: 1}, false},
		{"cache write that was read too", `{"prompt_tokens":2168,"completion_tokens":1,"total_tokens":2169,"prompt_tokens_details":{"cached_tokens":2161,"cache_write_tokens":2161}}`,
			kinds{meter.CachedInput: 2161, meter.CacheWrite5m: 7, meter.Output: 1}, false},
		{"audio", `{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"audio_tokens":60,"cached_tokens":30,"cached_tokens_details":{"audio_tokens":20}},"completion_tokens_details":{"audio_tokens":40}}`,
			kinds{meter.Input: 30, meter.CachedInput: 10, meter.InputAudio: 40, meter.CachedInputAudio: 20, meter.Output: 10, meter.OutputAudio: 40}, false},
		{"images", `{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"image_tokens":60},"completion_tokens_details":{"image_tokens":49}}`,
			kinds{meter.Input: 40, meter.InputImage: 60, meter.Output: 1, meter.OutputImage: 49}, false},
		{"cache hits at the top (DeepSeek)", `{"prompt_tokens":97,"completion_tokens":17,"total_tokens":114,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":33}`,
			kinds{meter.Input: 33, meter.CachedInput: 64, meter.Output: 17}, false},
		{"details win over the top", `{"prompt_tokens":97,"completion_tokens":17,"cached_tokens":90,"prompt_tokens_details":{"cached_tokens":64}}`,
			kinds{meter.Input: 33, meter.CachedInput: 64, meter.Output: 17}, false},
		{"Responses", `{"input_tokens":283,"input_tokens_details":{"cached_tokens":128},"output_tokens":278,"output_tokens_details":{"reasoning_tokens":273},"total_tokens":561}`,
			kinds{meter.Input: 155, meter.CachedInput: 128, meter.Output: 5, meter.Reasoning: 273}, false},
		{"searches (xAI)", `{"input_tokens":1,"output_tokens":1,"server_side_tool_usage_details":{"web_search_calls":2,"x_search_calls":1,"mcp_calls":9}}`,
			kinds{meter.Input: 1, meter.Output: 1, meter.WebSearch: 3}, false},
		{"nulls", `{"prompt_tokens":1,"completion_tokens":2,"total_tokens":null,"prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":null}}`,
			kinds{meter.Input: 1, meter.Output: 2}, false},
		{"completion from the total", `{"prompt_tokens":8,"total_tokens":11}`, kinds{meter.Input: 8, meter.Output: 3}, false},
		{"prompt alone", `{"prompt_tokens":8}`, kinds{meter.Input: 8}, true},
		{"completion alone", `{"completion_tokens":8}`, kinds{meter.Output: 8}, true},
		{"total alone", `{"total_tokens":8}`, kinds{meter.Input: 8}, true},
		{"nonsense is absent", `{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":-5,"audio_tokens":1.5,"image_tokens":9e99,"cache_write_tokens":"7"}}`,
			kinds{meter.Input: 8, meter.Output: 2}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var want meter.Usage
			for kind, n := range test.want {
				want[kind] = n
			}
			reading := readAll(Chat{}, &wire.Request{Choices: 1}, 200, `{"choices":[],"usage":`+test.usage+`}`)
			if reading.Usage == nil || *reading.Usage != want || reading.Partial != test.partial || string(reading.RawUsage) != test.usage || !reading.Terminal {
				t.Errorf("%s\nwant %v partial %v", describe(reading), want, test.partial)
			}
		})
	}
}

// TestNormaliseNeverInvents: whatever is reported, quantities are disjoint,
// not negative, and sum to no more than was stated.
func TestNormaliseNeverInvents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := func(name string) int64 { return rapid.Int64Range(-1, 50).Draw(t, name) }
		u := noCounts()
		u.prompt, u.completion, u.total, u.cached, u.cachedAudio, u.cachedImage = n("prompt"), n("completion"), n("total"), n("cached"), n("cachedAudio"), n("cachedImage")
		u.cacheWrite, u.promptAudio, u.promptImage, u.promptVideo, u.reasoning = n("write"), n("promptAudio"), n("promptImage"), n("promptVideo"), n("reasoning")
		u.completionAudio, u.completionImage, u.searches, u.seconds = n("completionAudio"), n("completionImage"), n("searches"), n("seconds")
		u.apart = rapid.Bool().Draw(t, "apart")
		if u.prompt < 0 && u.completion < 0 && u.total < 0 {
			return
		}
		usage, partial := u.normalise()
		for kind, q := range usage {
			if q < 0 {
				t.Fatalf("%v is %d", meter.Kind(kind), q)
			}
		}
		if in := usage.InputTokens(); u.prompt >= 0 && in != u.prompt && (in != u.prompt+u.promptAudio || u.total < in+u.completion) { // Mistral's sound
			t.Fatalf("%d input tokens of %d", in, u.prompt)
		}
		if u.completion >= 0 && (usage.OutputTokens() < u.completion || usage.OutputTokens() > max(u.total, u.completion+max(u.reasoning, 0))) {
			t.Fatalf("%d output tokens of %d", usage.OutputTokens(), u.completion)
		}
		if partial == (u.prompt >= 0 && u.completion >= 0) {
			if !partial && (u.prompt < 0 || u.completion < 0) && u.total >= 0 {
				return // follows from the total
			}
			t.Fatalf("partial %v of %+v", partial, u)
		}
	})
}
