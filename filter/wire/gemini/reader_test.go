package gemini

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

// read reads the response to a generateContent of no model.
func read(t testing.TB, body string, seed uint64, end bool) wire.Reading {
	t.Helper()
	return wiretest.Read(t, methods["generateContent"], &wire.Request{}, wiretest.Response{Status: 200, Body: []byte(body), Open: !end}, seed)
}

func usage(kv map[meter.Kind]int64) *meter.Usage {
	u := new(meter.Usage)
	for k, n := range kv {
		u[k] = n
	}
	return u
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, metadata string
		want           *meter.Usage
	}{
		{"none", `{"trafficType":"ON_DEMAND"}`, nil},
		{"thoughts and tools stand beside", `{"promptTokenCount":10,"toolUsePromptTokenCount":5,"candidatesTokenCount":3,"thoughtsTokenCount":7,"totalTokenCount":25}`,
			usage(map[meter.Kind]int64{meter.Input: 15, meter.Output: 3, meter.Reasoning: 7})},
		{"no candidates", `{"promptTokenCount":10,"thoughtsTokenCount":7}`, usage(map[meter.Kind]int64{meter.Input: 10, meter.Reasoning: 7})},
		{"cached is inside", `{"promptTokenCount":10,"cachedContentTokenCount":4}`, usage(map[meter.Kind]int64{meter.Input: 6, meter.CachedInput: 4})},
		{"cached is clamped", `{"promptTokenCount":10,"cachedContentTokenCount":40}`, usage(map[meter.Kind]int64{meter.CachedInput: 10})},
		{"modalities", `{"promptTokenCount":100,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":30},{"modality":"IMAGE","tokenCount":20},{"modality":"VIDEO","tokenCount":10}],"candidatesTokenCount":50,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":40}]}`,
			usage(map[meter.Kind]int64{meter.Input: 40, meter.InputAudio: 30, meter.InputImage: 20, meter.InputVideo: 10, meter.Output: 10, meter.OutputImage: 40})},
		{"modalities as numbers", `{"promptTokenCount":100,"promptTokensDetails":[{"modality":4,"tokenCount":30},{"modality":2,"tokenCount":20},{"modality":1,"tokenCount":50}]}`,
			usage(map[meter.Kind]int64{meter.Input: 50, meter.InputAudio: 30, meter.InputImage: 20})},
		{"cached audio", `{"promptTokenCount":100,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":30}],"cachedContentTokenCount":40,"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":25},{"modality":"TEXT","tokenCount":15}]}`,
			usage(map[meter.Kind]int64{meter.Input: 55, meter.InputAudio: 5, meter.CachedInputAudio: 25, meter.CachedInput: 15})},
		{"cached image and video", `{"promptTokenCount":100,"promptTokensDetails":[{"modality":"IMAGE","tokenCount":30},{"modality":"VIDEO","tokenCount":30}],"cachedContentTokenCount":50,"cacheTokensDetails":[{"modality":"IMAGE","tokenCount":20},{"modality":"VIDEO","tokenCount":10}]}`,
			usage(map[meter.Kind]int64{meter.Input: 20, meter.InputImage: 10, meter.InputVideo: 20, meter.CachedInputImage: 20, meter.CachedInput: 30})},
		{"details of less than the count", `{"promptTokenCount":343,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":277}]}`, usage(map[meter.Kind]int64{meter.Input: 66, meter.InputAudio: 277})},
		{"details of tools", `{"promptTokenCount":10,"toolUsePromptTokenCount":20,"toolUsePromptTokensDetails":[{"modality":"IMAGE","tokenCount":5}]}`, usage(map[meter.Kind]int64{meter.Input: 25, meter.InputImage: 5})},
		{"a total beyond the parts", `{"promptTokenCount":10,"candidatesTokenCount":3,"thoughtsTokenCount":4,"totalTokenCount":20}`, usage(map[meter.Kind]int64{meter.Input: 10, meter.Output: 6, meter.Reasoning: 4})},
		{"film and sound that were made", `{"promptTokenCount":1,"candidatesTokenCount":9,"candidatesTokensDetails":[{"modality":4,"tokenCount":3},{"modality":3,"tokenCount":5}]}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.OutputAudio: 3, meter.OutputVideo: 5, meter.Output: 1})},
		{"documents are text", `{"promptTokenCount":9,"promptTokensDetails":[{"modality":"DOCUMENT","tokenCount":9}]}`, usage(map[meter.Kind]int64{meter.Input: 9})},
		{"modalities over the sum", `{"promptTokenCount":10,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":30},{"modality":"IMAGE","tokenCount":30}]}`,
			usage(map[meter.Kind]int64{meter.InputAudio: 10})},
		{"nonsense is no count", `{"promptTokenCount":-3,"candidatesTokenCount":"many"}`, nil},
	} {
		for _, body := range []string{
			`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":` + c.metadata + `}`,
			`{"usageMetadata":` + c.metadata + `,"candidates":[{"finishReason":"STOP"}]}`,
		} {
			got := read(t, body, 0, true)
			if diff := cmp.Diff(c.want, got.Usage); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
			if (got.RawUsage == nil) != (c.want == nil) || !got.Terminal || got.Partial {
				t.Errorf("%s: %+v", c.name, got)
			}
		}
	}
	if got := read(t, `{"usageMetadata":{"trafficType":"ON_DEMAND"},"promptFeedback":{"blockReason":"MODEL_ARMOR"}}`, 0, true); got.Usage == nil || *got.Usage != (meter.Usage{}) {
		t.Errorf("a blocked prompt used %v, want zero", got.Usage)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	const (
		running = `{"candidates":[{"content":{"parts":[{"text":"héllo"}]}}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":90},"modelVersion":"gemini-2.5-flash"}`
		last    = `{"candidates":[{"content":{"parts":[{"functionCall":{}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":4,"serviceTier":"standard"}}`
		second  = `{"candidates":[{"index":1}],"usageMetadata":{"promptTokenCount":8}}`
		failed  = `{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}`
	)
	sse := func(docs ...string) string { return "data: " + strings.Join(docs, "\r\n\r\ndata: ") + "\r\n\r\n" }
	list := func(docs ...string) string { return "[" + strings.Join(docs, "\n,\r\n") + "]" }
	in := func(n int64) *meter.Usage { return usage(map[meter.Kind]int64{meter.Input: n}) }
	inOut := func(i, o int64) *meter.Usage {
		return usage(map[meter.Kind]int64{meter.Input: i, meter.Output: o})
	}
	for _, c := range []struct {
		name, body string
		end        bool
		usage      *meter.Usage
		terminal   bool
		partial    bool
		failure    string
	}{
		{"sse", sse(running, last), true, inOut(8, 4), true, false, ""},
		{"sse without end", sse(running, last), false, inOut(8, 4), false, false, ""},
		{"sse cut", sse(running), true, inOut(9, 90), false, true, ""},
		{"sse with half an event behind", sse(running, last) + "data: {", true, inOut(8, 4), false, false, ""},
		{"sse with a broken event", sse("{", last), true, inOut(8, 4), false, false, ""},
		{"sse, a candidate is missing", sse(second, last), true, inOut(8, 4), false, true, ""},
		{"sse error", sse(running, failed), true, inOut(9, 90), false, true, "overloaded"},
		{"list", list(running, last), false, inOut(8, 4), true, false, ""},
		{"list cut behind an element", "[" + running, true, inOut(9, 90), false, true, ""},
		{"list cut in an element", "[" + running + "," + last[:60], true, inOut(9, 90), false, true, ""},
		{"list of an error", list(failed), true, nil, true, false, "overloaded"},
		{"empty list", "[]", true, nil, true, false, ""},
		{"object and more", last + "x", true, inOut(8, 4), false, false, ""},
		{"two objects", last + last, true, inOut(8, 4), false, false, ""},
		{"list of numbers", "[1]", true, nil, false, false, ""},
		{"error", failed, true, nil, true, false, "overloaded"},
		{"error as a text", `{"error":"no"}`, true, nil, true, false, "no"},
		{"text", "Not Found", true, nil, false, false, ""},
		{"prompt only", list(second), true, in(8), true, false, ""},
		{"nothing", "", true, nil, false, false, ""},
	} {
		for seed := range uint64(20) {
			got := read(t, c.body, seed, c.end)
			if diff := cmp.Diff(c.usage, got.Usage); diff != "" || got.Terminal != c.terminal || got.Partial != c.partial || got.Failure != c.failure {
				t.Errorf("%s, seed %d: %s %+v", c.name, seed, diff, got)
				break
			}
		}
	}
	tricky := `{"candidates":[{"content":{"parts":[{"text":"}]\\\"}{["}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":8}}`
	if got := read(t, list(tricky, tricky), 3, true); !got.Terminal || got.OutputBytes != 14 {
		t.Errorf("brackets in a text: %+v", got)
	}
	got := read(t, list(running, last), 0, true)
	if got.OutputBytes != int64(len("héllo")+len("{}")) || got.Model != "gemini-2.5-flash" || got.ServiceTier != "standard" || string(got.RawUsage) != `{"promptTokenCount":8,"candidatesTokenCount":4,"serviceTier":"standard"}` {
		t.Errorf("%+v %s", got, got.RawUsage)
	}
}

func TestGrounding(t *testing.T) {
	t.Parallel()
	const body = `[{"candidates":[{"groundingMetadata":{"webSearchQueries":["a",""]}}],"usageMetadata":{"promptTokenCount":1},"modelVersion":"MODEL"},
		{"candidates":[{"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b"],"groundingChunks":[{"web":{}},{"maps":{}},{"maps":{}}]}}],"usageMetadata":{"promptTokenCount":1}}]`
	for model, want := range map[string]int64{"gemini-2.5-flash": 1, "gemini-1.5-pro": 1, "gemini-3-pro-preview": 2} {
		if got := read(t, strings.Replace(body, "MODEL", model, 1), 0, true); got.Usage[meter.WebSearch] != want || got.Usage[meter.HostedTools] != 1 {
			t.Errorf("%s: %v, want %d searches and one of maps", model, got.Usage, want)
		}
	}
	for grounding, want := range map[string]int64{`{}`: 0, `{"webSearchQueries":[""]}`: 0, `{"groundingChunks":[{"web":{}}]}`: 1, `{"groundingChunks":[{"retrievedContext":{}}]}`: 0, `{"imageSearchQueries":["a"]}`: 1} {
		got := read(t, `{"candidates":[{"finishReason":"STOP","groundingMetadata":`+grounding+`}],"usageMetadata":{"promptTokenCount":1}}`, 0, true)
		if got.Usage[meter.WebSearch] != want {
			t.Errorf("%s: %d searches, want %d", grounding, got.Usage[meter.WebSearch], want)
		}
	}
}

func TestTiers(t *testing.T) {
	t.Parallel()
	for told, want := range map[string]string{
		`"trafficType":"ON_DEMAND"`: "standard", `"trafficType":1`: "standard", `"trafficType":"ON_DEMAND_PRIORITY"`: "priority", `"trafficType":3`: "priority",
		`"trafficType":"ON_DEMAND_FLEX"`: "flex", `"trafficType":4`: "flex", `"trafficType":"PROVISIONED_THROUGHPUT"`: "provisioned_throughput", `"trafficType":2`: "provisioned_throughput",
		`"trafficType":0`: "", `"serviceTier":"SERVICE_TIER_FLEX"`: "flex", `"serviceTier":"priority","trafficType":1`: "priority",
	} {
		if got := read(t, `{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,`+told+`}}`, 0, true); got.ServiceTier != want {
			t.Errorf("%s: %q, want %q", told, got.ServiceTier, want)
		}
	}
	header := http.Header{"X-Gemini-Service-Tier": {"flex"}}
	if got := wiretest.Read(t, methods["generateContent"], &wire.Request{}, wiretest.Response{Status: 200, Header: header, Body: []byte(`{}`)}, 0); got.ServiceTier != "flex" {
		t.Errorf("by header: %q", got.ServiceTier)
	}
}
