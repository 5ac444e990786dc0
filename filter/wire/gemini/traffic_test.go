package gemini

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
)

var ours = map[string]bool{"gemini.generateContent": true, "gemini.streamGenerateContent": true}

// feed reads body cut at random, or whole for seed 0.
func feed(t testing.TB, r *wire.Request, body string, seed uint64, end bool) wire.Reading {
	t.Helper()
	reader := Codec{}.NewReader(r, 200, nil)
	random := rand.New(rand.NewPCG(seed, 1))
	for rest := body; len(rest) > 0; {
		n := len(rest)
		if seed > 0 {
			n = min(n, 1+random.IntN(1+random.IntN(2000)))
		}
		if got := reader.Feed([]byte(rest[:n]), false); string(got) != rest[:n] {
			t.Fatalf("forwarded %q for %q", got, rest[:n])
		}
		rest = rest[n:]
	}
	if end {
		reader.Feed(nil, true)
	}
	return reader.Reading()
}

func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	corpus(t, func(t *testing.T, x exchange) {
		codec, ok := Match(x.Method, x.Path)
		if !ok || string(codec.API()) != x.API {
			t.Errorf("%s: %s is not matched as %s", x.ID, x.Path, x.API)
			return
		}
		r, err := codec.ReadRequest(x.Path, []byte(x.RequestBody))
		if err != nil {
			if x.Status < 400 {
				t.Errorf("%s: the provider took a request that Keel refuses: %v", x.ID, err)
			}
			return
		}
		whole := feed(t, r, x.ResponseBody, 0, true)
		for seed := range uint64(3) {
			if diff := cmp.Diff(whole, feed(t, r, x.ResponseBody, seed+1, true)); diff != "" {
				t.Errorf("%s: chunked otherwise it reads otherwise: %s", x.ID, diff)
			}
		}
		if x.Status >= 400 {
			if whole.Usage != nil || whole.Failure == "" {
				t.Errorf("%s: status %d reads as %+v", x.ID, x.Status, whole)
			}
			return
		}
		var want struct{ PromptTokenCount, ToolUsePromptTokenCount, CandidatesTokenCount, ThoughtsTokenCount, CachedContentTokenCount int64 }
		if len(x.UsageExpected) == 0 || string(x.UsageExpected) == "null" {
			if whole.Usage != nil {
				t.Errorf("%s: usage %+v out of nothing", x.ID, whole.Usage)
			}
			return
		}
		if err := json.Unmarshal(x.UsageExpected, &want); err != nil {
			t.Fatal(err)
		}
		u := whole.Usage
		if u == nil {
			t.Errorf("%s: no usage was read, want %s", x.ID, x.UsageExpected)
			return
		}
		if u.InputTokens() != want.PromptTokenCount+want.ToolUsePromptTokenCount ||
			u.OutputTokens() != want.CandidatesTokenCount+want.ThoughtsTokenCount ||
			u.CachedInputTokens() != want.CachedContentTokenCount || u.ReasoningTokens() != want.ThoughtsTokenCount {
			t.Errorf("%s: usage %v, want %s", x.ID, *u, x.UsageExpected)
		}
		if !whole.Terminal || whole.Partial || whole.Failure != "" {
			t.Errorf("%s: a whole response reads as %+v", x.ID, whole)
		}
		if whole.Model != x.ModelReported {
			t.Errorf("%s: model %q, want %q", x.ID, whole.Model, x.ModelReported)
		}
		truncated(t, x, r)
	})
}

// truncated cuts a response anywhere before its last byte that is not space.
func truncated(t *testing.T, x exchange, r *wire.Request) {
	t.Helper()
	body := strings.TrimRight(x.ResponseBody, " \r\n")
	random := rand.New(rand.NewPCG(uint64(len(body)), 2))
	for range 4 {
		cut := body[:random.IntN(len(body))]
		if got := feed(t, r, cut, 1, false); got.Terminal {
			t.Errorf("%s: cut at %d of %d it reads as whole", x.ID, len(cut), len(body))
		}
		if got := feed(t, r, cut, 1, true); got.Terminal {
			t.Errorf("%s: ended at %d of %d it reads as whole", x.ID, len(cut), len(body))
		}
	}
	if x.Framing == "sse" && feed(t, r, x.ResponseBody, 1, false).Terminal {
		t.Errorf("%s: without the end of the body a stream reads as whole", x.ID)
	}
}
