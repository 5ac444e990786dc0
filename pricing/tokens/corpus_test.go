package tokens_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/anthropic"
	"keel/filter/wire/bedrock"
	"keel/filter/wire/cohere"
	"keel/filter/wire/gemini"
	"keel/filter/wire/huggingface"
	"keel/filter/wire/mistral"
	"keel/filter/wire/ollama"
	"keel/filter/wire/openai"
	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/watsonx"
	"keel/pricing/tokens"
)

var (
	refit  = flag.Bool("fit", false, "print figures fitted to the recorded traffic")
	update = flag.Bool("update", false, "write what docs/accuracy.md says of held out requests anew")
)

// samples are the recorded requests whose provider told what it counted, each text of a
// model once.
func samples(t testing.TB) []*tokens.Sample {
	t.Helper()
	var all []*tokens.Sample
	seen := map[string]bool{}
	corpus.Each(t, func(x *recording.Exchange) {
		actual, ok := counted(x.UsageExpected)
		if !ok || actual <= 0 || x.Status != 200 || x.Op != "generate" {
			return
		}
		codec, ok := match(x)
		if !ok {
			return
		}
		body, err := x.Request()
		if err != nil {
			return
		}
		key := x.Provider + " " + x.ModelRequested + " " + string(body)
		request, err := codec.ReadRequest(x.Path, body)
		if err != nil || seen[key] || request.Model == "" || request.Prompt.Task != tokens.Generate {
			return
		}
		seen[key] = true
		all = append(all, &tokens.Sample{ID: x.ID, Source: x.SourceRepo, Provider: x.Provider, Model: request.Model, Prompt: &request.Prompt, Actual: actual})
	})
	return all
}

// match finds the codec of an exchange.
func match(x *recording.Exchange) (wire.Codec, bool) {
	for _, match := range []func(provider, method, path string) (wire.Codec, bool){
		openai.Match, anthropic.Match, gemini.Match, bedrock.Match, cohere.Match, mistral.Match, ollama.Match, watsonx.Match, huggingface.Match,
	} {
		if codec, ok := match(x.Provider, x.Method, x.Path); ok {
			return codec, true
		}
	}
	return nil, false
}

// counted is everything that came in, as the provider's own usage object says it.
func counted(usage json.RawMessage) (int64, bool) {
	var u map[string]any
	if json.Unmarshal(usage, &u) != nil {
		return 0, false
	}
	if inner, ok := u["tokens"].(map[string]any); ok { // Cohere's count, beside what it bills
		u = inner
	}
	sum := func(names ...string) (n int64, ok bool) {
		for _, name := range names {
			if v, isNumber := u[name].(float64); isNumber {
				n, ok = n+int64(v), true
			}
		}
		return n, ok
	}
	if n, ok := sum("promptTokenCount"); ok {
		tools, _ := sum("toolUsePromptTokenCount")
		return n + tools, true
	}
	if n, ok := sum("inputTokens"); ok { // Bedrock
		cached, _ := sum("cacheReadInputTokens", "cacheWriteInputTokens")
		return n + cached, true
	}
	if n, ok := sum("prompt_tokens"); ok {
		return n, true
	}
	return sum("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
}

// TestAccuracy holds estimates and bounds against the accuracy that Keel promises: those of the shipped
// figures, and those of figures that were fitted without what they estimate, because what is promised is promised for
// requests that nobody has seen.
func TestAccuracy(t *testing.T) {
	all := samples(t)
	if *refit {
		tokens.FitAll(os.Stdout, all)
	}
	for _, wrong := range tokens.Scarce(all) {
		t.Errorf("figures of %s", wrong)
	}
	estimator := tokens.New()
	estimates := make([]tokens.Input, len(all))
	for i, s := range all {
		estimates[i] = estimator.Input(s.Provider, s.Model, s.Prompt)
		if in := estimates[i]; in.Expected > in.Bound || in.Expected < 0 {
			t.Errorf("%s %s: expected %d, bound %d", s.ID, s.Model, in.Expected, in.Bound)
		}
	}
	splits := []tokens.Split{{Name: "shipped", Estimates: estimates}}
	if !testing.Short() { // the fits take twenty seconds
		splits = append(splits,
			tokens.Split{Name: "held out by text", Estimates: tokens.HeldOut(all, tokens.ByText)},
			tokens.Split{Name: "held out by source", Estimates: tokens.HeldOut(all, tokens.BySource)})
	}
	for _, split := range splits {
		t.Log(split.Name)
		check(t, tokens.Report(t.Output(), all, split.Estimates))
	}
	if testing.Short() {
		return
	}
	got := tokens.Table(all, splits)
	if *update {
		if err := os.WriteFile(heldOut, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(heldOut); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s does not say these figures (%v): run make accuracy and read what changed", heldOut, err)
	}
}

// heldOut is a part of docs/accuracy.md.
const heldOut = "testdata/heldout.md"

// limits are percent of absolute error, 0 for no limit.
type limits struct{ median, p90 float64 }

// promised is the accuracy that Keel promises for recordings that it has not seen.
var promised = map[string]limits{
	"openai    text": {0.5, 6}, "anthropic text": {4, 30}, "gemini    text": {5, 18}, "all       text": {3, 35},
	"openai    tools": {6, 0}, "anthropic tools": {12, 0}, "gemini    tools": {20, 0}, "all       tools": {11, 0},
	"openai    images": {10, 0}, "anthropic images": {10, 0}, "gemini    images": {10, 0},
}

func check(t *testing.T, rows map[string]*tokens.Row) {
	t.Helper()
	for key, limit := range promised {
		r := rows[key]
		if r == nil || r.N < 10 {
			t.Errorf("%s: too few recordings to say anything: %v", key, r)
			continue
		}
		if median, p90 := r.Error(500), r.Error(900); median > limit.median || limit.p90 > 0 && p90 > limit.p90 {
			t.Errorf("%s: %v; at most %v is promised", key, r, limit)
		}
	}
	both := tokens.Bounded(rows)
	t.Logf("text and tools: %v", both)
	if ratio := both.Ratio(); ratio > 1.35 {
		t.Errorf("bound by actual is %.2f at the median of 500 tokens and more: at most 1.35 is promised", ratio)
	}
	if both.Claimed*100 < both.N*95 {
		t.Errorf("a bound is claimed for %d of %d text and tool requests: 95 %% must have one", both.Claimed, both.N)
	}
	if both.Held*1000 < both.Claimed*995 {
		t.Errorf("%d of %d claimed bounds held: 995 in a thousand must", both.Held, both.Claimed)
	}
}
