package tokens

import (
	"testing"

	"pgregory.net/rapid"
)

func TestFamilies(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{
		"gpt-4o-2024-08-06": "gpt-4o", "gpt-4o-mini": "gpt-4o-mini", "openai/gpt-4.1-mini": "gpt-4.1-mini", "gpt-4.1-2025-04-14": "gpt-4.1",
		"gpt-4-0613": "gpt-4", "gpt-4-turbo-2024-04-09": "gpt-4-turbo", "gpt-5.2": "gpt-5", "o3-mini": "o-series", "openai/o1": "o-series",
		"turbo1": "", "gpt-oss-120b": "gpt-oss", "GPT-4O": "gpt-4o",
		"claude-3-5-haiku-20241022": "claude-3.5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0": "claude-sonnet-4",
		"claude-opus-4-20250514": "claude-opus-4", "claude-opus-4@20250514": "claude-new", "claude-opus-4-8": "claude-new", "claude-sonnet-5": "claude-new",
		"models/gemini-2.5-flash": "gemini", "gemini-2.0-flash-001": "gemini-2.0", "grok-4-fast": "grok", "mystery": "", "": "",
	} {
		if got := familyOf(model).name; got != want {
			t.Errorf("%s is of family %q, want %q", model, got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	text := Prompt{TextBytes: 100, Messages: 2}
	with := func(change func(*Prompt)) Prompt { p := text; change(&p); return p }
	for _, test := range []struct {
		name, provider, model string
		prompt                Prompt
		want                  BoundKind
		atLeast               int64
	}{
		{"published tokenizer", "openai", "gpt-4o", text, Provable, 100},
		{"by way of a gateway", "openrouter", "openai/gpt-4o", text, Calibrated, 100},
		{"framing not published", "openai", "gpt-5", text, Calibrated, 100},
		{"token ids", "openai", "text-embedding-3-small", Prompt{TokenIDs: 50}, Provable, 50},
		{"claude", "anthropic", "claude-sonnet-4-5", text, Calibrated, 100},
		{"tools", "openai", "gpt-4o", with(func(p *Prompt) { p.Tools, p.ToolBytes = 1, 300 }), Calibrated, 400},
		{"schema", "openai", "gpt-4o", with(func(p *Prompt) { p.SchemaBytes = 300 }), Calibrated, 700},
		{"image", "openai", "gpt-4o-mini", with(func(p *Prompt) { p.Images = 1 }), Calibrated, 48_169},
		{"image without a rule", "deepseek", "deepseek-chat", with(func(p *Prompt) { p.Images = 1 }), None, 16_384},
		{"document", "anthropic", "claude-sonnet-4-5", with(func(p *Prompt) { p.Media = 1 }), None, 1_000_000},
		{"opaque", "openai", "gpt-4o", with(func(p *Prompt) { p.Opaque = "file_search" }), None, 128_000},
		{"unknown model", "openai", "mystery", text, None, unknownWindow},
		{"past the window", "openai", "gpt-4", with(func(p *Prompt) { p.TextBytes = 1 << 30 }), Calibrated, 8_192},
	} {
		in := EstimateInput(test.provider, test.model, test.prompt)
		if in.Kind != test.want || in.Bound < test.atLeast || in.Method != Method {
			t.Errorf("%s: %+v, want %s and a bound of at least %d", test.name, in, test.want, test.atLeast)
		}
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		provider, model string
		stated, choices int64
		want            Output
	}{
		{"openai", "gpt-4o", 100, 1, Output{100, 100, Provable}},
		{"openai", "gpt-4o", 100, 3, Output{300, 300, Provable}},
		{"openai", "gpt-4o", 5000, 2, Output{700, 10_000, Provable}},
		{"xai", "grok-4-fast", 5000, 1, Output{420, 5000, Calibrated}}, // reasoning is outside completion_tokens there
		{"openai", "gpt-4o", 0, 1, Output{350, 16_384, Calibrated}},
		{"openai", "gpt-4.1", 0, 1, Output{350, 32_768, Calibrated}},
		{"openai", "gpt-5", 0, 0, Output{350, 128_000, Calibrated}},
		{"openai", "o4-mini", 0, 1, Output{350, 100_000, Calibrated}},
		{"openai", "gpt-4", 0, 1, Output{350, 8_192, Calibrated}},
		{"openai", "gpt-3.5-turbo", 0, 1, Output{350, 4_096, Calibrated}},
		{"google", "gemini-2.5-flash", 0, 1, Output{520, 65_536, Calibrated}},
		{"google", "gemini-2.0-flash", 0, 1, Output{520, 8_192, Calibrated}},
		{"anthropic", "claude-opus-4-1", 0, 1, Output{260, 32_000, Calibrated}},
		{"cohere", "command-r", 0, 1, Output{420, 256_000, None}},
		{"nobody", "mystery", 0, 1, Output{420, unknownWindow, None}},
		{"openai", "text-embedding-3-small", 0, 1, Output{0, 0, Provable}},
	} {
		if got := EstimateOutput(test.provider, test.model, test.stated, test.choices); got != test.want {
			t.Errorf("%s/%s, %d × %d: %+v, want %+v", test.provider, test.model, test.stated, test.choices, got, test.want)
		}
	}
}

// TestBoundsGrow: a larger prompt never has a smaller bound, sizes of any kind
// are survived, and expected never exceeds bound.
func TestBoundsGrow(t *testing.T) {
	t.Parallel()
	sizes := rapid.OneOf(rapid.Int64Range(0, 5000), rapid.Int64())
	names := []string{"gpt-4o", "gpt-5", "claude-sonnet-4-5", "claude-opus-4-8", "gemini-2.5-flash", "grok-4", "mystery"}
	rapid.Check(t, func(t *rapid.T) {
		model := rapid.SampledFrom(names).Draw(t, "model")
		draw := func(name string) int64 { return sizes.Draw(t, name) }
		p := Prompt{TextBytes: draw("text"), Messages: draw("messages"), ToolBytes: draw("tool bytes"), Tools: draw("tools"), SchemaBytes: draw("schema"),
			TokenIDs: draw("ids"), Images: draw("images"), ImageBytes: draw("image bytes"), MediaBytes: draw("media bytes")}
		in := EstimateInput("openai", model, p)
		if in.Expected < 0 || in.Bound < in.Expected {
			t.Fatalf("%+v: %+v", p, in)
		}
		larger := p
		for _, size := range []*int64{&larger.TextBytes, &larger.Messages, &larger.ToolBytes, &larger.SchemaBytes, &larger.Images} {
			*size = max(*size, add(*size, rapid.Int64Range(0, 1000).Draw(t, "more")))
		}
		if more := EstimateInput("openai", model, larger); more.Bound < in.Bound {
			t.Fatalf("%+v has bound %d, %+v only %d", p, in.Bound, larger, more.Bound)
		}
		out := EstimateOutput("openai", model, draw("stated"), draw("choices"))
		if out.Expected < 0 || out.Bound < out.Expected {
			t.Fatalf("output %+v", out)
		}
	})
}

func BenchmarkEstimateInput(b *testing.B) {
	p := Prompt{TextBytes: 4000, Messages: 8, Tools: 3, ToolBytes: 1500}
	b.ReportAllocs()
	for b.Loop() {
		EstimateInput("google", "gemini-2.5-flash", p)
	}
}
