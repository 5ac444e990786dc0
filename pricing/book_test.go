package pricing

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"keel/pricing/meter"
)

// at is a day at noon, UTC.
func at(day string) time.Time {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return t.Add(12 * time.Hour)
}

func row(provider, model, from, contract, tier string, input PicoUSD) Price {
	p := Price{Provider: provider, Model: model, Contract: contract, ServiceTier: tier,
		Tiers: []Step{{Rates: map[meter.Kind]PicoUSD{meter.Input: input, meter.Output: 4 * input}}}}
	if from != "" {
		p.EffectiveFrom = at(from).Truncate(24 * time.Hour)
	}
	return p
}

func TestSelection(t *testing.T) {
	t.Parallel()
	book, err := Catalog().With([]Price{
		row("openai", "gpt-5", "", "", "", 101),
		row("openai", "gpt-5", "2026-06-01", "", "", 102),
		row("openai", "gpt-5", "2027-01-01", "", "", 103),
		row("openai", "gpt-*", "2026-08-01", "", "", 104),
		row("openai", "gpt-5-m*", "", "", "", 105),
		row("openai", "gpt-5", "2026-07-01", "acme", "", 201),
		row("openai", "gpt-4*", "", "globex", "", 202),
		row("openai", "gpt-5", "", "", "priority", 301),
		row("google", "gemini-2.5-flash", "", "", "", 401),
		row("mine", "Llama-3", "", "", "", 501),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name            string
		provider, model string
		at              string
		tier, contract  string
		want            PicoUSD // 0: no rates
	}{
		{"own over list", "openai", "gpt-5", "2026-05-01", "", "", 101},
		{"latest in force", "openai", "gpt-5", "2026-06-01", "", ListPrices, 102},
		{"contract over own", "openai", "gpt-5", "2026-07-01", "", "", 201},
		{"contract by name", "openai", "gpt-5", "2026-07-01", "", "acme", 201},
		{"another contract", "openai", "gpt-5", "2026-07-01", "", "globex", 102},
		{"list by wish", "openai", "gpt-5", "2026-07-01", "", ListPrices, 102},
		{"dated snapshot", "openai", "gpt-5-2025-08-07", "2026-07-01", "", "", 201},
		{"case", "openai", "GPT-5", "2026-07-01", "", "", 201},
		{"longer glob", "openai", "gpt-5-mini", "2026-09-01", "", "", 105},
		{"shorter glob", "openai", "gpt-5-nano", "2026-09-01", "", "", 104},
		{"glob not yet in force", "openai", "gpt-5-nano", "2026-07-01", "", "", 50_000},
		{"contract glob over own glob", "openai", "gpt-4o", "2026-09-01", "", "", 202},
		{"flex at own standard", "openai", "gpt-5", "2026-06-02", "flex", ListPrices, 102},
		{"own tier below a contract without it", "openai", "gpt-5", "2026-07-01", "priority", "", 301},
		{"standard by name", "openai", "gpt-5", "2026-07-01", "default", "", 201},
		{"resource path", "google", "models/gemini-2.5-flash", "2026-07-01", "", "", 401},
		{"vertex is google", "vertex", "publishers/google/models/gemini-2.5-flash", "2026-07-01", "", "", 401},
		{"own provider", "mine", "llama-3", "2026-07-01", "", "", 501},
		{"own provider, another model", "mine", "llama-4", "2026-07-01", "", "", 0},
		{"unknown model", "openai", "mystery", "2026-07-01", "", "", 0},
		{"unknown provider", "nobody", "gpt-5", "2026-07-01", "", "", 0},
		{"unknown tier", "openai", "gpt-4.1", "2026-07-01", "platinum", ListPrices, 0},
		{"anthropic priority is standard", "anthropic", "claude-sonnet-4-5", "2026-07-01", "priority", "", 3_000_000},
	} {
		for range 2 { // made, then remembered
			r, ok := book.Rates(test.provider, test.model, Terms{At: at(test.at), ServiceTier: test.tier, Contract: test.contract})
			if !ok {
				if test.want != 0 {
					t.Errorf("%s: no rates", test.name)
				}
				continue
			}
			if got, _ := r.Rate(meter.Input, 0); got != test.want {
				t.Errorf("%s: input at %d by %s, want %d", test.name, got, r.ID, test.want)
			}
		}
	}
	r, _ := book.Rates("openai", "gpt-5", Terms{At: at("2026-07-01")})
	if want := "own:openai/gpt-5;contract=acme;from=2026-07-01T00:00:00Z"; r.ID != want {
		t.Errorf("ID = %s, want %s", r.ID, want)
	}
}

func TestWithRefuses(t *testing.T) {
	t.Parallel()
	good := row("openai", "gpt-5", "", "", "", 1)
	change := func(f func(*Price)) Price { p := *clonePrice(&good); f(&p); return p }
	for message, prices := range map[string][]Price{
		"is there twice":                {good, good},
		"without a provider":            {change(func(p *Price) { p.Provider = " " })},
		"without a model":               {change(func(p *Price) { p.Model = "" })},
		"reserved":                      {change(func(p *Price) { p.Contract = ListPrices })},
		"no rates":                      {change(func(p *Price) { p.Tiers = nil })},
		"must start at 0":               {change(func(p *Price) { p.Tiers[0].Above = 1 })},
		"order steps":                   {change(func(p *Price) { p.Tiers = append(p.Tiers, p.Tiers[0]) })},
		"step 1 has no rates":           {change(func(p *Price) { p.Tiers[0].Rates = nil })},
		"the rate of input is negative": {change(func(p *Price) { p.Tiers[0].Rates[meter.Input] = -1 })},
		"unknown meter":                 {change(func(p *Price) { p.Tiers[0].Rates[200] = 1 })},
	} {
		if _, err := Catalog().With(prices); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("error %v does not say %q", err, message)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	with := func(prices ...Price) string {
		b, err := Catalog().With(prices)
		if err != nil {
			t.Fatal(err)
		}
		return b.Version()
	}
	a, b := row("openai", "a", "", "", "", 1), row("openai", "b", "", "", "", 1)
	dearer := row("openai", "b", "", "", "", 2)
	if with() != Catalog().Version() {
		t.Error("a book without own rows is another version than the catalogue")
	}
	if with(a, b) != with(b, a) {
		t.Error("the version depends on the order of rows")
	}
	if with(a, b) == with(a, dearer) || with(a, b) == with(a) {
		t.Error("the version does not depend on the rows")
	}
	if v := with(a); !strings.HasPrefix(v, "genai-prices-0.2.3-") || !strings.Contains(v, "+own.1.") {
		t.Errorf("version = %s", v)
	}
}

func TestBookIsImmutable(t *testing.T) {
	t.Parallel()
	prices := []Price{row("openai", "gpt-5", "", "", "", 7)}
	book, err := Catalog().With(prices)
	if err != nil {
		t.Fatal(err)
	}
	prices[0].Tiers[0].Rates[meter.Input] = 8
	prices[0].Model = "other"
	r, ok := book.Rates("openai", "gpt-5", Terms{})
	if rate, _ := r.Rate(meter.Input, 0); !ok || rate != 7 {
		t.Errorf("rate = %d after the caller changed its row", rate)
	}
}

// TestConcurrentRates fills and empties the memo while others read.
func TestConcurrentRates(t *testing.T) {
	t.Parallel()
	book, err := Catalog().With(nil)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range memoSize/2 + 10 {
				if _, ok := book.Rates("openai", fmt.Sprintf("no-model-%d-%d", worker, i), Terms{}); ok {
					t.Error("an unknown model has rates")
				}
				if r, ok := book.Rates("openai", "gpt-4o", Terms{}); !ok || r.Model != "gpt-4o" {
					t.Error("gpt-4o lost its rates")
				}
			}
		})
	}
	group.Wait()
	if n := len(book.plans.plans); n > memoSize {
		t.Errorf("the memo holds %d plans", n)
	}
}

func TestRatesDoNotAllocate(t *testing.T) {
	terms := Terms{At: at("2026-11-01"), ServiceTier: "default"}
	if n := testing.AllocsPerRun(100, func() { Catalog().Rates("openai", "gpt-5-2025-08-07", terms) }); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"gpt-*", "gpt-5", true}, {"gpt-*", "gpt-", true}, {"gpt-*", "xgpt-5", false}, {"*-mini", "gpt-5-mini", true},
		{"a*b*c", "a-b-b-c", true}, {"a*b*c", "a-b-b", false}, {"gpt-?", "gpt-5", true}, {"gpt-?", "gpt-", false},
		{"*", "", true}, {"", "", true}, {"", "a", false}, {"**a", "ba", true},
	} {
		if got := matchGlob(test.pattern, test.name); got != test.want {
			t.Errorf("%q matches %q: %t", test.pattern, test.name, got)
		}
	}
}

func FuzzRates(f *testing.F) {
	f.Add("openai", "gpt-4o-2024-08-06", "flex")
	f.Add("google", "models/models/", "")
	f.Add("bedrock", "arn:aws:bedrock:us-east-1::inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "")
	f.Add("openrouter", "x-20259999", "DEFAULT")
	book, err := Catalog().With([]Price{row("openai", "*a*b?", "", "", "", 1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, provider, model, tier string) {
		if r, ok := book.Rates(provider, model, Terms{ServiceTier: tier}); ok {
			if _, err := r.Cost(&meter.Usage{meter.Input: 1}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkRates(b *testing.B) {
	terms := Terms{At: at("2026-11-01"), ServiceTier: "default"}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Catalog().Rates("openai", "gpt-5-2025-08-07", terms); !ok {
			b.Fatal("no rates")
		}
	}
}

func BenchmarkRatesUnremembered(b *testing.B) {
	book := Catalog()
	for b.Loop() {
		book.makePlan("openai", "no-such-model", Terms{})
	}
}
