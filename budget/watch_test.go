package budget

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keel/pricing"
	"keel/pricing/meter"
)

func watched(t *testing.T) (*Config, *Decision) {
	cfg := compiled(t, testPrices)
	return cfg, &Decision{
		Call: Call{Org: DefaultOrg, At: testTime, Stream: true}, RoutedProvider: "openai", RoutedModel: "gpt-4.1",
		Estimate: Estimate{InputTokens: 1000, OutputTokensBound: 1000},
		Watched:  &Watched{},
		Holds:    []Hold{{Amount: 3_000_000, Ceiling: 1e9}, {Amount: 1, Ceiling: -1}, {Amount: 2_000_000, Ceiling: 1e9}},
	}
}

func TestRunningCost(t *testing.T) {
	cfg, d := watched(t)
	m := d.RunningCost(cfg, []Attempt{{Number: 1, Cost: 500}, {Number: 2, Cost: 7}}, 2)
	// 1000 input tokens at 2 USD and, of 300 bytes, 100 output tokens at 8 USD a million; 500 for the attempt before.
	if cost, output, ok := m.Cost(&Reported{}, 300); cost != 2_800_500 || output != 100 || !ok {
		t.Errorf("costs %d for %d tokens, %v", cost, output, ok)
	}
	if cost, output, _ := m.Cost(&Reported{Usage: &meter.Usage{meter.Input: 10, meter.Output: 50}}, 3); cost != 420_500 || output != 50 {
		t.Errorf("by its own usage it costs %d for %d tokens", cost, output)
	}
	for _, c := range []struct {
		cost, step pricing.NanoUSD
		want       []pricing.NanoUSD
	}{
		{2_000_000, 1000, []pricing.NanoUSD{0, 0, 0}},
		{2_000_001, 1000, []pricing.NanoUSD{0, 0, 1000}},
		{2_000_001, 0, []pricing.NanoUSD{0, 0, 1}},
		{3_001_001, 1000, []pricing.NanoUSD{2000, 0, 1_002_000}},
	} {
		lacks := m.Lacks(c.cost, c.step)
		if !slices.Equal(m.More, c.want) || lacks != (c.cost > 2_000_000) {
			t.Errorf("at %d in steps of %d it lacks %v: %v", c.cost, c.step, m.More, lacks)
		}
	}
	m.Extended()
	if m.Lacks(3_001_001, 1000) {
		t.Errorf("extended, it still lacks %v", m.More)
	}
}

// Nothing is watched where no budget enforces, and where nobody knows what the call costs.
func TestNoRunningCost(t *testing.T) {
	cfg, d := watched(t)
	observed, unpriced, unwatched := *d, *d, *d
	observed.Holds = []Hold{{Amount: 1, Ceiling: -1}}
	unpriced.Estimate.Unpriced = "no price"
	unwatched.Watched = nil
	for _, d := range []*Decision{&observed, &unpriced, &unwatched} {
		if d.RunningCost(cfg, nil, 1) != nil {
			t.Errorf("%+v has a running cost", d)
		}
	}
}

// Whatever a call costs, after its extension every enforcing budget holds at least that, and less than a step more.
func TestExtensionsCoverTheCost(t *testing.T) {
	cfg, d := watched(t)
	rapid.Check(t, func(r *rapid.T) {
		m := d.RunningCost(cfg, nil, 1)
		step := pricing.NanoUSD(rapid.Int64Range(0, 1<<40).Draw(r, "step"))
		for _, cost := range rapid.SliceOf(rapid.Int64Range(0, 1<<50)).Draw(r, "costs") {
			before := slices.Clone(m.held)
			if !m.Lacks(pricing.NanoUSD(cost), step) {
				if int64(m.held[0]) < cost || int64(m.held[2]) < cost {
					r.Fatalf("%v is held and %d does not lack", m.held, cost)
				}
				continue
			}
			m.Extended()
			for _, i := range []int{0, 2} {
				if m.held[i] < pricing.NanoUSD(cost) || m.held[i] > max(before[i], pricing.NanoUSD(cost)+max(step-1, 0)) {
					r.Fatalf("for a cost of %d in steps of %d %d became %d", cost, step, before[i], m.held[i])
				}
			}
			if m.held[1] != before[1] {
				r.Fatalf("an observing budget holds %d", m.held[1])
			}
		}
	})
}
