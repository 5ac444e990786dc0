package tokens

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFamilies(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{
		"gpt-4o-2024-08-06": "gpt-4o", "gpt-4o-mini": "gpt-4o-mini", "openai/gpt-4.1-mini": "gpt-4.1-mini", "gpt-4.1-2025-04-14": "gpt-4.1",
		"gpt-4-0613": "gpt-4", "gpt-4-turbo-2024-04-09": "gpt-4-turbo", "gpt-5.2": "gpt-5", "o3-mini": "o-series", "openai/o1": "o-series",
		"turbo1": "", "gpt-oss-120b": "gpt-oss", "GPT-4O": "gpt-4o", "text-embedding-3-small": "embedding",
		"claude-3-5-haiku-20241022": "claude-3.5-haiku", "us.anthropic.claude-sonnet-4-5-20250929-v1:0": "claude-sonnet-4.5",
		"claude-opus-4-20250514": "claude-opus-4", "claude-opus-4-8": "claude-opus-4.8", "claude-sonnet-5": "claude-new", "anthropic/claude-haiku-4.5": "claude-haiku-4.5",
		"models/gemini-2.5-flash": "gemini-2.5", "gemini-2.0-flash-001": "gemini-2.0", "gemini-3-pro-preview": "gemini-3", "grok-4-fast": "grok-4-fast", "mystery": "", "": "",
	} {
		if got := familyOf("openai", model).name; got != want {
			t.Errorf("%s is of family %q, want %q", model, got, want)
		}
	}
	if got := familyOf("vertex", "gemini-2.5-flash").name; got != "gemini-2.5-vertex" {
		t.Errorf("gemini on vertex is of family %q", got)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	with := func(change func(*Prompt)) *Prompt {
		p := text(strings.Repeat("hello ", 20))
		if change != nil {
			change(p)
		}
		return p
	}
	tool := Segment{Class: ToolSchema, JSON: []byte(`{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"}}}}}`)}
	for _, test := range []struct {
		name, provider, model string
		change                func(*Prompt)
		want                  BoundKind
		class                 RequestClass
	}{
		{"published tokenizer", "openai", "gpt-4o", nil, Provable, ClassText},
		{"by way of a gateway", "openrouter", "openai/gpt-4o", nil, Calibrated, ClassText},
		{"framing not published", "openai", "gpt-5", nil, Calibrated, ClassText},
		{"token ids", "openai", "text-embedding-3-small", func(p *Prompt) { p.Segments, p.TokenIDs, p.Task = nil, 50, Embed }, Provable, ClassTask},
		{"claude", "anthropic", "claude-sonnet-4-5", nil, Calibrated, ClassText},
		{"tools", "openai", "gpt-4o", func(p *Prompt) { p.Tools, p.Segments = 1, append(p.Segments, tool) }, Calibrated, ClassTools},
		{"schema", "openai", "gpt-4o", func(p *Prompt) {
			p.Segments = append(p.Segments, Segment{Class: Schema, JSON: []byte(`{"type":"object"}`)})
		}, Calibrated, ClassSchema},
		{"signature", "openai", "gpt-4o", func(p *Prompt) { p.Segments = append(p.Segments, Segment{Class: Hidden, JSON: []byte(`"abcd"`)}) }, Calibrated, ClassText},
		{"image", "openai", "gpt-4o-mini", func(p *Prompt) { p.Images = []Image{{}} }, Calibrated, ClassImages},
		{"image without a rule", "deepseek", "deepseek-chat", func(p *Prompt) { p.Images = []Image{{}} }, None, ClassImages},
		{"document", "anthropic", "claude-sonnet-4-5", func(p *Prompt) { p.Media = []Media{{}} }, None, ClassMedia},
		{"hosted", "openai", "gpt-4o", func(p *Prompt) { p.Hosted = "file_search" }, None, ClassHosted},
		{"unknown model", "openai", "mystery", nil, None, ClassText},
		{"past the window", "openai", "gpt-4", func(p *Prompt) { p.TokenIDs = 1 << 40 }, Calibrated, ClassText},
	} {
		in := New().Input(test.provider, test.model, with(test.change))
		if in.Kind != test.want || in.Key.Class != test.class || in.Method != version || in.Expected > in.Bound || in.Expected <= 0 {
			t.Errorf("%s: %+v, want %s, %s", test.name, in, test.want, test.class)
		}
		if in.Kind == None && in.Bound < 128_000 {
			t.Errorf("%s: bound %d says something though nothing is known", test.name, in.Bound)
		}
	}
}

// TestFraming: what surrounds the text, by maker. Text of one token leaves it alone.
func TestFraming(t *testing.T) {
	t.Parallel()
	empty := func(messages int64, system bool) *Prompt { return &Prompt{Messages: messages, System: system} }
	for _, test := range []struct {
		provider, model string
		prompt          *Prompt
		want            int64
	}{
		{"openai", "gpt-4o", empty(1, false), 7}, {"openai", "gpt-4o", empty(3, true), 15}, {"openai", "gpt-5", empty(1, false), 6},
		{"anthropic", "claude-sonnet-4-5", empty(1, false), 7}, {"anthropic", "claude-sonnet-4-5", empty(2, true), 7},
		{"anthropic", "claude-sonnet-4-5", &Prompt{Messages: 1, Thinking: true}, 36},
		{"google", "gemini-2.5-flash", empty(1, false), 1}, {"vertex", "gemini-2.5-flash", empty(1, false), 0}, {"xai", "grok-4.3", empty(1, false), 192}, {"cohere", "command-a-03-2025", empty(1, false), 497},
		{"openai", "gpt-4o", &Prompt{Task: Embed, TokenIDs: 5}, 5},
	} {
		if got := New().Input(test.provider, test.model, test.prompt).Expected; got != test.want {
			t.Errorf("%s, %d messages: %d, want %d", test.model, test.prompt.Messages, got, test.want)
		}
	}
}

// TestUnseenTemplates: bounds have room for what free hosts put in front, and for the templates of families that few
// recordings tell of.
func TestUnseenTemplates(t *testing.T) {
	t.Parallel()
	p := &Prompt{Messages: 1, Tools: 1}
	for _, test := range []struct {
		model  string
		prompt *Prompt
		room   bool
	}{
		{"meta-llama/llama-3.3-70b-instruct", &Prompt{Messages: 1}, false}, {"meta-llama/llama-3.3-70b-instruct:free", &Prompt{Messages: 1}, true},
		{"google/gemini-2.0-flash-exp:free", &Prompt{Messages: 1}, true}, {"meta-llama/llama-3.3-70b-instruct", p, true},
		{"anthropic/claude-sonnet-4.5", p, false}, {"anthropic/claude-opus-4.8", p, true}, {"qwen/qwen3-32b", &Prompt{Messages: 1}, true},
	} {
		in := New().Input("openrouter", test.model, test.prompt)
		if room := in.Bound-in.Expected >= unseenTemplate; room != test.room || in.Kind != Calibrated {
			t.Errorf("%s: %+v, room %v", test.model, in, room)
		}
	}
}

// TestCountedOnce: several targets of one vocabulary share a count, also after Release.
func TestCountedOnce(t *testing.T) {
	t.Parallel()
	p := text("hello there")
	before := New().Input("openai", "gpt-4o", p)
	p.Release()
	if after := New().Input("openai", "gpt-4o", p); after != before {
		t.Errorf("%+v became %+v", before, after)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		provider, model string
		task            Task
		stated, choices int64
		bound           int64
		kind            BoundKind
	}{
		{"openai", "gpt-4o", Generate, 100, 1, 100, Provable},
		{"openai", "gpt-4o", Generate, 25, 2 * 2, 100, Provable},    // n=2 of two prompts
		{"xai", "grok-4-fast", Generate, 5000, 1, 5000, Calibrated}, // reasoning is outside completion_tokens there
		{"openai", "gpt-4o", Generate, 0, 1, 16_384, Calibrated},
		{"openai", "gpt-5", Generate, 0, 0, 128_000, Calibrated},
		{"google", "gemini-2.5-flash", Generate, 0, 1, 65_536, Calibrated},
		{"anthropic", "claude-opus-4-1", Generate, 0, 1, 32_000, Calibrated},
		{"cohere", "command-r", Generate, 0, 1, 256_000, None},
		{"nobody", "mystery", Generate, 0, 1, unknownWindow, None},
		{"openai", "text-embedding-3-small", Embed, 0, 1, 0, Provable},
		{"openai", "text-embedding-3-small", Generate, 0, 1, 0, Provable},
		{"cohere", "rerank-v3.5", Rerank, 0, 1, 0, Provable},
		{"anthropic", "claude-sonnet-4-5", Count, 0, 1, 0, Provable},
		{"openai", "omni-moderation-latest", Moderate, 0, 1, 0, Provable},
		{"openai", "gpt-4o", Generate, math.MaxInt64, math.MaxInt64, math.MaxInt64, Provable},
	} {
		out := New().Output(test.provider, test.model, &Prompt{Task: test.task}, test.stated, test.choices)
		if out.Bound != test.bound || out.Kind != test.kind || out.Expected > out.Bound || out.P50 > out.P90 || out.P90 > out.P99 || out.P99 > out.Bound {
			t.Errorf("%s/%s, %d × %d: %+v, want %d %s", test.provider, test.model, test.stated, test.choices, out, test.bound, test.kind)
		}
	}
}

// TestBoundsGrow: a larger prompt never has a smaller bound, sizes of any kind
// are survived, and expected never exceeds bound.
func TestBoundsGrow(t *testing.T) {
	t.Parallel()
	e := New()
	rapid.Check(t, func(t *rapid.T) {
		model := models[rapid.IntRange(0, len(models)-1).Draw(t, "model")].word
		provider := rapid.SampledFrom([]string{"openai", "azure", "vertex", "openrouter"}).Draw(t, "provider")
		sizes := rapid.OneOf(rapid.Int64Range(0, 5000), rapid.Int64())
		p := &Prompt{Messages: sizes.Draw(t, "messages"), Tools: rapid.Int64Range(0, 3).Draw(t, "tools"), TokenIDs: sizes.Draw(t, "ids"),
			Thinking: rapid.Bool().Draw(t, "thinking"), ToolChoice: rapid.Bool().Draw(t, "choice"), Citations: sizes.Draw(t, "citations")}
		segment := func() Segment {
			class := Class(rapid.IntRange(0, NumClasses-1).Draw(t, "class"))
			word := rapid.SampledFrom([]string{"what a day ", "中文", "\x00", "\x00\x01", "x1y2z3 "}).Draw(t, "word")
			s := Segment{Class: class, JSON: []byte(strings.Repeat(word, rapid.IntRange(0, 400).Draw(t, "length"))), Plain: true}
			if class == ToolSchema {
				s = Segment{Class: class, JSON: fmt.Appendf(nil, `{"function":{"name":"f","description":%q}}`, s.JSON)}
			}
			return s
		}
		for range rapid.IntRange(0, 6).Draw(t, "segments") {
			p.Segments = append(p.Segments, segment())
		}
		in := e.Input(provider, model, p)
		if in.Expected < 0 || in.Bound < in.Expected {
			t.Fatalf("%+v", in)
		}
		larger := *p
		larger.counts = [numVocabularies]*measured{}
		larger.Segments = append(larger.Segments[:len(p.Segments):len(p.Segments)], segment())
		larger.TokenIDs = add(p.TokenIDs, 3)
		larger.Messages = add(p.Messages, 1)
		larger.Images = []Image{{Width: sizes.Draw(t, "width"), Height: sizes.Draw(t, "height")}}
		if more := e.Input(provider, model, &larger); more.Bound < in.Bound && more.Key.Class == in.Key.Class {
			t.Fatalf("%s: bound %d of %+v, only %d of %+v", model, in.Bound, p, more.Bound, larger)
		}
	})
}

func TestScale(t *testing.T) {
	t.Parallel()
	for _, test := range [][4]int64{
		{0, 5, 10, 0}, {1, 1, 10, 1}, {7, 1000, 1000, 7}, {math.MaxInt64, 1, 1, math.MaxInt64}, {math.MaxInt64, math.MaxInt64, 1, math.MaxInt64},
		{math.MaxInt64, 2, 4, math.MaxInt64/2 + 1}, {-5, 3, 2, 0}, {5, -3, 2, 0},
	} {
		if got := scale(test[0], test[1], test[2]); got != test[3] {
			t.Errorf("%d × %d / %d: %d, want %d", test[0], test[1], test[2], got, test[3])
		}
	}
}

func TestToolMemo(t *testing.T) {
	t.Parallel()
	var m toolMemo
	if _, ok := m.get(5); ok {
		t.Error("an empty table knows 5")
	}
	want := toolCount{3, 1 << 23, 7, true}
	m.put(5, want)
	if got, ok := m.get(5); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := m.get(5 + uint64(len(m))); ok {
		t.Error("another key of the same slot is taken for 5")
	}
	m.put(5, toolCount{rendered: 1 << 40})
	if got, ok := m.get(5); !ok || got != want {
		t.Errorf("a count too large for the table replaced one: %+v, %v", got, ok)
	}
}

// BenchmarkInput is an estimate of a chat of 30 KB with three tools whose pieces were seen before.
func BenchmarkInput(b *testing.B) {
	prompt := Prompt{Messages: 60, Tools: 3}
	line := `"` + strings.Repeat("The quick brown fox jumps over the lazy dog. ", 11) + `"`
	for range 60 {
		prompt.Segments = append(prompt.Segments, Segment{Class: Text, JSON: []byte(line)})
	}
	for i := range 3 {
		prompt.Segments = append(prompt.Segments, Segment{Class: ToolSchema, JSON: fmt.Appendf(nil,
			`{"type":"function","function":{"name":"f%d","description":"does it","parameters":{"type":"object","properties":{"a":{"type":"string","description":"what"}}}}}`, i)})
	}
	e := New()
	for _, model := range []string{"gpt-4o", "claude-sonnet-4-5"} {
		b.Run(model, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := prompt
				e.Input("openai", model, &p)
			}
		})
	}
}

// An estimate stops at the context window, which is no statement about what the call needs.
func TestLikelyIsMoreThanAWindow(t *testing.T) {
	t.Parallel()
	e, p := New(), &Prompt{TokenIDs: 500_000, Messages: 1}
	if in := e.Input("openai", "gpt-4o-mini", p); in.Expected != 128_000 || in.Uncorrected != in.Shipped {
		t.Errorf("estimated %+v", in)
	}
	if n := e.Likely("openai", "gpt-4o-mini", p); n < 500_000 || n > 501_000 {
		t.Errorf("%d tokens are likely", n)
	}
	few := &Prompt{TokenIDs: 500, Messages: 1}
	if in := e.Input("openai", "gpt-4o-mini", few); e.Likely("openai", "gpt-4o-mini", few) != in.Uncorrected || in.Uncorrected >= in.Shipped {
		t.Errorf("estimated %+v", in)
	}
}
