package tokens

import (
	"testing"

	"pgregory.net/rapid"
)

// TestImages holds the rules to what providers were recorded to count, less the text, and to
// the examples in their guides.
func TestImages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		provider, model string
		image           Image
		want            int64
	}{
		{"openai", "gpt-4o", Image{Width: 640, Height: 480}, 425},
		{"openai", "gpt-4o", Image{Width: 128, Height: 128}, 255},
		{"openai", "gpt-4o", Image{Width: 1024, Height: 1024, Detail: "high"}, 765}, // the guide's example
		{"openai", "gpt-4o", Image{Width: 2048, Height: 4096, Detail: "high"}, 1105},
		{"openai", "gpt-4o", Image{Width: 4096, Height: 8192, Detail: "low"}, 85},
		{"openai", "gpt-4o", Image{Width: 790, Height: 1580}, 1105}, // 768 is the short side
		{"openai", "gpt-4o-mini", Image{Width: 640, Height: 480}, 14_167},
		{"openai", "gpt-4o-mini", Image{Width: 1, Height: 1}, 8_500},
		{"openai", "gpt-5", Image{Width: 640, Height: 480}, 350},
		{"openai", "gpt-5", Image{Width: 50, Height: 50}, 210},
		{"openai", "gpt-4.1-mini", Image{Width: 640, Height: 480}, 486},
		{"openai", "gpt-4.1-nano", Image{Width: 540, Height: 360}, 502},
		{"openai", "o4-mini", Image{Width: 640, Height: 480}, 516},
		{"openai", "gpt-5-mini", Image{Width: 640, Height: 480}, 360},
		{"openai", "gpt-5-nano", Image{Width: 640, Height: 480}, 450},
		{"openai", "gpt-4.1-mini", Image{Width: 10_000, Height: 10_000}, 2_489}, // 1,536 patches
		{"anthropic", "claude-sonnet-4-6", Image{Width: 640, Height: 480}, 417},
		{"anthropic", "claude-haiku-4-5", Image{Width: 128, Height: 128}, 28},
		{"anthropic", "claude-3-opus", Image{Width: 1001, Height: 1001}, 1_299},
		{"anthropic", "claude-sonnet-4-5", Image{Width: 8000, Height: 8000}, 1_603},
		{"anthropic", "claude-opus-4-8", Image{Width: 8000, Height: 8000}, 4_787},
		{"google", "gemini-2.0-flash", Image{Width: 640, Height: 480}, 258 * 5},
		{"google", "gemini-2.0-flash", Image{Width: 384, Height: 384}, 258},
		{"google", "gemini-2.5-flash", Image{Width: 640, Height: 480}, 258},
		{"google", "gemini-2.5-flash", Image{Width: 960, Height: 540}, 258 * 2},
		{"google", "gemini-3-pro", Image{Width: 640, Height: 480}, 1_100},
		{"nobody", "mystery", Image{Width: 128, Height: 128}, 25},
	} {
		f := familyOf(test.provider, test.model)
		if got := f.image.expected(test.image); got != test.want {
			t.Errorf("%s, %+v: %d, want %d", test.model, test.image, got, test.want)
		}
	}
}

// TestImageBounds: no image of any size is expected above its bound, or bounded
// above the most of all.
func TestImageBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.OneOf(rapid.Int64Range(-1, 20_000), rapid.Int64())
		i := Image{Width: side.Draw(t, "width"), Height: side.Draw(t, "height"), Detail: rapid.SampledFrom([]string{"", "low", "high"}).Draw(t, "detail")}
		f := models[rapid.IntRange(0, len(models)-1).Draw(t, "model")].family
		expected, bound := f.image.expected(i), f.image.bound(i)
		if expected < 0 || bound < expected || bound > f.image.most() {
			t.Fatalf("%s %+v: expected %d, bound %d, most %d", f.name, i, expected, bound, f.image.most())
		}
	})
}
