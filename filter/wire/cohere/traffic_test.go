package cohere

import (
	"encoding/json"
	"testing"

	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

// recorded is what Cohere reported: a usage, or billed_units alone.
type recorded struct {
	BilledUnits *units `json:"billed_units"`
	Tokens      *units `json:"tokens"`
	CachedTok   int64  `json:"cached_tokens"`
	units
}

type units struct {
	Input     int64 `json:"input_tokens"`
	Output    int64 `json:"output_tokens"`
	Image     int64 `json:"image_tokens"`
	Reasoning int64 `json:"reasoning_tokens"`
	Search    int64 `json:"search_units"`
}

func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	n, right := 0, 0
	corpus.Each(t, func(x *recording.Exchange) {
		if x.Provider != "cohere" {
			return
		}
		_, got, ok := wiretest.Exchange(t, Match, x)
		if !ok || x.Status >= 400 {
			return
		}
		n++
		if string(x.UsageExpected) == "null" {
			if got.Usage != nil {
				t.Errorf("%s: usage %v out of nothing", x.ID, got.Usage)
				return
			}
			right++
			return
		}
		var want recorded
		if err := json.Unmarshal(x.UsageExpected, &want); err != nil {
			t.Fatal(err)
		}
		all, billed := want.units, want.units
		if want.Tokens != nil {
			all, billed = *want.Tokens, *want.BilledUnits
		}
		all.Input += all.Image
		u := got.Usage
		switch {
		case u == nil || got.Partial:
			t.Errorf("%s: no final usage was read, want %s", x.ID, x.UsageExpected)
		case u.InputTokens() != all.Input || u.OutputTokens() != all.Output || u.CachedInputTokens() != want.CachedTok || u.ReasoningTokens() != all.Reasoning,
			u[meter.SearchUnits] != want.Search:
			t.Errorf("%s: usage %v, want %s", x.ID, *u, x.UsageExpected)
		case want.Tokens != nil && (all.Input-u[meter.UnbilledInput]-u[meter.UnbilledCachedInput] != billed.Input || all.Output-u[meter.UnbilledOutput] != billed.Output):
			t.Errorf("%s: %v bills something else than %s", x.ID, *u, x.UsageExpected)
		default:
			right++
		}
	})
	t.Logf("right: %d of %d", right, n)
	if n < 75 {
		t.Errorf("only %d exchanges were found", n)
	}
}
