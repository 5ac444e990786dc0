package huggingface

import (
	"testing"

	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/wiretest"
)

// TestRecordedTraffic has errors alone to read: no generation was recorded.
func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	n := 0
	corpus.Each(t, func(x *recording.Exchange) {
		if x.Op != "hf.generate" {
			return
		}
		n++
		r, got, ok := wiretest.Exchange(t, Match, x)
		if ok && (r.Model != x.ModelRequested && x.ModelRequested != "" || got.Failure != "Not Found") {
			t.Errorf("%s: %+v, %+v", x.ID, r, got)
		}
	})
	if n == 0 {
		t.Error("no exchange was found")
	}
}
