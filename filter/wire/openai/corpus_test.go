package openai

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keel/filter/wire"
)

// exchange is one recorded call; see README.md of the corpus.
type exchange struct {
	ID             string            `json:"id"`
	Provider       string            `json:"provider"`
	API            wire.API          `json:"api"`
	Op             string            `json:"op"`
	Method         string            `json:"method"`
	Path           string            `json:"path"`
	RequestBody    *string           `json:"request_body"`
	Status         int               `json:"status"`
	ResponseHeader map[string]string `json:"response_headers"`
	ResponseBody   *string           `json:"response_body"`
	Synthetic      bool              `json:"suspect_synthetic"`
	Framing        string            `json:"framing"`
	DoneMarker     bool              `json:"done_marker"`
	Stream         bool              `json:"stream"`
	Usage          json.RawMessage   `json:"usage_expected"`
}

// corpus returns every recorded generation call of the two APIs.
func corpus(t *testing.T) []exchange {
	t.Helper()
	root, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(root, "go.mod")); statErr == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Fatal("no go.mod above the test")
		}
		root = filepath.Dir(root)
	}
	files, _ := filepath.Glob(filepath.Join(root, "..", "shared", "corpus", "*.jsonl.gz"))
	if len(files) == 0 {
		t.Skip("no recorded traffic in ../shared/corpus")
	}
	var all []exchange
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			if !bytes.Contains(lines.Bytes(), []byte(`"openai.`)) {
				continue
			}
			var x exchange
			if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
				t.Fatal(err)
			}
			if (x.API == wire.OpenAIChat || x.API == wire.OpenAIResponses) && x.Op == "generate" && !x.Synthetic && x.RequestBody != nil && x.ResponseBody != nil {
				all = append(all, x)
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return all
}

func (x *exchange) header() http.Header {
	h := http.Header{}
	for k, v := range x.ResponseHeader {
		h.Set(k, v)
	}
	return h
}

// read matches and reads the recorded request; ok is false for the one known
// exception.
func (x *exchange) read(t *testing.T) (codec wire.Codec, r *wire.Request, ok bool) {
	t.Helper()
	codec, ok = Match(x.Method, x.Path)
	if !ok {
		if x.Provider != "portkey" { // its stored prompts have a path of their own
			t.Errorf("%s (%s): no codec for %s %s", x.ID, x.Provider, x.Method, x.Path)
		}
		return nil, nil, false
	}
	if codec.API() != x.API {
		t.Errorf("%s: codec %s for %s", x.ID, codec.API(), x.API)
	}
	r, err := codec.ReadRequest(x.Path, []byte(*x.RequestBody))
	if err != nil {
		t.Errorf("%s (%s, status %d): %v", x.ID, x.Provider, x.Status, err)
	}
	return codec, r, err == nil
}

type totals struct{ in, out, cached, reasoning int64 }

// expected is the plain reading of a recorded usage object, written down apart
// from normalise and knowing who answered, which normalise does not.
func (x *exchange) expected(t *testing.T) *totals {
	t.Helper()
	if len(x.Usage) == 0 || string(x.Usage) == "null" {
		return nil
	}
	var u struct {
		Prompt     *int64 `json:"prompt_tokens"`
		Input      *int64 `json:"input_tokens"`
		Completion *int64 `json:"completion_tokens"`
		Output     *int64 `json:"output_tokens"`
		Total      int64  `json:"total_tokens"`
		Hit        int64  `json:"prompt_cache_hit_tokens"`
		Cached     int64  `json:"cached_tokens"`
		PD, ID     *struct {
			Cached int64 `json:"cached_tokens"`
		}
		CD, OD *struct {
			Reasoning int64 `json:"reasoning_tokens"`
		}
	}
	renamed := strings.NewReplacer(`"prompt_tokens_details"`, `"PD"`, `"input_tokens_details"`, `"ID"`,
		`"completion_tokens_details"`, `"CD"`, `"output_tokens_details"`, `"OD"`).Replace(string(x.Usage))
	if err := json.Unmarshal([]byte(renamed), &u); err != nil {
		t.Fatalf("%s: %v", x.ID, err)
	}
	var e totals
	for _, p := range []*int64{u.Prompt, u.Input} {
		if p != nil {
			e.in = *p
		}
	}
	for _, p := range []*int64{u.Completion, u.Output} {
		if p != nil {
			e.out = *p
		}
	}
	e.cached = max(u.Hit, u.Cached)
	if u.PD != nil {
		e.cached = max(e.cached, u.PD.Cached)
	}
	if u.ID != nil {
		e.cached = u.ID.Cached
	}
	e.cached = min(e.cached, e.in)
	if u.CD != nil {
		e.reasoning = u.CD.Reasoning
	}
	if u.OD != nil {
		e.reasoning = u.OD.Reasoning
	}
	switch {
	case x.Provider == "xai" && x.API == wire.OpenAIChat, x.Provider == "vercel-gateway":
		e.out += e.reasoning
	case x.Provider == "google":
		e.out = u.Total - e.in
	}
	e.reasoning = min(e.reasoning, e.out)
	return &e
}

func totalsOf(reading wire.Reading) *totals {
	u := reading.Usage
	if u == nil {
		return nil
	}
	return &totals{u.InputTokens(), u.OutputTokens(), u.CachedInputTokens(), u.ReasoningTokens()}
}

func show(t *totals) string {
	if t == nil {
		return "none"
	}
	return fmt.Sprintf("%+v", *t)
}

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

func TestCorpus(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	count := map[string]int{}
	for _, x := range corpus(t) {
		codec, r, ok := x.read(t)
		if !ok {
			continue
		}
		body, want := []byte(*x.ResponseBody), x.expected(t)
		whole, reading := feed(codec.NewReader(r, x.Status, x.header()), body, nil, true)
		cut, again := feed(codec.NewReader(r, x.Status, x.header()), body, random, true)
		if !bytes.Equal(whole, body) || !bytes.Equal(cut, body) {
			t.Errorf("%s: what was forwarded is not what came", x.ID)
		}
		if got := totalsOf(reading); show(got) != show(want) {
			t.Errorf("%s (%s, %s): usage %s, want %s", x.ID, x.Provider, x.API, show(got), show(want))
		}
		if a, b := describe(reading), describe(again); a != b {
			t.Errorf("%s: cut in pieces it reads\n%s\nwhole\n%s", x.ID, b, a)
		}
		if x.Status >= 400 && reading.Failure == "" {
			t.Errorf("%s: no failure from %d", x.ID, x.Status)
		}
		if x.Status < 400 && !reading.Terminal && reading.Failure == "" {
			t.Errorf("%s (%s): not terminal", x.ID, x.Provider)
		}
		if reading.Partial {
			t.Errorf("%s (%s): partial", x.ID, x.Provider)
		}
		if want != nil && want.out-want.reasoning > 100 && reading.OutputBytes == 0 {
			t.Errorf("%s (%s): %d output tokens and no text", x.ID, x.Provider, want.out)
		}
		count[x.Provider+" "+string(x.API)]++
	}
	t.Logf("%v", count)
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

// TestCorpusRewrite changes every recorded request and reads it back.
func TestCorpusRewrite(t *testing.T) {
	t.Parallel()
	edit := wire.Edit{Model: "gpt-other", MaxOutputTokens: 17, ForceUsage: true}
	for _, x := range corpus(t) {
		codec, r, ok := x.read(t)
		if !ok {
			continue
		}
		body := []byte(*x.RequestBody)
		path, changed := codec.Rewrite(r, x.Path, body, edit)
		again, err := codec.ReadRequest(path, changed)
		if err != nil {
			t.Errorf("%s: %v", x.ID, err)
			continue
		}
		if again.Model != edit.Model || again.MaxOutputTokens < 1 || again.MaxOutputTokens > 17 {
			t.Errorf("%s: model %s, at most %d tokens", x.ID, again.Model, again.MaxOutputTokens)
		}
		if again.API == wire.OpenAIChat && again.WantsUsage != (r.WantsUsage || r.Stream) {
			t.Errorf("%s: wants usage: %v", x.ID, again.WantsUsage)
		}
		if again.Prompt != r.Prompt || again.Stream != r.Stream || again.Choices != r.Choices {
			t.Errorf("%s: changed more than was asked for", x.ID)
		}
		if same, unchanged := codec.Rewrite(r, x.Path, body, wire.Edit{}); same != x.Path || &unchanged[0] != &body[0] {
			t.Errorf("%s: an empty edit changes", x.ID)
		}
	}
}
