package pricing

import (
	"testing"

	"keel/pricing/meter"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	priced := func(usd string) Cost {
		n, err := ParseUSD(usd)
		if err != nil {
			t.Fatal(err)
		}
		return Cost{Total: n}
	}
	unpriced := priced("1")
	unpriced.Unpriced = []meter.Kind{meter.WebSearch}
	for _, test := range []struct {
		ours     Cost
		reported string
		nano     NanoUSD
		ppm      int64
		want     Agreement
	}{
		{priced("0.0012345"), "0.0012345", 0, 0, Equal},
		{priced("0.0012345"), "0.00123450000000000003", 0, 0, Equal}, // floating-point noise
		{priced("1.01"), "1", 10_000_000, 10_000, Close},
		{priced("0.99"), "1", -10_000_000, -10_000, Close},
		{priced("1.010001"), "1", 10_001_000, 10_001, Over},
		{priced("0.5"), "1", -500_000_000, -500_000, Under},
		{priced("0"), "0", 0, 0, Equal},
		{priced("0.1"), "0", 100_000_000, MaxPPM, Over},
		{priced("9000000000"), "0.000000001", 8_999_999_999_999_999_999, MaxPPM, Over},
		{priced("9000000000"), "-9000000000", 1<<63 - 1, MaxPPM, Over}, // a refund
		{unpriced, "1", 0, 0, Unpriced},
	} {
		d, ok := Compare(test.ours, test.reported)
		if !ok || d.Nano != test.nano || d.PPM != test.ppm || d.Agreement != test.want {
			t.Errorf("%v beside %s: %+v, %t; want %d, %d, %s", test.ours.Total, test.reported, d, ok, int64(test.nano), test.ppm, test.want)
		}
	}
	for _, reported := range []string{"", "1e-3", "free", "1,5", "10000000000", "."} {
		if d, ok := Compare(priced("1"), reported); ok {
			t.Errorf("%q is a reported cost: %+v", reported, d)
		}
	}
}

func TestParseReported(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]NanoUSD{
		"0.0000000005": 0, "0.0000000015": 2, "0.00000000051": 1, "-0.0000000015": -2, "12": 12_000_000_000, "0.1": 100_000_000, "00.10": 100_000_000,
	} {
		if got, err := ParseReported(text); err != nil || got != want {
			t.Errorf("%s = %d, %v; want %d", text, int64(got), err, int64(want))
		}
	}
}

func FuzzParseReported(f *testing.F) {
	for _, seed := range []string{"0.000123", "-1.5", "0.00000000000000000001", "9223372036.854775807", "1e9", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseReported(s)
		if err != nil {
			return
		}
		if back, err := ParseReported(n.String()); err != nil || back != n {
			t.Errorf("%q -> %v -> %v, %v", s, n, back, err)
		}
	})
}
