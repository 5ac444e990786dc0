package tokens

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func text(s string) *Prompt {
	return &Prompt{Messages: 1, Segments: []Segment{{Class: Text, JSON: []byte(s), Plain: true}}}
}

// TestLearn: a provider that counts half as much again moves what is expected once
// enough was seen and published, leaves bounds alone, and is named.
func TestLearn(t *testing.T) {
	t.Parallel()
	e := New()
	p := text(strings.Repeat("what a nice day it is. ", 40))
	ask := func() Input { return e.Input("anthropic", "claude-sonnet-4-5", p) }
	first := ask()
	if first.Method != version || first.Expected != first.Uncorrected || first.Bound != first.Shipped {
		t.Fatalf("%+v before anything was learned", first)
	}
	actual := first.Uncorrected * 11 / 10
	for range leastInputs - 1 {
		e.Learn(ask(), actual)
	}
	if _, _ = e.Snapshot(); ask().Expected != first.Expected {
		t.Errorf("%d observations changed an estimate", leastInputs-1)
	}
	e.Learn(ask(), actual)
	if ask().Expected != first.Expected {
		t.Error("an estimate changed between snapshots")
	}
	v, data := e.Snapshot()
	got := ask()
	if got.Expected < actual || got.Expected > actual+1 || got.Bound != first.Bound || got.Method != version+"+"+v {
		t.Errorf("%+v, want about %d below the bound %d, by %s", got, actual, first.Bound, v)
	}
	// Learning starts from the uncorrected number, so that it does not chase itself.
	for range 3 * keptInputs {
		e.Learn(ask(), actual)
		e.Snapshot()
	}
	if again := ask(); again.Expected != got.Expected {
		t.Errorf("the same observations moved %d to %d", got.Expected, again.Expected)
	}
	for _, other := range []Input{e.Input("bedrock", "claude-sonnet-4-5", p), e.Input("anthropic", "claude-opus-4-8", p)} {
		if other.Method != version {
			t.Errorf("%+v was corrected by another provider or family", other.Key)
		}
	}

	loaded := New()
	if err := loaded.Load(data); err != nil {
		t.Fatal(err)
	}
	if same := loaded.Input("anthropic", "claude-sonnet-4-5", p); same != got {
		t.Errorf("loaded %+v, want %+v", same, got)
	}
	if v2, data2 := loaded.Snapshot(); v2 != v || !bytes.Equal(data, data2) {
		t.Errorf("version %s of a loaded calibration, want %s", v2, v)
	}
}

// TestLearnBound: an actual above a calibrated bound raises it, and a provable one
// stays.
func TestLearnBound(t *testing.T) {
	t.Parallel()
	e := New()
	for _, test := range []struct {
		provider, model string
		raised          bool
	}{{"anthropic", "claude-sonnet-4-5", true}, {"openai", "gpt-4o", false}} {
		p := text("hello there")
		before := e.Input(test.provider, test.model, p)
		e.Learn(before, 2*before.Bound)
		e.Snapshot()
		after := e.Input(test.provider, test.model, p)
		if raised := after.Bound >= 2*before.Bound; raised != test.raised || after.Bound < before.Bound || after.Shipped != before.Bound {
			t.Errorf("%s: bound %d became %d", test.model, before.Bound, after.Bound)
		}
	}
}

func TestLearnOutput(t *testing.T) {
	t.Parallel()
	e := New()
	p := text("hello")
	ask := func(stated, choices int64) Output { return e.Output("openai", "gpt-4o", p, stated, choices) }
	shippedP99 := ask(0, 1).P99
	for i := range int64(5 * leastOutputs) {
		e.LearnOutput(ask(0, 2), 2*(1000+i))
	}
	v, _ := e.Snapshot()
	out := ask(0, 1)
	if out.P50 != 1049 || out.P90 != 1089 || out.P99 != max(shippedP99, out.P90) || out.Expected != 1049 || out.Method != version+"+"+v {
		t.Errorf("%+v after a hundred answers from 1000 to 1099", out)
	}
	if out := ask(30, 2); out.P50 != 60 || out.P99 != 60 || out.Bound != 60 || out.Expected != 60 || out.Kind != Provable {
		t.Errorf("%+v with a limit of 30 and 2 choices", out)
	}
}

func TestLearnNothing(t *testing.T) {
	t.Parallel()
	e := New()
	e.Learn(Input{}, 5)
	e.Learn(Input{Uncorrected: 5}, 0)
	e.LearnOutput(Output{}, 5)
	e.LearnOutput(Output{Choices: 1}, -1)
	if v, data := e.Snapshot(); v != "" || string(data) != `{"format":1,"lessons":[]}` {
		t.Errorf("version %q of %s", v, data)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	e := New()
	for want, data := range map[string]string{
		"unexpected end":  ``,
		"format 2":        `{"format":2}`,
		"lesson 0":        `{"format":1,"lessons":[null]}`,
		"there twice":     `{"format":1,"lessons":[{"provider":"a"},{"provider":"a"}]}`,
		"negative":        `{"format":1,"lessons":[{"provider":"a","ratios":[-1]}]}`,
		"more observatio": `{"format":1,"lessons":[{"provider":"a","ratios":[` + strings.Repeat("1,", keptInputs) + `1]}]}`,
	} {
		if err := e.Load([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", data, err, want)
		}
	}
	if v, _ := e.Snapshot(); v != "" {
		t.Error("a refused calibration left something behind")
	}
}

// TestLearnBounded: however many keys come by, what is kept stays small.
func TestLearnBounded(t *testing.T) {
	t.Parallel()
	e := New()
	for i := range int64(3 * maxKeys) {
		e.Learn(Input{Key: Key{Provider: strings.Repeat("x", int(i%2000))}, Uncorrected: 1}, i+1)
	}
	if n := len(e.lessons.keys); n > maxKeys {
		t.Errorf("%d keys", n)
	}
}

func TestLearnConcurrently(t *testing.T) {
	t.Parallel()
	e := New()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			p := text("hello there, how are you?")
			for range 200 {
				in := e.Input("anthropic", "claude-sonnet-4-5", p)
				e.Learn(in, in.Uncorrected+1)
				e.LearnOutput(e.Output("anthropic", "claude-sonnet-4-5", p, 0, 1), 10)
				e.Snapshot()
			}
		})
	}
	all.Wait()
}

// TestCorrectionsStaySane: whatever was observed, what is expected stays within its
// bound and half to double, and bounds are not lowered.
func TestCorrectionsStaySane(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := New()
		p := text(strings.Repeat("word ", rapid.IntRange(1, 300).Draw(t, "words")))
		model := rapid.SampledFrom([]string{"claude-sonnet-4-5", "gpt-4o", "mystery"}).Draw(t, "model")
		provider := rapid.SampledFrom([]string{"anthropic", "openai"}).Draw(t, "provider")
		before := e.Input(provider, model, p)
		for _, actual := range rapid.SliceOfN(rapid.Int64(), leastInputs, 40).Draw(t, "actual") {
			e.Learn(before, actual)
			e.LearnOutput(e.Output(provider, model, p, 0, 1), actual)
		}
		e.Snapshot()
		in, out := e.Input(provider, model, p), e.Output(provider, model, p, 0, 1)
		if in.Expected > in.Bound || in.Bound < before.Bound || in.Expected < before.Expected/2 || in.Expected > 2*before.Expected+1 {
			t.Fatalf("%+v became %+v", before, in)
		}
		if out.P50 > out.P90 || out.P90 > out.P99 || out.P99 > out.Bound || out.Expected > out.Bound || out.P50 < 0 {
			t.Fatalf("%+v", out)
		}
	})
}
