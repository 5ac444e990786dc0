package budget

import (
	"testing"
	"time"

	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

func TestChargeUsage(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, testPrices+`
kind: Price
name: flex
provider: openai
model: gpt-4.1
service_tier: flex
per_million: {input: 1, output: 4}
---
kind: Price
name: later
provider: openai
model: gpt-4.1
effective_from: 2026-11-24
per_million: {input: 200, output: 800}
`)
	usage := &meter.Usage{meter.Input: 1000, meter.CachedInput: 1000, meter.Output: 1000}
	decided := func() *Decision {
		return &Decision{Call: *testCall(), RoutedProvider: "openai", RoutedModel: "gpt-4.1"}
	}
	for _, tt := range []struct {
		name, model, tier string
		usage             *meter.Usage
		routed, want      string // "" for not known
	}{
		{"routed model", "", "", usage, "gpt-4.1", "0.0105"},
		{"reported model has a price", "gpt-4.1-nano", "", usage, "gpt-4.1", "0.0006"},
		{"reported model has none", "ft:my-own-model", "", usage, "gpt-4.1", "0.0105"},
		{"reported tier", "", "flex", usage, "gpt-4.1", "0.006"},
		{"nothing has a price", "unheard-of", "", usage, "gpt-unheard-of", ""},
		{"a meter has no rate", "", "", &meter.Usage{meter.Output: 10, meter.OutputAudio: 1}, "gpt-4.1", ""},
		{"zero is a cost", "", "", &meter.Usage{}, "gpt-4.1", "0"},
		{"nothing reported", "", "", nil, "gpt-4.1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := decided()
			d.RoutedModel = tt.routed
			c := &Closeout{}
			d.ChargeUsage(c, cfg, &Reported{Usage: tt.usage, Model: tt.model, ServiceTier: tt.tier})
			got := ""
			if c.CostKnown {
				got = c.Cost.Total.String()
			}
			if got != tt.want || c.Metered != ByProvider || c.Usage != tt.usage {
				t.Errorf("cost %q, metered %s; want %q", got, c.Metered, tt.want)
			}
		})
	}
}

// TestChargeParts: where a provider bills several models, each costs its own
// price, and the totals stay those of the provider.
func TestChargeParts(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, testPrices)
	d := &Decision{Call: *testCall(), RoutedProvider: "openai", RoutedModel: "gpt-4.1"}
	total := &meter.Usage{meter.Input: 1000, meter.Output: 100}
	var c Closeout
	d.ChargeUsage(&c, cfg, &Reported{Usage: total, Parts: []meter.Part{
		{Usage: *total},
		{Model: "gpt-4.1-nano", Usage: meter.Usage{meter.Input: 1000, meter.Output: 1000}},
	}})
	if want := "0.0033"; !c.CostKnown || c.Cost.Total.String() != want || c.Usage != total {
		t.Errorf("cost %v (known: %v), want %s", c.Cost.Total, c.CostKnown, want)
	}
	var unknown Closeout
	d.ChargeUsage(&unknown, cfg, &Reported{Usage: total, Parts: []meter.Part{{Usage: *total}, {Model: "unheard-of", Usage: *total}}})
	if unknown.CostKnown {
		t.Error("a part of a model without a price leaves the cost known")
	}
}

// TestPricedInEuros: a price in EUR is held, charged and limited in USD, at the rate in
// force when the call was decided.
func TestPricedInEuros(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, `
{kind: ExchangeRate, name: old, from: EUR, to: USD, rate: 2, effective_from: 2025-01-01}
---
{kind: ExchangeRate, name: now, from: EUR, to: USD, rate: 1.25, effective_from: 2026-01-01}
---
{kind: ExchangeRate, name: then, from: EUR, to: USD, rate: 3, effective_from: 2027-01-01}
---
{kind: Price, name: p, provider: openai, model: gpt-4.1, per_million: {input: 2 EUR, output: 8 EUR}, per_unit: {web_search: 0.01 EUR}}
---
{kind: Budget, name: b, limit: 1 USD, window: day}
`)
	ledger := newMemoryLedger()
	decider := &Decider{Ledger: ledger, Estimator: tokens.New()}
	call := testCall()
	d := decider.Decide(t.Context(), cfg, call)
	if d.Action != Allow || d.PriceVersion != cfg.Book("").Version() || d.PriceVersion == pricing.Catalog().Version() {
		t.Fatalf("%s: %s, by prices %s", d.Action, d.Reason, d.PriceVersion)
	}
	// 8 EUR a million are 10 USD, so a token out is 10,000 nano-dollars, and one in 2,500.
	most := pricing.NanoUSD(d.Estimate.InputTokensBound*2_500 + d.Estimate.OutputTokensBound*10_000)
	if d.Estimate.Unpriced != "" || d.Estimate.Bound != most || len(d.Holds) != 1 || d.Holds[0].Amount != most {
		t.Fatalf("estimate %+v, holds %+v; want a bound of %s", d.Estimate, d.Holds, most)
	}
	var c Closeout
	d.ChargeUsage(&c, cfg, &Reported{Usage: &meter.Usage{meter.Input: 1000, meter.Output: 100, meter.WebSearch: 1}})
	if want := "0.016"; !c.CostKnown || c.Cost.Total.String() != want {
		t.Errorf("cost %s (known: %v); want %s", c.Cost.Total, c.CostKnown, want)
	}
	if x := c.Cost.Exchange; x == nil || x.String() != "EUR/USD=1.25@2026-01-01T00:00:00Z" {
		t.Errorf("exchanged by %v", x)
	}
	for _, line := range c.Cost.Lines {
		if line.Price != "own:openai/gpt-4.1;in=EUR;EUR/USD=1.25@2026-01-01T00:00:00Z" {
			t.Errorf("%s is priced by %s", line.Meter, line.Price)
		}
	}
	// Before the first rate there is no price, and an enforcing budget says so.
	early := testCall()
	early.At = time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC)
	if d := decider.Decide(t.Context(), cfg, early); d.Action != Deny || d.Denial.Code != "unpriced_model" {
		t.Errorf("before the first exchange rate: %s, %+v", d.Action, d.Denial)
	}
}

func TestEstimateAborted(t *testing.T) {
	t.Parallel()
	d := &Decision{Estimate: Estimate{InputTokens: 500, InputTokensBound: 900, OutputTokens: 100, OutputTokensBound: 1000}}
	for _, tt := range []struct {
		name  string
		seen  *meter.Usage
		bytes int64
		want  meter.Usage
	}{
		{"nothing seen", nil, 0, meter.Usage{meter.Input: 500}},
		{"text seen, rounded up", nil, 301, meter.Usage{meter.Input: 500, meter.Output: 101}},
		{"not above the bound", nil, 30_000, meter.Usage{meter.Input: 500, meter.Output: 1000}},
		{"running input", &meter.Usage{meter.Input: 10, meter.CachedInput: 700, meter.Output: 1}, 300, meter.Usage{meter.Input: 10, meter.CachedInput: 700, meter.Output: 100}},
		{"running output is more", &meter.Usage{meter.Output: 50, meter.Reasoning: 200}, 300, meter.Usage{meter.Input: 500, meter.Output: 50, meter.Reasoning: 200}},
		{"the provider itself said more than the bound", &meter.Usage{meter.Input: 1, meter.Output: 2000}, 9000, meter.Usage{meter.Input: 1, meter.Output: 2000}},
		{"reasoning counts towards what was seen", &meter.Usage{meter.Input: 1, meter.Reasoning: 40}, 300, meter.Usage{meter.Input: 1, meter.Output: 60, meter.Reasoning: 40}},
	} {
		before := meter.Usage{}
		if tt.seen != nil {
			before = *tt.seen
		}
		if got := d.EstimateAborted(tt.seen, tt.bytes); *got != tt.want {
			t.Errorf("%s: got %v; want %v", tt.name, *got, tt.want)
		}
		if tt.seen != nil && *tt.seen != before {
			t.Errorf("%s: what was seen was changed", tt.name)
		}
	}
}

func TestChargeWithoutUsage(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, testPrices)
	d := &Decision{Call: *testCall(), RoutedProvider: "openai", RoutedModel: "gpt-4.1", Estimate: Estimate{InputTokens: 1000, OutputTokensBound: 1000, Bound: 70_000_000}}
	var seen, held, unpriced, free Closeout
	d.ChargeSeen(&seen, cfg, &Reported{}, 300)
	d.ChargeHeld(&held)
	d.Free(&free)
	without := *d
	without.Estimate.Unpriced, without.Estimate.Bound = "no price", 0
	without.ChargeHeld(&unpriced)
	if !seen.CostKnown || seen.Metered != ByEstimate || seen.Cost.Total.String() != "0.0028" {
		t.Errorf("seen: %+v", seen)
	}
	if !held.CostKnown || held.Cost.Total != d.Estimate.Bound || held.Metered != ByEstimate || held.Usage != nil {
		t.Errorf("held: %+v", held)
	}
	if unpriced.CostKnown || unpriced.Metered != ByEstimate || unpriced.Usage != nil {
		t.Errorf("held without a price: %+v; the ledger has to settle the hold", unpriced)
	}
	if !free.CostKnown || free.Cost.Total != pricing.NanoUSD(0) || free.Usage != nil {
		t.Errorf("free: %+v", free)
	}
}
