package pricing

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"keel/pricing/meter"
)

// TestListPrices holds the catalogue against the providers' price pages.
func TestListPrices(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		provider, model, day, tier string
		tokens                     int64
		input, cached, output      string // dollars per million
	}{
		{"openai", "gpt-4o", "2026-01-01", "", 0, "2.5", "1.25", "10"},
		{"openai", "gpt-4o-2024-08-06", "2026-01-01", "", 0, "2.5", "1.25", "10"},
		{"openai", "gpt-4o-mini-2024-07-18", "2026-01-01", "", 0, "0.15", "0.075", "0.6"},
		{"openai", "gpt-5", "2026-01-01", "", 0, "1.25", "0.125", "10"},
		{"openai", "gpt-5", "2026-11-01", "flex", 0, "0.625", "0.0625", "5"},
		{"openai", "gpt-5", "2026-01-01", "flex", 0, "1.25", "0.125", "10"}, // before upstream vouches for the tier: the dearer
		{"openai", "gpt-5", "2026-01-01", "priority", 0, "2.5", "0.25", "20"},
		{"openai", "gpt-5", "2026-11-01", "batch", 0, "0.625", "0.0625", "5"},
		{"openai", "gpt-5-mini-2025-08-07", "2026-01-01", "", 0, "0.25", "0.025", "2"},
		{"openai", "gpt-4.1", "2026-01-01", "", 0, "2", "0.5", "8"},
		{"openai", "o4-mini", "2026-01-01", "", 0, "1.1", "0.275", "4.4"},
		{"openai", "gpt-5.4", "2026-05-01", "", 272_000, "2.5", "0.25", "15"},
		{"openai", "gpt-5.4", "2026-05-01", "", 272_001, "5", "0.5", "22.5"},
		{"azure", "gpt-4o", "2026-01-01", "", 0, "2.5", "1.25", "10"},
		{"anthropic", "claude-sonnet-4-5-20250929", "2026-01-01", "", 0, "3", "0.3", "15"},
		{"anthropic", "claude-sonnet-4-5", "2026-01-01", "", 200_001, "6", "0.6", "22.5"},
		{"anthropic", "claude-opus-4-20250514", "2026-01-01", "", 0, "15", "1.5", "75"},
		{"anthropic", "claude-3-5-haiku-20241022", "2026-01-01", "", 0, "0.8", "0.08", "4"},
		{"google", "gemini-2.5-flash", "2026-01-01", "", 0, "0.3", "0.03", "2.5"},
		{"google", "gemini-2.5-pro", "2026-01-01", "", 200_000, "1.25", "0.125", "10"},
		{"google", "gemini-2.5-pro", "2026-01-01", "", 200_001, "2.5", "0.25", "15"},
		{"google", "gemini-2.0-flash", "2026-01-01", "", 0, "0.1", "0.025", "0.4"},
		{"vertex", "claude-sonnet-4-5@20250929", "2026-01-01", "", 0, "3", "0.3", "15"},
		{"deepseek", "deepseek-v4-pro", "2026-07-01", "", 0, "0.435", "0.003625", "0.87"}, // exact to the pico-dollar
	} {
		r, ok := Catalog().Rates(test.provider, test.model, Terms{At: at(test.day), ServiceTier: test.tier})
		if !ok {
			t.Errorf("%s/%s has no rates", test.provider, test.model)
			continue
		}
		for kind, want := range map[meter.Kind]string{meter.Input: test.input, meter.CachedInput: test.cached, meter.Output: test.output, meter.Reasoning: test.output} {
			if got, ok := r.Rate(kind, test.tokens); !ok || got.PerMillion() != want {
				t.Errorf("%s/%s at %s, tier %q, %d tokens: %v at %v, want %s", test.provider, test.model, test.day, test.tier, test.tokens, kind, got, want)
			}
		}
	}
}

// TestOwnPrefix: the provider's own name in front of a model says nothing new, that of another does.
func TestOwnPrefix(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		provider, model string
		want            bool
	}{
		{"openai", "openai/gpt-4o-2024-08-06", true},
		{"vertex", "google/gemini-2.5-flash", true},
		{"anthropic", "anthropic/claude-sonnet-4-5", true},
		{"openai", "openai/gpt-oss-20b", false},
		{"openai", "openai/gpt-99", false},
		{"openai", "anthropic/claude-sonnet-4-5", false},
		{"openai", "openai/openai/gpt-4o", false},
		{"groq", "openai/gpt-oss-20b", true}, // on Groq's own list
	} {
		if _, ok := Catalog().Rates(test.provider, test.model, Terms{At: at("2026-11-01")}); ok != test.want {
			t.Errorf("%s/%s has a price: %t", test.provider, test.model, ok)
		}
	}
}

// TestTimeOfDay: DeepSeek sells nights cheaper; its peak ends at 16:30 UTC.
func TestTimeOfDay(t *testing.T) {
	t.Parallel()
	for clock, want := range map[string]string{"00:29": "0.135", "00:30": "0.27", "12:00": "0.27", "16:29": "0.27", "16:30": "0.135"} {
		when, err := time.Parse("2006-01-02 15:04", "2025-06-01 "+clock)
		if err != nil {
			t.Fatal(err)
		}
		// The clock of the caller's zone does not matter.
		r, ok := Catalog().Rates("deepseek", "deepseek-chat", Terms{At: when.In(time.FixedZone("", 7*3600))})
		if !ok {
			t.Fatal("no rates")
		}
		if got, _ := r.Rate(meter.Input, 0); got.PerMillion() != want {
			t.Errorf("at %s input costs %v, want %s (%s)", clock, got, want, r.ID)
		}
	}
	night, err := ParseHours("22:00-06:00")
	if err != nil {
		t.Fatal(err)
	}
	for hour, want := range map[int]bool{21: false, 22: true, 0: true, 5: true, 6: false} {
		if got := night.Contain(time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)); got != want {
			t.Errorf("22:00 to 06:00 contains %d:00: %t", hour, got)
		}
	}
	if _, err := ParseHours("06:00-06:00"); err == nil {
		t.Error("a time of day from 06:00 to itself is read")
	}
}

func TestOtherMeters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		provider, model string
		kind            meter.Kind
		want            string
	}{
		{"anthropic", "claude-sonnet-4-5", meter.CacheWrite5m, "3.75"},
		{"anthropic", "claude-sonnet-4-5", meter.CacheWrite1h, "6"},
		{"anthropic", "claude-sonnet-4-5", meter.WebSearch, "10000"},
		{"google", "gemini-2.5-flash", meter.InputAudio, "1"},
		{"google", "gemini-2.5-flash", meter.CachedInputAudio, "0.1"},
		{"google", "gemini-2.5-pro", meter.InputAudio, "1.25"},
		{"openai", "gpt-audio", meter.OutputAudio, "64"},
		{"openai", "gpt-image-1", meter.InputImage, "10"},
		{"openrouter", "deepseek/deepseek-r1:free", meter.Output, "0"},
		{"openrouter", "google/gemini-2.5-flash", meter.CacheWrite5m, "0.083334"}, // Google's price, and what only OpenRouter bills
		{"openrouter", "never/heard-of:free", meter.Input, "0"},
		{"openai", "whisper-1", meter.InputSeconds, "100"}, // $0.006 a minute
		{"openai", "tts-1", meter.Characters, "15"},        // by a million characters
		{"openai", "gpt-image-1", meter.CachedInputImage, "2.5"},
		{"openai", "gpt-4o", meter.FileSearch, "2500"},       // $2.50 by a thousand
		{"openai", "gpt-4o", meter.CodeInterpreter, "30000"}, // $0.03 a session
		{"mistral", "mistral-ocr-2505", meter.Pages, "1000"}, // $1 by a thousand
		{"google", "gemini-2.5-pro", meter.CacheStorage, "4.5"},
		{"google", "gemini-2.5-pro", meter.InputVideo, "1.25"},
		{"google", "gemini-3-pro-preview", meter.WebSearch, "14000"},
		{"cohere", "rerank-v3.5", meter.SearchUnits, "2000"},
		{"voyage", "rerank-2.5-lite", meter.Input, "0.02"},
	} {
		r, ok := Catalog().Rates(test.provider, test.model, Terms{At: at("2026-10-20")})
		if !ok {
			t.Errorf("%s/%s has no rates", test.provider, test.model)
			continue
		}
		if got, ok := r.Rate(test.kind, 0); !ok || got.PerMillion() != test.want {
			t.Errorf("%s/%s: %v at %v (known: %t), want %s", test.provider, test.model, test.kind, got, ok, test.want)
		}
	}
	if r, ok := Catalog().Rates("perplexity", "sonar-deep-research", Terms{At: at("2026-10-20")}); ok {
		t.Errorf("sonar-deep-research is billed by a unit that nothing meters, but has %s", r.ID)
	}
}

// TestCatalogueIsWhole reads every row and compiles every rule.
func TestCatalogueIsWhole(t *testing.T) {
	t.Parallel()
	c, err := parseCatalogue(vendored, overlaid)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	var compile func(*clause)
	compile = func(m *clause) {
		if m.regex != nil {
			m.regex()
		}
		for i := range m.or {
			compile(&m.or[i])
		}
		for i := range m.and {
			compile(&m.and[i])
		}
		if m.not != nil {
			compile(m.not)
		}
	}
	for _, l := range c.providers {
		for _, m := range l.models {
			compile(&m.match)
			for _, plan := range m.rows {
				rows += len(plan)
				for _, p := range plan {
					for _, step := range p.rates.steps {
						for kind := range meter.Kind(meter.NumKinds) {
							// Dearer than a thousand dollars per million tokens, or a dollar a search, is a slip of a unit.
							limit := PicoUSD(1_000_000_000)
							if !isToken(kind) {
								limit = 1_000_000_000_000
							}
							if rate := step.rates[kind]; rate < 0 || rate > limit {
								t.Errorf("%s: %v at %v", p.rates.ID, kind, rate)
							}
						}
					}
				}
				if base := plan[len(plan)-1]; !base.from.IsZero() || base.daily != (Hours{}) {
					t.Errorf("%s: nothing is in force before the first date", base.rates.ID)
				}
			}
		}
	}
	if len(c.providers) < 40 || rows < 2300 {
		t.Errorf("%d providers with %d rows: the catalogue has lost some", len(c.providers), rows)
	}
}

func TestCatalogueHash(t *testing.T) {
	t.Parallel()
	edited := bytes.Replace(vendored, []byte(`"input":2500000`), []byte(`"input":2400000`), 1)
	if _, err := parseCatalogue(edited, overlaid); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("an edited catalogue is read: %v", err)
	}
}

func BenchmarkParseCatalogue(b *testing.B) {
	for b.Loop() {
		if _, err := parseCatalogue(vendored, overlaid); err != nil {
			b.Fatal(err)
		}
	}
}
