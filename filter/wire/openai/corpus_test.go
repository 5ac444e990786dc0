package openai

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"keel/filter/wire"
	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/pricing/tokens"
)

// apis is which wire.API the corpus's words mean; what it calls other goes by op.
var apis = map[string]wire.API{
	"openai.chat": wire.OpenAIChat, "openai.responses": wire.OpenAIResponses, "openai.completions": wire.OpenAICompletions,
	"openai.embeddings": wire.OpenAIEmbeddings, "openai.images": wire.OpenAIImages, "openai.audio": wire.OpenAIAudio, "mistral.chat": wire.OpenAIChat,
	"moderation": wire.OpenAIModerations, "openai.assistants.run": wire.OpenAIAssistants, "writer.chat": wire.OpenAIChat,
}

// apiOf is the API that a recorded exchange should be read as, "" for those of other packages.
func apiOf(x *recording.Exchange) wire.API {
	switch {
	case x.API != "other":
		return apis[x.API]
	case x.Op == "rerank" && x.Provider != "cohere":
		return wire.OpenAIEmbeddings
	case x.Op == "count_tokens" && x.Provider == "openai":
		return wire.OpenAIResponses
	case strings.Contains(x.Path, "/v1/videos/"):
		return wire.OpenAIVideos
	case x.Op == "xai.media" && strings.HasSuffix(x.Path, "/stt"):
		return wire.OpenAIAudio
	}
	return apis[x.Op]
}

// A call is a recorded exchange of this package's APIs.
type call struct {
	*recording.Exchange
	codec             wire.Codec
	asked             *wire.Request
	request, response []byte
	header            http.Header
}

// each calls f with every recorded exchange of this package's APIs. It sees to
// it that they are matched and their requests read, and that nothing of
// other packages is matched.
func each(t *testing.T, f func(*call)) {
	t.Helper()
	corpus.Each(t, func(x *recording.Exchange) {
		codec, ok := Match(x.Provider, x.Method, x.Path)
		want := apiOf(x)
		if ok != (want != "") || ok && codec.API() != want {
			t.Errorf("%s (%s %s): %s %s is matched as %v, want %q", x.ID, x.Provider, x.API, x.Method, x.Path, codec, want)
			return
		}
		if !ok {
			return
		}
		c := &call{Exchange: x, codec: codec, header: recording.Header(x.ResponseHeaders)}
		var err, err2 error
		c.request, err = x.Request()
		c.response, err2 = x.Response()
		if err != nil || err2 != nil {
			t.Errorf("%s: %v, %v", x.ID, err, err2)
			return
		}
		c.asked, err = codec.ReadRequest(x.Path, c.request)
		if bytes.HasPrefix(c.request, []byte("[multipart")) { // the recorder left the body out
			c.asked, err = &wire.Request{API: want, Choices: 1}, nil
		}
		if err != nil {
			t.Errorf("%s (%s, status %d): %v", x.ID, x.Provider, x.Status, err)
			return
		}
		f(c)
	})
}

func (c *call) reader() wire.ResponseReader { return c.codec.NewReader(c.asked, c.Status, c.header) }

// feed gives body to a reader, whole or cut by random, and returns what came
// out and the reading.
func feed(reader wire.ResponseReader, body []byte, random *rand.Rand, end bool) ([]byte, wire.Reading) {
	var out []byte
	for len(body) > 0 {
		n := len(body)
		if random != nil {
			n = 1 + random.IntN(min(n, 1+random.IntN(2000)))
		}
		out = append(out, reader.Feed(bytes.Clone(body[:n]), end && n == len(body))...)
		body = body[n:]
	}
	if end {
		out = append(out, reader.Feed(nil, true)...)
	}
	return out, reader.Reading()
}

// describe renders a Reading for comparing.
func describe(r wire.Reading) string {
	usage := "none"
	if r.Usage != nil {
		usage = fmt.Sprint(*r.Usage)
	}
	r.Usage = nil
	raw := string(r.RawUsage)
	r.RawUsage = nil
	return fmt.Sprintf("%+v usage %s raw %s", r, usage, raw)
}

// TestCorpus reads every recorded response, whole and cut, and holds usage and
// cost against what the provider reported.
func TestCorpus(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	type tally struct{ exchanges, withUsage, equal, withCost, costEqual int }
	tallies := map[string]*tally{}
	each(t, func(x *call) {
		key := fmt.Sprintf("%-16s %s", x.Provider, x.codec.API())
		if tallies[key] == nil {
			tallies[key] = &tally{}
		}
		n := tallies[key]
		n.exchanges++
		whole, reading := feed(x.reader(), x.response, nil, true)
		cut, again := feed(x.reader(), x.response, random, true)
		if !bytes.Equal(whole, x.response) || !bytes.Equal(cut, x.response) {
			t.Errorf("%s: what was forwarded is not what came", x.ID)
		}
		if a, b := describe(reading), describe(again); a != b {
			t.Errorf("%s: cut in pieces it reads\n%s\nwhole\n%s", x.ID, b, a)
		}
		want, cost := expected(t, x)
		if want != nil {
			n.withUsage++
		}
		if got := totalsOf(reading); show(got) != show(want) {
			t.Errorf("%s (%s, %s): usage %s, want %s of %s", x.ID, x.Provider, x.API, show(got), show(want), x.UsageExpected)
		} else if want != nil {
			n.equal++
		}
		if cost != "" {
			n.withCost++
		}
		if got := plain(reading.ReportedCost); got != cost {
			t.Errorf("%s (%s): cost %q, want %q of %s", x.ID, x.Provider, got, cost, x.UsageExpected)
		} else if cost != "" {
			n.costEqual++
		}
		if x.Status >= 400 && reading.Failure == "" {
			t.Errorf("%s: no failure from %d", x.ID, x.Status)
		}
		if x.Status < 400 && !reading.Terminal && reading.Failure == "" {
			t.Errorf("%s (%s %s): not terminal", x.ID, x.Provider, x.Path)
		}
		if reading.Partial {
			t.Errorf("%s (%s): partial", x.ID, x.Provider)
		}
		if want != nil && want.out-want.reasoning > 100 && reading.OutputBytes == 0 && x.API != "openai.images" && x.Op != "openai.assistants.run" {
			t.Errorf("%s (%s): %d output tokens and no text", x.ID, x.Provider, want.out)
		}
	})
	var keys []string
	for key := range tallies {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		n := tallies[key]
		t.Logf("%s: %d exchanges, usage equal in %d of %d, cost in %d of %d", key, n.exchanges, n.equal, n.withUsage, n.costEqual, n.withCost)
	}
}

// TestCorpusCut cuts every recorded body before its end: what is left is never
// taken for whole, and never tells more than the whole or less than was seen.
func TestCorpusCut(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	cuts := 0
	each(t, func(x *call) {
		body := bytes.TrimRight(x.response, " \r\n")
		if x.Status >= 400 || len(body) == 0 {
			return
		}
		first := bytes.TrimSpace(body)[0]
		sse := first != '{' && first != '['
		terminal := len(body) - 1
		if i := bytes.LastIndex(body, []byte("data: [DONE]")); i >= 0 && sse {
			terminal = i + len("data: [DONE]") // the line may be there, its end and the blank line are not
		} else if sse {
			terminal++
		}
		_, full := feed(x.reader(), x.response, nil, true)
		for range 5 {
			n := random.IntN(terminal + 1)
			for _, end := range []bool{true, false} {
				out, cut := feed(x.reader(), body[:n], random, end)
				cuts++
				if !bytes.Equal(out, body[:n]) {
					t.Errorf("%s cut at %d: forwarded other bytes", x.ID, n)
				}
				if cut.Terminal {
					t.Errorf("%s (%s %s) cut at %d of %d: terminal", x.ID, x.Provider, x.API, n, len(body))
				}
				if sse && cut.OutputBytes > full.OutputBytes || cut.OutputBytes > int64(n) {
					t.Errorf("%s cut at %d: %d output bytes, whole %d", x.ID, n, cut.OutputBytes, full.OutputBytes)
				}
				if cut.Usage != nil && (full.Usage == nil || cut.Usage.OutputTokens() > full.Usage.OutputTokens() || cut.Usage.InputTokens() > full.Usage.InputTokens()) {
					t.Errorf("%s cut at %d: usage %v", x.ID, n, cut.Usage)
				}
				if seen := lastUsage(body[:n]); sse && seen > 0 && (cut.Usage == nil || cut.Usage.InputTokens() < seen) {
					t.Errorf("%s cut at %d: usage %v, and an event told %d input tokens", x.ID, n, cut.Usage, seen)
				}
			}
		}
	})
	t.Logf("%d cuts", cuts)
}

// TestCorpusRewrite changes every recorded request and reads it back.
func TestCorpusRewrite(t *testing.T) {
	t.Parallel()
	edit := wire.Edit{Model: "gpt-other", MaxOutputTokens: 17, ForceUsage: true}
	each(t, func(x *call) {
		if len(x.request) == 0 || x.asked.Marks == nil {
			return
		}
		body := x.request
		path, changed := x.codec.Rewrite(x.asked, x.Path, body, edit)
		again, err := x.codec.ReadRequest(path, changed)
		if err != nil {
			t.Errorf("%s: %v", x.ID, err)
			return
		}
		if again.Model != edit.Model || again.MaxOutputTokens > 17 {
			t.Errorf("%s: model %s, at most %d tokens", x.ID, again.Model, again.MaxOutputTokens)
		}
		if generates := x.codec.API() == wire.OpenAIChat || x.API == "openai.responses" && x.Op == "generate" || x.codec.API() == wire.OpenAICompletions; generates && again.MaxOutputTokens < 1 {
			t.Errorf("%s: no limit on the output", x.ID)
		}
		if again.API == wire.OpenAIChat && !tellsUnasked[x.Provider] && again.WantsUsage != (x.asked.WantsUsage || x.asked.Stream) {
			t.Errorf("%s: wants usage: %v", x.ID, again.WantsUsage)
		}
		same := cmp.Equal(again.Prompt, x.asked.Prompt, cmpopts.IgnoreUnexported(tokens.Prompt{}))
		if !same || again.Stream != x.asked.Stream || again.Choices != x.asked.Choices {
			t.Errorf("%s: changed more than was asked for", x.ID)
		}
		if same, unchanged := x.codec.Rewrite(x.asked, x.Path, body, wire.Edit{}); same != x.Path || &unchanged[0] != &body[0] {
			t.Errorf("%s: an empty edit changes", x.ID)
		}
	})
}
