package mistral

import (
	"encoding/json"
	"testing"

	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	n := 0
	corpus.Each(t, func(x *recording.Exchange) {
		if x.Op != "mistral.ocr" {
			return
		}
		r, got, ok := wiretest.Exchange(t, Match, x)
		if !ok || x.Status >= 400 {
			return
		}
		n++
		var want struct {
			Pages int64 `json:"pages_processed"`
		}
		if err := json.Unmarshal(x.UsageExpected, &want); err != nil {
			t.Fatal(err)
		}
		if got.Usage == nil || *got.Usage != (meter.Usage{meter.Pages: want.Pages}) || got.Model != x.ModelReported || len(r.Prompt.Media)+len(r.Prompt.Images) == 0 {
			t.Errorf("%s: %+v of %+v, want %s", x.ID, got, r.Prompt, x.UsageExpected)
		}
	})
	if n == 0 {
		t.Error("no exchange was found")
	}
}
