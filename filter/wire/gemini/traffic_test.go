package gemini

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

// recorded is what a provider reported, in the words of each of Google's usages.
type recorded struct {
	PromptTokenCount, ToolUsePromptTokenCount, CandidatesTokenCount, ThoughtsTokenCount, CachedContentTokenCount int64
	TotalTokens, TotalTokenCount                                                                                 int64

	In      int64 `json:"total_input_tokens"`
	Out     int64 `json:"total_output_tokens"`
	Thought int64 `json:"total_thought_tokens"`
	Tool    int64 `json:"total_tool_use_tokens"`
	Cached  int64 `json:"total_cached_tokens"`

	Statistics []struct {
		TokenCount int64 `json:"token_count"`
	}
}

// totals normalises a usage: thoughts and tool input stand beside the rest.
func (x recorded) totals(api wire.API) (input, output, cached, reasoning int64) {
	input = x.PromptTokenCount + x.ToolUsePromptTokenCount + x.In + x.Tool
	switch api {
	case wire.GeminiCount:
		input = x.TotalTokens
	case wire.GeminiCache:
		input = x.TotalTokenCount
	}
	for _, s := range x.Statistics {
		input += s.TokenCount
	}
	reasoning = x.ThoughtsTokenCount + x.Thought
	return input, x.CandidatesTokenCount + x.Out + reasoning, x.CachedContentTokenCount + x.Cached, reasoning
}

// ours reports whether an exchange is in one of the formats of this package.
func ours(x *recording.Exchange) bool {
	switch x.Provider {
	case "google", "vertex", "pydantic-gateway":
		return strings.HasPrefix(x.API, "gemini.") || x.API == "other"
	}
	return false
}

func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	n, right := map[string]int{}, map[string]int{}
	corpus.Each(t, func(x *recording.Exchange) {
		if !ours(x) {
			return
		}
		if strings.HasPrefix(x.API, "gemini.") {
			if codec, _ := Match(x.Provider, x.Method, x.Path); codec == nil || string(codec.API()) != x.API {
				t.Errorf("%s: %s is not matched as %s", x.ID, x.Path, x.API)
				return
			}
			if codec, ok := Match("", x.Method, x.Path); !ok || string(codec.API()) != x.API {
				t.Errorf("%s: %s is not matched without a provider", x.ID, x.Path)
			}
		}
		r, got, ok := wiretest.Exchange(t, Match, x)
		if !ok || x.Status >= 400 {
			return
		}
		n[x.Provider]++
		var want recorded
		if len(x.UsageExpected) == 0 || string(x.UsageExpected) == "null" {
			if got.Usage != nil {
				t.Errorf("%s: usage %+v out of nothing", x.ID, got.Usage)
				return
			}
			right[x.Provider]++
			return
		}
		if err := json.Unmarshal(x.UsageExpected, &want); err != nil {
			t.Fatal(err)
		}
		input, output, cached, reasoning := want.totals(r.API)
		u := got.Usage
		switch {
		case u == nil || got.Partial:
			t.Errorf("%s: no final usage was read, want %s", x.ID, x.UsageExpected)
		case u.InputTokens() != input || u.OutputTokens() != output || u.CachedInputTokens() != cached || u.ReasoningTokens() != reasoning:
			t.Errorf("%s: usage %v, want %s", x.ID, *u, x.UsageExpected)
		case r.API == wire.GeminiCount && u[meter.UnbilledInput] != input:
			t.Errorf("%s: counting is billed: %v", x.ID, *u)
		case x.ModelReported != "" && got.Model != strings.TrimPrefix(x.ModelReported, "models/"):
			t.Errorf("%s: model %q, want %q", x.ID, got.Model, x.ModelReported)
		default:
			right[x.Provider]++
		}
	})
	t.Logf("right of all: %v of %v", right, n)
	if n["google"] < 300 || n["vertex"] < 80 {
		t.Errorf("only %v exchanges were found", n)
	}
}
