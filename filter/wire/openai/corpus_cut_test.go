package openai

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"keel/filter/wire"
)

// TestCorpusCut cuts every recorded body before its end: what is left is never
// taken for whole and never tells more than was seen.
func TestCorpusCut(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	cuts := 0
	for _, x := range corpus(t) {
		codec, r, ok := x.read(t)
		if !ok || x.Status >= 400 {
			continue
		}
		body := []byte(strings.TrimRight(*x.ResponseBody, " \r\n"))
		terminal := len(body) - 1
		if x.Framing == "sse" {
			if x.DoneMarker {
				terminal = bytes.LastIndex(body, []byte("data: [DONE]")) + len("data: [DONE]") - 1
			}
			terminal++ // the line may be there, its end and the blank line are not
		}
		_, full := feed(codec.NewReader(r, x.Status, x.header()), []byte(*x.ResponseBody), nil, true)
		for range 5 {
			n := random.IntN(terminal + 1)
			for _, end := range []bool{true, false} {
				out, cut := feed(codec.NewReader(r, x.Status, x.header()), body[:n], random, end)
				cuts++
				if !bytes.Equal(out, body[:n]) {
					t.Errorf("%s cut at %d: forwarded other bytes", x.ID, n)
				}
				// OpenRouter puts a [DONE] behind the response.completed that says it all.
				if cut.Terminal && (x.Provider != "openrouter" || x.API != wire.OpenAIResponses) {
					t.Errorf("%s (%s) cut at %d of %d: terminal", x.ID, x.Provider, n, len(body))
				}
				if x.Framing == "sse" && cut.OutputBytes > full.OutputBytes || cut.OutputBytes > int64(n) {
					t.Errorf("%s cut at %d: %d output bytes, whole %d", x.ID, n, cut.OutputBytes, full.OutputBytes)
				}
				if cut.Usage != nil && (full.Usage == nil || cut.Usage.OutputTokens() > full.Usage.OutputTokens()) {
					t.Errorf("%s cut at %d: usage %v", x.ID, n, cut.Usage)
				}
			}
		}
	}
	t.Logf("%d cuts", cuts)
}
