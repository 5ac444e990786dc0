package ollama

import (
	"encoding/json"
	"strings"
	"testing"

	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/wiretest"
)

func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	n, right := 0, 0
	corpus.Each(t, func(x *recording.Exchange) {
		if x.Provider != "ollama" || !strings.HasPrefix(x.Path, "/api/") {
			return
		}
		r, got, ok := wiretest.Exchange(t, Match, x)
		if !ok || x.Status >= 400 {
			return
		}
		n++
		var want struct {
			In  *int64 `json:"prompt_eval_count"`
			Out *int64 `json:"eval_count"`
		}
		if err := json.Unmarshal(x.UsageExpected, &want); err != nil {
			t.Fatal(err)
		}
		in, out := int64(0), int64(0)
		if want.In != nil {
			in = *want.In
		}
		if want.Out != nil {
			out = *want.Out
		}
		switch u := got.Usage; {
		case u == nil || u.InputTokens() != in || u.OutputTokens() != out:
			t.Errorf("%s: usage %v, want %s", x.ID, u, x.UsageExpected)
		case got.Partial != (want.In == nil):
			t.Errorf("%s: a prompt that was not counted: %+v of %s", x.ID, got, x.UsageExpected)
		case got.Model != x.ModelReported || r.Stream != (strings.Count(*x.ResponseText, "\n") > 1):
			t.Errorf("%s: %+v, %+v", x.ID, r, got)
		default:
			right++
		}
	})
	t.Logf("right: %d of %d", right, n)
	if n < 20 {
		t.Errorf("only %d exchanges were found", n)
	}
}
