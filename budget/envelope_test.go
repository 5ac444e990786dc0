package budget

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// attemptCall is a decision as it travels with a call: 1,000 input and 100 output tokens at most, at gpt-4.1.
func attemptCall(v Envelope) *Decision {
	return &Decision{
		Call: Call{Org: DefaultOrg, At: testTime}, RoutedProvider: "openai", RoutedModel: "gpt-4.1", Envelope: v,
		Estimate: Estimate{InputTokensBound: 1000, OutputTokensBound: 100, Bound: 2_800_000}, // 0.0028 USD
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, testPrices)
	const bound = 2_800_000
	for _, tt := range []struct {
		name    string
		limit   pricing.NanoUSD
		unknown UnknownAttempt
		before  []Attempt
		model   string
		want    string // bound, cost, basis, broke
	}{
		{"the first", bound, ChargeFull, nil, "gpt-4.1", "0.0028 0.0028 full false"},
		{"charged its input", bound, ChargeInput, nil, "gpt-4.1", "0.0028 0.002 input false"},
		{"charged nothing", bound, ChargeNone, nil, "gpt-4.1", "0.0028 0 nothing false"},
		{"nothing is left", bound, ChargeFull, []Attempt{{Cost: 1}}, "gpt-4.1", "0.0028 0.0028 full true"},
		{"exactly enough is left", 2 * bound, ChargeFull, []Attempt{{Cost: bound}}, "gpt-4.1", "0.0028 0.0028 full false"},
		{"a nano-dollar is missing", 2*bound - 1, ChargeFull, []Attempt{{Cost: bound}}, "gpt-4.1", "0.0028 0.0028 full true"},
		{"at the prices of its endpoint", bound, ChargeFull, []Attempt{{Cost: 0}}, "gpt-4.1-nano", "0.00014 0.00014 full false"},
		{"an endpoint without a price", bound, ChargeInput, nil, "unheard-of", "0.0028 0.0028 full true"},
		{"more than can be counted", math.MaxInt64, ChargeFull, []Attempt{{Cost: math.MaxInt64}, {Cost: 1}}, "gpt-4.1", "0.0028 0.0028 full true"},
	} {
		a := cfg.Start(attemptCall(Envelope{Limit: tt.limit, Unknown: tt.unknown}), tt.before, Attempt{Provider: "openai", Model: tt.model})
		if got := fmt.Sprint(a.Bound, " ", a.Cost, " ", a.Basis, " ", a.Broke); got != tt.want || a.Ended != AttemptLost || a.Broke == (a.Detail == "") {
			t.Errorf("%s: %s, %+v; want %s", tt.name, got, a, tt.want)
		}
	}
}

// Whatever attempts do, if each costs at most its bound and lost ones are charged in full, those that were let
// out cost no more than the envelope, and the closeout is their sum to the nano-dollar.
func TestEnvelopeHolds(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, testPrices)
	rapid.Check(t, func(t *rapid.T) {
		d := attemptCall(Envelope{Unknown: ChargeFull, Mode: Enforce})
		d.Envelope.Limit = d.Estimate.Bound * pricing.NanoUSD(rapid.IntRange(1, 4).Draw(t, "attempts"))
		var rows []Attempt
		last, answered := 0, false
		c := &Closeout{CostKnown: true, Metered: NothingSeen}
		for n := 1; n <= 8 && !answered; n++ {
			a := cfg.Start(d, rows, Attempt{Number: n, Provider: "openai", Model: rapid.SampledFrom([]string{"gpt-4.1", "gpt-4.1-mini"}).Draw(t, "model")})
			usage := &meter.Usage{meter.Input: rapid.Int64Range(0, 1000).Draw(t, "input"), meter.Output: rapid.Int64Range(0, 100).Draw(t, "output")}
			at := *d
			at.RoutedModel = a.Model
			switch end := rapid.SampledFrom([]AttemptEnd{AttemptLost, AttemptFailed, AttemptAnswered}).Draw(t, "end"); {
			case a.Broke:
				a.Refuse()
				c.Attempts = n
			case end == AttemptFailed && rapid.Bool().Draw(t, "billed"):
				a.Fail(cfg, d, 503, &Reported{Usage: usage})
			case end == AttemptFailed:
				a.Fail(cfg, d, 503, &Reported{})
			case end == AttemptAnswered:
				a.Ended, answered, last = end, true, n
				at.ChargeUsage(c, cfg, &Reported{Usage: usage})
			}
			rows = append(rows, a)
			if a.Ended == AttemptRefused {
				break
			}
		}
		c.Attempts = len(rows)
		d.AddAttempts(c, cfg, rows, last, answered)
		spent, err := Spent(rows)
		if err != nil || spent > d.Envelope.Limit {
			t.Fatalf("%s USD spent of an envelope of %s: %+v", spent, d.Envelope.Limit, rows)
		}
		if c.Cost.Total != spent || !c.CostKnown {
			t.Fatalf("closed out with %s USD, the attempts cost %s: %+v", c.Cost.Total, spent, rows)
		}
		unsure, used := false, meter.Usage{}
		for _, a := range rows {
			unsure = unsure || a.Unsure()
			if a.Usage != nil {
				for kind, n := range a.Usage {
					used[kind] += n
				}
			}
		}
		if unsure != (c.Metered == ByEstimate) || c.Usage != nil && *c.Usage != used || c.Usage == nil && used != (meter.Usage{}) {
			t.Fatalf("metered %s, %v; the attempts: %+v", c.Metered, c.Usage, rows)
		}
	})
}

func TestEnvelopeOfBudgets(t *testing.T) {
	t.Parallel()
	const budgets = "kind: Budget\nname: a\nlimit: 10 USD\nwindow: day\nmode: %s\n---\nkind: Budget\nname: b\nlimit: 10 USD\nwindow: day\nmode: %s\n---\n"
	for _, tt := range []struct {
		one, other, more string
		mode             Mode
		attempts         int64
	}{
		{"observe", "observe", "", Observe, 1},
		{"observe", "prefer-cheap", "", PreferCheap, 1},
		{"enforce", "prefer-cheap", "", Enforce, 1},
		{"prefer-cheap", "enforce", "kind: Settings\nname: default\nmax_attempts: 3\n", Enforce, 3},
		{"enforce", "observe", "kind: Settings\nname: default\nmax_attempts: 3\n---\nkind: Route\nname: r\nmodels: [gpt-4.1]\nmax_attempts: 2\ntargets: [{provider: openai, model: gpt-4.1}]\n", Enforce, 2},
	} {
		cfg, ledger, call := compiled(t, testPrices+fmt.Sprintf(budgets, tt.one, tt.other)+tt.more), newMemoryLedger(), testCall()
		d := (&Decider{Ledger: ledger, Estimator: tokens.New()}).Decide(t.Context(), cfg, call)
		v := d.Envelope
		if v.Mode != tt.mode || v.Attempts != tt.attempts || v.Limit != d.Estimate.Bound*pricing.NanoUSD(tt.attempts) || v.Unknown != ChargeFull {
			t.Errorf("%s and %s: %+v", tt.one, tt.other, v)
		}
		for _, h := range d.Holds {
			if h.Amount != v.Limit {
				t.Errorf("%s holds %s of an envelope of %s", h.Budget, h.Amount, v.Limit)
			}
		}
	}
}
