package pricing

import (
	"strings"
	"testing"

	"keel/pricing/meter"
)

func TestTerms(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, provider, model string
		terms                 Terms
		kind                  meter.Kind
		want                  string // dollars per million units; "" for no price
	}{
		{"no region", "anthropic", "claude-opus-4-6", Terms{}, meter.Input, "5"},
		{"global", "anthropic", "claude-opus-4-6", Terms{Region: "global"}, meter.Input, "5"},
		{"not available", "anthropic", "claude-opus-4-6", Terms{Region: "not_available"}, meter.Input, "5"},
		{"us", "anthropic", "claude-opus-4-6", Terms{Region: "us"}, meter.Input, "5.5"},
		{"us, output", "anthropic", "claude-opus-4-6", Terms{Region: "US"}, meter.Output, "27.5"},
		{"us, cache", "anthropic", "claude-opus-4-6", Terms{Region: "us"}, meter.CacheWrite1h, "11"},
		{"us, a search costs what it costs", "anthropic", "claude-opus-4-6", Terms{Region: "us"}, meter.WebSearch, "10000"},
		{"us, an older model", "anthropic", "claude-sonnet-4-5-20250929", Terms{Region: "us"}, meter.Input, "3"},
		{"fast", "anthropic", "claude-opus-4-6", Terms{Speed: "fast"}, meter.Input, "30"},
		{"fast in the us", "anthropic", "claude-opus-4-6", Terms{Speed: "fast", Region: "us"}, meter.Input, "33"},
		{"normal speed", "anthropic", "claude-opus-4-6", Terms{Speed: "standard"}, meter.Input, "5"},
		{"fast where it is not sold", "anthropic", "claude-sonnet-4-5", Terms{Speed: "fast"}, meter.Input, ""},
		{"fast in a tier", "anthropic", "claude-opus-4-6", Terms{Speed: "fast", ServiceTier: "batch"}, meter.Input, ""},
		{"data zone", "azure", "gpt-5", Terms{Region: "eu"}, meter.Output, "11"},
		{"vertex, regional", "vertex", "claude-sonnet-4-5@20250929", Terms{Region: "us-east5"}, meter.Input, "3.3"},
		{"vertex, global", "vertex", "claude-sonnet-4-5@20250929", Terms{Region: "global"}, meter.Input, "3"},
		{"a region of the reseller is not one of the maker", "openrouter", "anthropic/claude-opus-4.6", Terms{Region: "us"}, meter.Input, "5"},
		{"nor of a gateway", "vercel-gateway", "anthropic/claude-opus-4.6", Terms{Region: "us"}, meter.Input, "5"},
		{"a data zone costs more once", "azure", "gpt-5.4", Terms{Region: "eu"}, meter.Input, "2.75"},
		{"a search of the reseller in a tier of the maker", "azure", "gpt-5", Terms{ServiceTier: "priority"}, meter.WebSearch, "14000"},
		{"a discount of the maker is not one of a gateway", "vercel-gateway", "anthropic/claude-opus-4.6", Terms{ServiceTier: "batch"}, meter.Input, "5"},
		{"search context by default", "perplexity", "sonar", Terms{}, meter.Calls, "5000"},
		{"low", "perplexity", "sonar", Terms{SearchContext: "low"}, meter.Calls, "5000"},
		{"medium", "perplexity", "sonar", Terms{SearchContext: "medium"}, meter.Calls, "8000"},
		{"high", "perplexity", "sonar-pro", Terms{SearchContext: "HIGH"}, meter.Calls, "14000"},
		{"resold", "vercel-gateway", "perplexity/sonar-pro", Terms{SearchContext: "medium"}, meter.Calls, "10000"},
		{"before the amendment", "openrouter", "moonshotai/kimi-k2.5-0127", Terms{At: at("2026-03-31")}, meter.Input, "0.4"},
		{"within", "openrouter", "moonshotai/kimi-k2.5-0127", Terms{At: at("2026-04-27")}, meter.Input, "0.44"},
		{"after", "openrouter", "moonshotai/kimi-k2.5-0127", Terms{At: at("2026-05-01")}, meter.Input, "0.4"},
		{"a model that only the overlay has", "writer", "palmyra-x5", Terms{}, meter.Output, "6"},
		{"a tier that the catalogue has later", "xai", "grok-4.3", Terms{At: at("2026-08-10"), ServiceTier: "batch"}, meter.Input, "1"},
		{"a tier that the catalogue has", "xai", "grok-4.3", Terms{ServiceTier: "batch"}, meter.Input, "1"},
		{"video", "xai", "grok-imagine-video", Terms{}, meter.OutputSeconds, "50000"},
		{"in a tier below the standard", "writer", "palmyra-x5", Terms{ServiceTier: "batch"}, meter.Output, "6"},
		{"in a tier above", "writer", "palmyra-x5", Terms{ServiceTier: "priority"}, meter.Output, ""},
	} {
		if test.terms.At.IsZero() {
			test.terms.At = at("2026-11-01")
		}
		r, ok := Catalog().Rates(test.provider, test.model, test.terms)
		if !ok {
			if test.want != "" {
				t.Errorf("%s: no price", test.name)
			}
			continue
		}
		if got, known := r.Rate(test.kind, 0); !known || got.PerMillion() != test.want {
			t.Errorf("%s: %v at %v (known: %t) by %s, want %q", test.name, test.kind, got, known, r.ID, test.want)
		}
	}
}

// TestOwnTerms: rows of the company's own can state region, search context and
// time of day, and what a provider charges more in a region comes on top of one that states none.
func TestOwnTerms(t *testing.T) {
	t.Parallel()
	plain, eu := row("anthropic", "claude-opus-4-6", "", "", "", 1_000_000), row("anthropic", "claude-opus-4-6", "", "", "", 7_000_000)
	eu.Region = "eu"
	searching, night := row("perplexity", "sonar", "", "", "", 2_000_000), row("mine", "m", "", "", "", 1)
	searching.SearchContext = "high"
	var err error
	if night.Daily, err = ParseHours("22:00-06:00"); err != nil {
		t.Fatal(err)
	}
	book, err := Catalog().With([]Price{plain, eu, searching, night, row("mine", "m", "", "", "", 2)})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		provider, model string
		terms           Terms
		want            PicoUSD
	}{
		{"anthropic", "claude-opus-4-6", Terms{}, 1_000_000},
		{"anthropic", "claude-opus-4-6", Terms{Region: "us"}, 1_100_000},
		{"anthropic", "claude-opus-4-6", Terms{Region: "EU"}, 7_000_000},
		{"perplexity", "sonar", Terms{SearchContext: "high"}, 2_000_000},
		{"perplexity", "sonar", Terms{SearchContext: "low"}, 1_000_000}, // the list's
		{"mine", "m", Terms{At: at("2026-11-01")}, 2},
		{"mine", "m", Terms{At: at("2026-11-01").Add(11 * 3600e9)}, 1},
	} {
		if test.terms.At.IsZero() {
			test.terms.At = at("2026-11-01")
		}
		r, ok := book.Rates(test.provider, test.model, test.terms)
		if !ok {
			t.Errorf("%s on %+v has no price", test.model, test.terms)
			continue
		}
		if got, _ := r.Rate(meter.Input, 0); got != test.want {
			t.Errorf("%s on %+v: %d by %s, want %d", test.model, test.terms, got, r.ID, test.want)
		}
	}
}

func TestOverlayRefuses(t *testing.T) {
	t.Parallel()
	const head = `"provider":"p","models":["m"],"source":"s","checked":"2026-11-24"`
	for message, row := range map[string]string{
		"are needed":         `{"provider":"p","models":["m"],"per_unit":{"calls":"1"}}`,
		"either rates or":    `{` + head + `}`,
		"either rates or a ": `{` + head + `,"factor":"1.1","per_unit":{"calls":"1"}}`,
		"unknown meter":      `{` + head + `,"per_unit":{"wishes":"1"}}`,
		"decimals":           `{` + head + `,"per_million":{"input":"0.0000001"}}`,
		"parsing time":       `{` + head + `,"from":"soon","per_million":{"input":"1"}}`,
		"unknown object":     `{` + head + `,"per_hour":{"input":"1"}}`,
	} {
		_, err := parseOverlay([]byte(`{"amendments":[` + row + `]}`))
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: error %v does not say %q", row, err, message)
		}
	}
}

// TestOverlayIsUsed: each row of the overlay changes the price of something.
func TestOverlayIsUsed(t *testing.T) {
	t.Parallel()
	bare, err := parseCatalogue(vendored, []byte(`{"amendments":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	for i := range Catalog().catalogue.amendments {
		a := &Catalog().catalogue.amendments[i]
		if bare.providers[a.provider] == nil && !a.missing {
			t.Errorf("overlay row %d amends prices of %s, who has none", i+1, a.provider)
		}
		if !a.missing {
			continue
		}
		for _, glob := range a.models {
			name := strings.Trim(glob, "*")
			if rows := bare.listed(a.provider, name, ""); rows != nil {
				t.Errorf("overlay row %d: the catalogue has %s/%s by now (%s): drop the row", i+1, a.provider, name, rows[0].rates.ID)
			}
		}
	}
}

// TestTierKeepsItsRates: what replaces the standard price of tokens leaves that of a tier.
func TestTierKeepsItsRates(t *testing.T) {
	t.Parallel()
	c, err := parseCatalogue(vendored, []byte(`{"amendments":[{"provider":"openai","models":["gpt-5"],"replace":true,"per_million":{"input":"9"},"per_unit":{"web_search":"2"},"source":"s","checked":"2026-11-24"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	book, err := c.book(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for tier, want := range map[string]string{"": "9", "priority": "2.5"} {
		r, _ := book.Rates("openai", "gpt-5", Terms{At: at("2026-11-01"), ServiceTier: tier})
		input, _ := r.Rate(meter.Input, 0)
		search, _ := r.Rate(meter.WebSearch, 0)
		if input.PerMillion() != want || search.PerUnit() != "2" {
			t.Errorf("tier %q: input %v, want %s; search %v", tier, input, want, search)
		}
	}
}
