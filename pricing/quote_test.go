package pricing

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keel/pricing/meter"
)

// A quote is the total that a bill of the same table comes to, or fails as that does.
func TestQuoteIsTotalOfBill(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var u meter.Usage
		rates := map[meter.Kind]PicoUSD{}
		for kind := range meter.Kind(meter.NumKinds) {
			if rapid.Bool().Draw(t, "has "+kind.String()) {
				rates[kind] = PicoUSD(rapid.OneOf(rapid.Int64Range(0, 100_000_000), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "rate"))
			}
			if rapid.Bool().Draw(t, "metered") {
				u[kind] = rapid.OneOf(rapid.Int64Range(-1, 400_000), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "quantity")
			}
		}
		r := ratesOf("openai", Step{Rates: rates})
		table := &r.steps[0].table
		bill, billErr := table.cost(&u, up, r)
		quote, err := table.quote(&u, r)
		if (err == nil) != (billErr == nil) || quote.Total != bill.Total || !slices.Equal(quote.Unpriced, bill.Unpriced) {
			t.Fatalf("quote %+v, %v; bill %+v, %v", quote, err, bill, billErr)
		}
	})
}

// An estimate asks for two quotes a target: neither allocates.
func TestQuoteAllocatesNothing(t *testing.T) {
	r, _ := Catalog().Rates("google", "gemini-2.5-pro", Terms{At: at("2026-11-01")})
	u := &meter.Usage{meter.Input: 300_000, meter.Output: 300}
	if n := testing.AllocsPerRun(100, func() {
		_, _ = r.CostUp(u)
		_, _ = r.HoldCost(u)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
