package budget

import (
	"testing"

	"keel/pricing"
	"keel/pricing/meter"
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
			c := &Closeout{Model: tt.model}
			d.ChargeUsage(c, cfg, tt.usage, tt.tier)
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
	d.ChargeSeen(&seen, cfg, nil, 300, "")
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
