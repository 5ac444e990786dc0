package watsonx

import (
	"encoding/json"
	"testing"

	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/wiretest"
)

func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	n := 0
	corpus.Each(t, func(x *recording.Exchange) {
		if x.Provider != "watsonx" {
			return
		}
		_, got, ok := wiretest.Exchange(t, Match, x)
		if !ok || x.Status >= 400 {
			return
		}
		n++
		var want struct {
			In  int64 `json:"input_token_count"`
			Out int64 `json:"generated_token_count"`
		}
		if err := json.Unmarshal(x.UsageExpected, &want); err != nil {
			t.Fatal(err)
		}
		if u := got.Usage; u == nil || got.Partial || u.InputTokens() != want.In || u.OutputTokens() != want.Out || got.Model != x.ModelReported {
			t.Errorf("%s: %+v, want %s", x.ID, got, x.UsageExpected)
		}
	})
	if n == 0 {
		t.Error("no exchange was found")
	}
}
