package budget

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keel/pricing"
	"keel/pricing/tokens"
)

// What an attempt may be rewritten to travels with the call where its budgets prefer cheap and the route chooses.
func TestRewrites(t *testing.T) {
	t.Parallel()
	const budget = "kind: Budget\nname: b\nlimit: 10 USD\nwindow: day\nmode: %s\n---\n"
	for _, tt := range []struct{ name, route, mode, more, want string }{
		{"prefer-cheap", "prefer-cheap", "prefer-cheap", "", "gpt-4.1-mini gpt-4.1"},
		{"enforced", "prefer-cheap", "enforce", "", ""},
		{"observed", "prefer-cheap", "observe", "", ""},
		{"the budget wins over quality, its attempts do not", "enforce", "prefer-cheap", "", "gpt-4.1-mini gpt-4.1"},
		{"a route that a budget presses", "observe", "prefer-cheap", "", "gpt-4.1-mini gpt-4.1"},
		{"a route that only observes", "observe", "prefer-cheap", "tiers: [{at: 90%, do: prefer-cheap}]", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := testPrices + fmt.Sprintf(testRoute, tt.route) + strings.Replace(fmt.Sprintf(budget, tt.mode), "---", tt.more+"\n---", 1)
			d := (&Decider{Ledger: newMemoryLedger(), Estimator: tokens.New()}).Decide(t.Context(), compiled(t, config), testCall())
			var got []string
			for _, r := range d.Rewrites {
				got = append(got, r.Model)
				if r.Provider != "openai" || r.Bound <= 0 || r.InputTokensBound < 1000 || r.OutputTokensBound != 1000 {
					t.Errorf("%+v", r)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("rewrites %v, want %s", got, tt.want)
			}
		})
	}
}

func TestRewritesAreBounded(t *testing.T) {
	t.Parallel()
	config := "kind: Budget\nname: b\nlimit: 10 USD\nwindow: day\nmode: prefer-cheap\n---\nkind: Route\nname: r\nmodels: [any]\nmode: prefer-cheap\ntargets:\n"
	var prices strings.Builder
	for i := range 9 {
		model := fmt.Sprintf("m%d", i)
		if i == 1 {
			model += strings.Repeat("x", 200)
		}
		config += fmt.Sprintf("  - {provider: openai, model: %s}\n", model)
		fmt.Fprintf(&prices, "kind: Price\nname: p%d\nprovider: openai\nmodel: %s\nper_million: {input: %d, output: 1 USD}\n---\n", i, model, i+1)
	}
	call := testCall()
	call.Model = "any"
	d := (&Decider{Ledger: newMemoryLedger(), Estimator: tokens.New()}).Decide(t.Context(), compiled(t, prices.String()+config), call)
	if len(d.Rewrites) != maxRewrites || d.Rewrites[0].Model != "m0" || d.Rewrites[1].Model != "m2" {
		t.Errorf("%+v", d.Rewrites)
	}
}

func TestStartOrRewrite(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, testPrices)
	const bound, mini, nano = 2_800_000, 560_000, 140_000
	all := []Rewrite{
		{"openai", "gpt-4.1-nano", 1000, 100, nano}, {"openai", "gpt-4.1-mini", 1000, 100, mini}, {"xai", "grok", 1000, 100, 1000}, {"openai", "gpt-4.1", 1000, 100, bound},
	}
	for _, tt := range []struct {
		name            string
		mode            Mode
		before          pricing.NanoUSD
		provider, model string
		rewrites        []Rewrite
		want            string // model, bound, cost, broke, instead of, bound instead
	}{
		{"it fits", PreferCheap, 0, "openai", "gpt-4.1", all, "gpt-4.1 0.0028 0.0028 false  0"},
		{"the cheapest fits", PreferCheap, 1, "openai", "gpt-4.1", all, "gpt-4.1-nano 0.00014 0.00014 false gpt-4.1 0.0028"},
		{"not the same provider's", PreferCheap, 1, "openai", "gpt-4.1", all[2:3], "gpt-4.1 0.0028 0.0028 true  0"},
		{"another does not fit either", PreferCheap, bound - nano + 1, "openai", "gpt-4.1", all, "gpt-4.1 0.0028 0.0028 true  0"},
		{"to the nano-dollar", PreferCheap, bound - nano, "openai", "gpt-4.1", all, "gpt-4.1-nano 0.00014 0.00014 false gpt-4.1 0.0028"},
		{"not to one that is as dear", PreferCheap, 1, "openai", "gpt-4.1-mini", all[1:2], "gpt-4.1-mini 0.00056 0.00056 false  0"},
		{"an endpoint for a model without a price", PreferCheap, 0, "xai", "gpt-4.1", all, "grok 0.000001 0.000001 false gpt-4.1 0"},
		{"enforced", Enforce, 1, "openai", "gpt-4.1", all, "gpt-4.1 0.0028 0.0028 true  0"},
		{"observed", Observe, 1, "openai", "gpt-4.1", all, "gpt-4.1 0.0028 0.0028 true  0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := attemptCall(Envelope{Limit: bound, Unknown: ChargeFull, Mode: tt.mode})
			d.Rewrites = tt.rewrites
			a := cfg.StartOrRewrite(d, []Attempt{{Cost: tt.before}}, Attempt{Number: 2, Provider: tt.provider, Model: tt.model})
			if got := fmt.Sprint(a.Model, " ", a.Bound, " ", a.Cost, " ", a.Broke, " ", a.InsteadOf, " ", a.InsteadBound); got != tt.want || a.Number != 2 || (a.InsteadOf == "") == strings.Contains(a.Detail, "rewritten from "+a.InsteadOf) {
				t.Errorf("%s; %s, want %s", got, a.Detail, tt.want)
			}
		})
	}
}

// However attempts are rewritten, they keep to the envelope where any target of the provider fits, and never become dearer.
func TestRewritesKeepTheEnvelope(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, testPrices)
	bounds := map[string]pricing.NanoUSD{"gpt-4.1": 2_800_000, "gpt-4.1-mini": 560_000, "gpt-4.1-nano": 140_000}
	rapid.Check(t, func(t *rapid.T) {
		d := attemptCall(Envelope{Limit: pricing.NanoUSD(rapid.Int64Range(0, 6_000_000).Draw(t, "limit")), Unknown: ChargeFull, Mode: PreferCheap})
		d.Rewrites = []Rewrite{{"openai", "gpt-4.1-nano", 1000, 100, bounds["gpt-4.1-nano"]}, {"openai", "gpt-4.1-mini", 1000, 100, bounds["gpt-4.1-mini"]}}
		var rows []Attempt
		var spent pricing.NanoUSD
		for n := 1; n <= 5; n++ {
			model := rapid.SampledFrom([]string{"gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"}).Draw(t, "model")
			a := cfg.StartOrRewrite(d, rows, Attempt{Number: n, Provider: "openai", Model: model})
			left := d.Envelope.Limit - spent
			if a.Bound > bounds[model] || a.Bound != bounds[a.Model] || a.Broke != (bounds["gpt-4.1-nano"] > left) || !a.Broke && a.Bound > left || a.Broke && a.Model != model || (a.InsteadOf != "") != (a.Model != model) {
				t.Fatalf("%s USD are left: %s became %+v", left, model, a)
			}
			rows, spent = append(rows, a), spent+a.Cost
		}
	})
}
