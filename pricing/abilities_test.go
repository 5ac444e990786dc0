package pricing

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"keel/pricing/meter"
)

// TestAbilities holds what is vendored against the providers' model pages.
func TestAbilities(t *testing.T) {
	t.Parallel()
	own, err := Catalog().With([]Price{{Provider: "openai", Model: "gpt-4", EffectiveFrom: at("2020-01-01"), Tiers: []Step{{Rates: map[meter.Kind]PicoUSD{meter.Input: 1}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		provider, model string
		want            Abilities
	}{
		// https://platform.openai.com/docs/models
		{"openai", "gpt-4", Abilities{ContextTokens: 8192, NoImages: true, NoSchema: true}},
		{"openai", "GPT-4", Abilities{ContextTokens: 8192, NoImages: true, NoSchema: true}},
		{"openai", "o3-mini-2025-01-31", Abilities{ContextTokens: 200_000, NoImages: true}},
		{"openai", "gpt-4o-mini", Abilities{ContextTokens: 128_000}},
		{"openai", "gpt-4o-mini-2099-01-01", Abilities{ContextTokens: 128_000}},
		// https://api-docs.deepseek.com/quick_start/pricing
		{"deepseek", "deepseek-v4-pro", Abilities{ContextTokens: 1_000_000, NoImages: true}},
		// https://docs.x.ai/docs/models
		{"xai", "grok-4.20-multi-agent", Abilities{ContextTokens: 1_000_000, NoTools: true}},
		{"x-ai", "grok-4.20-multi-agent", Abilities{ContextTokens: 1_000_000, NoTools: true}},
		// https://ai.google.dev/gemini-api/docs/models
		{"google", "models/gemini-2.5-flash-image", Abilities{ContextTokens: 1_000_000, NoTools: true}},
		{"vercel-gateway", "openai/gpt-4", Abilities{ContextTokens: 8192, NoImages: true, NoSchema: true}},
		// https://platform.claude.com/docs/en/about-claude/models: all of them take tools, images and schemas.
		{"anthropic", "claude-haiku-4-5-20251001", Abilities{ContextTokens: 200_000}},
		{"openai", "unheard-of", Abilities{}},
		{"nobody", "gpt-4", Abilities{}},
	} {
		for _, book := range []*Book{Catalog(), own} { // a price of one's own says nothing of what the model can do
			if got := book.Abilities(tt.provider, tt.model); got != tt.want {
				t.Errorf("%s/%s: %+v, want %+v", tt.provider, tt.model, got, tt.want)
			}
		}
	}
	if v := AbilitiesVersion(); len(v) != 12 || !strings.Contains(string(vendoredAbilities), v) {
		t.Errorf("version %q", v)
	}
}

func TestAbilitiesAreWhole(t *testing.T) {
	t.Parallel()
	damaged := bytes.Replace(vendoredAbilities, []byte(`"images"`), []byte(`"imagex"`), 1)
	if _, err := parseAbilities(damaged); err == nil || !strings.Contains(err.Error(), "run capabilities.py") {
		t.Errorf("damaged: %v", err)
	}
	for providers, want := range map[string]string{
		`{"p":{"m":{"lacks":["taste"]}}}`: `p/m lacks "taste"`,
		`{"p":{"M":{}}}`:                  "p/M: a name is in lower case",
		`{"p":{"m":{"context":-1}}}`:      "p/m: a name is in lower case, and a context not negative",
	} {
		sum := sha256.Sum256([]byte(providers))
		if _, err := parseAbilities([]byte(`{"sha256":"` + hex.EncodeToString(sum[:]) + `","providers":` + providers + "}\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", providers, err, want)
		}
	}
}
