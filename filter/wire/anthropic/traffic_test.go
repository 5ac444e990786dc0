package anthropic

import (
	"encoding/json"
	"strings"
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

// recorded is what a provider reported, in its own words.
type recorded struct {
	Input      int64 `json:"input_tokens"`
	CacheRead  int64 `json:"cache_read_input_tokens"`
	CacheWrite int64 `json:"cache_creation_input_tokens"`
	Output     int64 `json:"output_tokens"`
	Details    struct {
		Thinking int64 `json:"thinking_tokens"`
	} `json:"output_tokens_details"`
	Writes struct {
		Hour int64 `json:"ephemeral_1h_input_tokens"`
	} `json:"cache_creation"`
	Tools struct {
		Searches int64 `json:"web_search_requests"`
	} `json:"server_tool_use"`
	Tier       string `json:"service_tier"`
	Region     string `json:"inference_geo"`
	Model      string
	Iterations []recorded
}

func (x *recorded) usage(api wire.API) meter.Usage {
	if api == wire.AnthropicCount {
		return meter.Usage{meter.UnbilledInput: x.Input}
	}
	return meter.Usage{
		meter.Input: x.Input, meter.CachedInput: x.CacheRead, meter.CacheWrite1h: x.Writes.Hour, meter.CacheWrite5m: x.CacheWrite - x.Writes.Hour,
		meter.Output: x.Output - x.Details.Thinking, meter.Reasoning: x.Details.Thinking, meter.WebSearch: x.Tools.Searches,
	}
}

// billed are the tokens in and out by model, of what the iterations say.
func (x *recorded) billed(model string) map[string][2]int64 {
	sums := map[string][2]int64{}
	for _, it := range x.Iterations {
		if it.Model == "" {
			it.Model = model
		}
		s := sums[it.Model]
		sums[it.Model] = [2]int64{s[0] + it.Input + it.CacheRead + it.CacheWrite, s[1] + it.Output}
	}
	return sums
}

// ours reports whether an exchange is in one of the formats of this package.
func ours(x *recording.Exchange) bool {
	return strings.HasPrefix(x.API, "anthropic.") || x.Provider == "anthropic"
}

func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	n, right, parts := map[string]int{}, map[string]int{}, 0
	corpus.Each(t, func(x *recording.Exchange) {
		if !ours(x) {
			return
		}
		if codec, ok := Match("", x.Method, x.Path); !ok || strings.HasPrefix(x.API, "anthropic.") && string(codec.API()) != x.API {
			t.Errorf("%s: %s is not matched without a provider", x.ID, x.Path)
		}
		r, got, ok := wiretest.Exchange(t, Match, x)
		if !ok || x.Status >= 400 {
			return
		}
		kind := x.Provider + " " + string(r.API)
		n[kind]++
		u := got.Usage
		if len(x.UsageExpected) == 0 || string(x.UsageExpected) == "null" {
			if u != nil {
				t.Errorf("%s: usage %+v out of nothing", x.ID, u)
				return
			}
			if r.API == wire.AnthropicBatches && !strings.HasPrefix(got.ID, "msgbatch_") {
				t.Errorf("%s: id %q", x.ID, got.ID)
				return
			}
			right[kind]++
			return
		}
		var want recorded
		if err := json.Unmarshal(x.UsageExpected, &want); err != nil {
			t.Fatal(err)
		}
		switch {
		case u == nil || got.Partial:
			t.Errorf("%s: no final usage was read, want %s", x.ID, x.UsageExpected)
		case *u != want.usage(r.API):
			t.Errorf("%s: usage %v, want %s", x.ID, *u, x.UsageExpected)
		case got.ServiceTier != want.Tier || got.Region != want.Region:
			t.Errorf("%s: tier %q and region %q, want %s", x.ID, got.ServiceTier, got.Region, x.UsageExpected)
		case x.ModelReported != "" && got.Model != x.ModelReported:
			t.Errorf("%s: model %q, want %q", x.ID, got.Model, x.ModelReported)
		case r.API == wire.Anthropic && got.ID == "":
			t.Errorf("%s: no id", x.ID)
		case !rightParts(&want, got):
			t.Errorf("%s: parts %v, want %s", x.ID, got.Parts, x.UsageExpected)
		default:
			right[kind]++
		}
		if got.Parts != nil {
			parts++
		}
	})
	t.Logf("right: %v of %v, %d with parts", right, n, parts)
	if n["anthropic anthropic.messages"] < 380 || n["vertex anthropic.messages"] < 6 || n["anthropic anthropic.batches"] < 4 || n["anthropic anthropic.count_tokens"] < 3 || parts < 4 {
		t.Errorf("only %v exchanges were found, %d with parts", n, parts)
	}
}

// rightParts holds the parts against the iterations, counted by model.
func rightParts(want *recorded, got wire.Reading) bool {
	billed := want.billed(got.Model)
	if own := billed[got.Model]; len(want.Iterations) == 0 || len(billed) == 1 && own == [2]int64{got.Usage.InputTokens(), got.Usage.OutputTokens()} {
		return got.Parts == nil
	}
	for _, part := range got.Parts {
		model := part.Model
		if model == "" {
			model = got.Model
		}
		left := billed[model]
		billed[model] = [2]int64{left[0] - part.Usage.InputTokens(), left[1] - part.Usage.OutputTokens()}
	}
	for _, left := range billed {
		if left != [2]int64{} {
			return false
		}
	}
	return got.Parts != nil
}
