package pricing

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keel/pricing/meter"
)

func ratesOf(provider string, steps ...Step) *Rates {
	return newRates("test", &Price{Provider: provider, Model: "m", Tiers: steps})
}

// TestCostIsExact compares with arbitrary precision, overflow included.
func TestCostIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		quantity := rapid.OneOf(rapid.Int64Range(0, 2_000), rapid.Int64Range(0, 1<<40), rapid.Int64Range(0, math.MaxInt64))
		rate := rapid.OneOf(rapid.Int64Range(0, 2_000), rapid.Int64Range(0, 1<<34), rapid.Int64Range(0, math.MaxInt64))
		up := rapid.Bool().Draw(t, "up")
		var u meter.Usage
		var table table
		exact := new(big.Int)
		for kind := range meter.Kind(meter.NumKinds) {
			if kind == meter.Calls || unbilled(kind) || rapid.Bool().Draw(t, "unused") {
				continue
			}
			u[kind] = quantity.Draw(t, "quantity")
			table.set(kind, PicoUSD(rate.Draw(t, "rate")))
			exact.Add(exact, new(big.Int).Mul(big.NewInt(u[kind]), big.NewInt(int64(table.rates[kind]))))
		}
		want, rest := new(big.Int).QuoRem(exact, big.NewInt(1000), new(big.Int))
		r := rest.Int64()
		if up && r > 0 || !up && (r > 500 || r == 500 && want.Bit(0) == 1) {
			want.Add(want, big.NewInt(1))
		}
		c, err := table.cost(&u, rounding(up), &Rates{})
		if !want.IsInt64() {
			if !errors.Is(err, ErrOverflow) {
				t.Fatalf("cost of %v pico-dollars = %v, %v; want an overflow", exact, c.Total, err)
			}
			return
		}
		if err != nil || int64(c.Total) != want.Int64() {
			t.Fatalf("cost = %d, %v; want %v", int64(c.Total), err, want)
		}
		sum := new(big.Int)
		for _, line := range c.Lines {
			sum.Add(sum, big.NewInt(int64(line.Amount)))
			part := new(big.Int).Mul(big.NewInt(line.Quantity), big.NewInt(int64(line.Rate)))
			off := new(big.Int).Sub(part, new(big.Int).Mul(big.NewInt(int64(line.Amount)), big.NewInt(1000)))
			if off.CmpAbs(big.NewInt(1000)) >= 0 {
				t.Fatalf("line %+v is off by %v pico-dollars", line, off)
			}
		}
		if sum.Cmp(want) != 0 {
			t.Fatalf("lines sum to %v, the total is %v", sum, want)
		}
	})
}

func TestCostRules(t *testing.T) {
	t.Parallel()
	plain := map[meter.Kind]PicoUSD{meter.Input: 3_000_000, meter.Output: 15_000_000}
	for _, test := range []struct {
		name     string
		provider string
		rates    map[meter.Kind]PicoUSD
		usage    meter.Usage
		want     string
		unpriced []meter.Kind
	}{
		{"nothing", "openai", plain, meter.Usage{}, "0", nil},
		{"tokens", "openai", plain, meter.Usage{meter.Input: 1000, meter.Output: 100}, "0.0045", nil},
		{"reasoning is output", "openai", plain, meter.Usage{meter.Reasoning: 100}, "0.0015", nil},
		{"cached without a rate is input", "openai", plain, meter.Usage{meter.CachedInput: 1000}, "0.003", nil},
		{"cache write is input where writes are free", "openai", plain, meter.Usage{meter.CacheWrite5m: 1000}, "0.003", nil},
		{"cache write elsewhere is unpriced", "anthropic", plain, meter.Usage{meter.Input: 1000, meter.CacheWrite5m: 1000}, "0.003", []meter.Kind{meter.CacheWrite5m}},
		{"hour of cache is unpriced", "openai", plain, meter.Usage{meter.CacheWrite1h: 1}, "0", []meter.Kind{meter.CacheWrite1h}},
		{"images are input", "openai", plain, meter.Usage{meter.InputImage: 1000}, "0.003", nil},
		{"no other rate", "openai", plain, meter.Usage{meter.InputAudio: 1, meter.OutputAudio: 1, meter.OutputImage: 1, meter.WebSearch: 1, meter.Calls: 1},
			"0", []meter.Kind{meter.InputAudio, meter.OutputAudio, meter.OutputImage, meter.WebSearch, meter.Calls}},
		{"cached audio is audio", "openai", map[meter.Kind]PicoUSD{meter.InputAudio: 40_000_000}, meter.Usage{meter.CachedInputAudio: 1000}, "0.04", nil},
		{"video is input, as images are", "google", plain, meter.Usage{meter.InputVideo: 1000}, "0.003", nil},
		{"video at the rate of images", "google", map[meter.Kind]PicoUSD{meter.Input: 1, meter.InputImage: 2_000_000}, meter.Usage{meter.InputVideo: 1000}, "0.002", nil},
		{"cached images are cached input", "google", map[meter.Kind]PicoUSD{meter.Input: 2_000_000, meter.CachedInput: 1_000_000}, meter.Usage{meter.CachedInputImage: 1000}, "0.001", nil},
		{"cached images are images where those have a rate", "openai", map[meter.Kind]PicoUSD{meter.CachedInput: 1_000_000, meter.InputImage: 2_000_000}, meter.Usage{meter.CachedInputImage: 1000}, "0.002", nil},
		{"unbilled is free and priced", "cohere", plain, meter.Usage{meter.Input: 1000, meter.UnbilledInput: 5000, meter.UnbilledCachedInput: 10, meter.UnbilledOutput: 9}, "0.003", nil},
		{"nothing else has a rate by itself", "openai", plain, meter.Usage{meter.OutputVideo: 1, meter.FileSearch: 1, meter.CodeInterpreter: 1, meter.HostedTools: 1, meter.SearchUnits: 1,
			meter.Pages: 1, meter.InputSeconds: 1, meter.OutputSeconds: 1, meter.Characters: 1, meter.Images: 1, meter.CacheStorage: 1}, "0",
			[]meter.Kind{meter.OutputVideo, meter.FileSearch, meter.CodeInterpreter, meter.HostedTools, meter.SearchUnits, meter.Pages, meter.InputSeconds,
				meter.OutputSeconds, meter.Characters, meter.Images, meter.CacheStorage}},
		{"a call fee is always due", "perplexity", map[meter.Kind]PicoUSD{meter.Calls: 5_000_000_000}, meter.Usage{}, "0.005", nil},
		{"free is a price", "openrouter", map[meter.Kind]PicoUSD{meter.Input: 0, meter.Output: 0}, meter.Usage{meter.Input: 5, meter.Output: 5}, "0", nil},
	} {
		c, err := ratesOf(test.provider, Step{Rates: test.rates}).Cost(&test.usage)
		if err != nil || c.Total.String() != test.want || !slices.Equal(c.Unpriced, test.unpriced) {
			t.Errorf("%s: %v without %v, %v; want %s without %v", test.name, c.Total, c.Unpriced, err, test.want, test.unpriced)
		}
		if c.Priced() != (len(test.unpriced) == 0) {
			t.Errorf("%s: Priced = %t", test.name, c.Priced())
		}
	}
	if c, err := ratesOf("openai", Step{Rates: plain}).Cost(&meter.Usage{meter.Input: -1}); err == nil {
		t.Errorf("a negative quantity costs %v", c.Total)
	}
}

func TestRounding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pico         PicoUSD
		even, upward NanoUSD
	}{{499, 0, 1}, {500, 0, 1}, {501, 1, 1}, {1000, 1, 1}, {1500, 2, 2}, {2500, 2, 3}} {
		r := ratesOf("openai", Step{Rates: map[meter.Kind]PicoUSD{meter.Input: test.pico}})
		usage := &meter.Usage{meter.Input: 1}
		even, _ := r.Cost(usage)
		upward, _ := r.CostUp(usage)
		if even.Total != test.even || upward.Total != test.upward {
			t.Errorf("%d pico-dollars: %d and %d up, want %d and %d", test.pico, int64(even.Total), int64(upward.Total), test.even, test.upward)
		}
	}
}

func TestStepsAreCliffs(t *testing.T) {
	t.Parallel()
	r := ratesOf("google",
		Step{Rates: map[meter.Kind]PicoUSD{meter.Input: 1_250_000, meter.Output: 10_000_000}},
		Step{Above: 200_000, Rates: map[meter.Kind]PicoUSD{meter.Input: 2_500_000, meter.Output: 15_000_000}})
	for _, test := range []struct {
		usage meter.Usage
		want  string
	}{
		{meter.Usage{meter.Input: 200_000, meter.Output: 1000}, "0.26"},
		{meter.Usage{meter.Input: 200_001, meter.Output: 1000}, "0.5150025"},
		{meter.Usage{meter.Input: 1, meter.CachedInput: 200_000}, "0.5000025"}, // all input counts
	} {
		c, err := r.Cost(&test.usage)
		if err != nil || c.Total.String() != test.want {
			t.Errorf("%v = %v, %v; want %s", test.usage, c.Total, err, test.want)
		}
	}
}

// TestHoldCost: whatever a call within the quantities turns out to use, it
// costs no more than was held.
func TestHoldCost(t *testing.T) {
	t.Parallel()
	names := [][2]string{{"openai", "gpt-4o"}, {"openai", "gpt-5.4"}, {"openai", "gpt-audio"}, {"anthropic", "claude-sonnet-4-5"}, {"google", "gemini-2.5-pro"}, {"google", "gemini-2.5-flash-image"}}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "model")
		r, ok := Catalog().Rates(name[0], name[1], Terms{At: at("2026-11-01")})
		if !ok {
			t.Fatalf("%v has no rates", name)
		}
		input, output := rapid.Int64Range(0, 400_000).Draw(t, "input"), rapid.Int64Range(0, 400_000).Draw(t, "output")
		held, err := r.HoldCost(&meter.Usage{meter.Input: input, meter.Output: output})
		if err != nil || !held.Priced() {
			t.Fatalf("hold: %+v, %v", held, err)
		}
		var u meter.Usage
		for _, kind := range append([]meter.Kind{meter.Input}, heldAsInput...) {
			u[kind] = rapid.Int64Range(0, input).Draw(t, kind.String())
			input -= u[kind]
		}
		for _, kind := range append([]meter.Kind{meter.Output}, heldAsOutput...) {
			u[kind] = rapid.Int64Range(0, output).Draw(t, kind.String())
			output -= u[kind]
		}
		actual, err := r.Cost(&u)
		if err != nil || actual.Total > held.Total {
			t.Fatalf("%v: held %v for a call that cost %v (%v)", name, held.Total, actual.Total, err)
		}
	})
	if _, err := ratesOf("openai", Step{Rates: map[meter.Kind]PicoUSD{meter.Input: 1}}).HoldCost(&meter.Usage{meter.Input: math.MaxInt64, meter.CachedInput: 1}); !errors.Is(err, ErrOverflow) {
		t.Errorf("quantities that overflow: %v", err)
	}
}

func BenchmarkCost(b *testing.B) {
	r, _ := Catalog().Rates("openai", "gpt-5", Terms{At: at("2026-11-01")})
	u := &meter.Usage{meter.Input: 1200, meter.CachedInput: 800, meter.Output: 300, meter.Reasoning: 64}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Cost(u); err != nil {
			b.Fatal(err)
		}
	}
}
