package pricing

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	t.Parallel()
	usd := func(s string) (int64, error) { n, err := ParseUSD(s); return int64(n), err }
	money := func(s string) (int64, error) { n, err := ParseMoney(s); return int64(n), err }
	rate := func(s string) (int64, error) { p, err := ParsePerMillion(s); return int64(p), err }
	for _, test := range []struct {
		name  string
		parse func(string) (int64, error)
		in    string
		want  int64
		err   string // part of the message
	}{
		{"dollars", usd, "2500", 2_500_000_000_000, ""},
		{"dollars", usd, "0", 0, ""},
		{"dollars", usd, "-0", 0, ""},
		{"dollars", usd, "0.000123", 123_000, ""},
		{"dollars", usd, "-1.5", -1_500_000_000, ""},
		{"dollars", usd, "007.10", 7_100_000_000, ""},
		{"dollars", usd, "0.000000001", 1, ""},
		{"dollars", usd, "1.0000000000", 1_000_000_000, ""},
		{"dollars", usd, "0.0000000001", 0, "more than 9 decimals"},
		{"dollars", usd, "9223372036.854775807", math.MaxInt64, ""},
		{"dollars", usd, "-9223372036.854775808", math.MinInt64, ""},
		{"dollars", usd, "9223372036.854775808", 0, "too large"},
		{"dollars", usd, strings.Repeat("9", 400), 0, "too large"},
		{"dollars", usd, "", 0, "not a decimal"},
		{"dollars", usd, "1e3", 0, "not a decimal"},
		{"dollars", usd, "1,000", 0, "not a decimal"},
		{"dollars", usd, "$5", 0, "not a decimal"},
		{"dollars", usd, ".5", 0, "not a decimal"},
		{"dollars", usd, "5.", 0, "not a decimal"},
		{"dollars", usd, "+5", 0, "not a decimal"},
		{"dollars", usd, "--5", 0, "not a decimal"},
		{"dollars", usd, "5 USD", 0, "not a decimal"},
		{"dollars", usd, "٣", 0, "not a decimal"},
		{"money", money, "2500 USD", 2_500_000_000_000, ""},
		{"money", money, " 1.50  USD ", 1_500_000_000, ""},
		{"money", money, "2500", 0, "has no currency"},
		{"money", money, "2500 EUR", 0, `currency "EUR" is not supported here`},
		{"money", money, "2500 usd", 0, "ISO 4217"},
		{"per million", rate, "1.25", 1_250_000, ""},
		{"per million", rate, "10 USD", 10_000_000, ""},
		{"per million", rate, "0.000001", 1, ""},
		{"per million", rate, "0.0000001", 0, "more than 6 decimals"},
		{"per million", rate, "-1", 0, "can't be negative"},
		{"per million", rate, "1 EUR", 0, "state it in USD"},
	} {
		got, err := test.parse(test.in)
		switch {
		case test.err == "" && (err != nil || got != test.want):
			t.Errorf("%s %q = %d, %v; want %d", test.name, test.in, got, err, test.want)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%s %q: error %v does not say %q", test.name, test.in, err, test.err)
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	for n, want := range map[NanoUSD]string{
		0: "0", 1: "0.000000001", 123_000: "0.000123", 2_500_000_000_000: "2500", -1_500_000_000: "-1.5",
		math.MaxInt64: "9223372036.854775807", math.MinInt64: "-9223372036.854775808",
	} {
		if got := n.String(); got != want {
			t.Errorf("%d = %q, want %q", int64(n), got, want)
		}
	}
	if got := PicoUSD(1_250_000).String(); got != "1.25 USD/million" {
		t.Errorf("rate = %q", got)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := NanoUSD(rapid.Int64().Draw(t, "n"))
		back, err := ParseUSD(n.String())
		if err != nil || back != n {
			t.Fatalf("%d -> %q -> %d, %v", int64(n), n, int64(back), err)
		}
		exact, ok := new(big.Rat).SetString(n.String())
		if !ok || exact.Cmp(big.NewRat(int64(n), 1e9)) != 0 {
			t.Fatalf("%d reads as %q", int64(n), n)
		}
		var decoded struct{ N NanoUSD }
		text, err := json.Marshal(struct{ N NanoUSD }{n})
		if err == nil {
			err = json.Unmarshal(text, &decoded)
		}
		if err != nil || decoded.N != n {
			t.Fatalf("%d -> %s -> %d, %v", int64(n), text, int64(decoded.N), err)
		}
	})
}

func TestAddAndPercent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		percent := rapid.IntRange(0, 1000).Draw(t, "percent")
		sum := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		got, err := NanoUSD(a).Add(NanoUSD(b))
		if sum.IsInt64() != (err == nil) || (err == nil && int64(got) != sum.Int64()) {
			t.Fatalf("%d + %d = %d, %v", a, b, int64(got), err)
		}
		share := new(big.Int).Mul(big.NewInt(a), big.NewInt(int64(percent)))
		share.Quo(share, big.NewInt(100))
		got, err = NanoUSD(a).Percent(percent)
		if err != nil && !errors.Is(err, ErrOverflow) {
			t.Fatal(err)
		}
		// The one value that magnitudes can't hold, the least NanoUSD, is refused.
		if err == nil && int64(got) != share.Int64() || err != nil && share.IsInt64() && share.Int64() != math.MinInt64 {
			t.Fatalf("%d%% of %d = %d, %v; want %v", percent, a, int64(got), err, share)
		}
	})
}

func FuzzParseMoney(f *testing.F) {
	for _, seed := range []string{"2500 USD", "1.25", "-0.1 EUR", "1e9 USD", "  ", "0.0000000001 USD"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseMoney(s); err == nil {
			if back, err := ParseMoney(n.String() + " USD"); err != nil || back != n {
				t.Fatalf("%q = %v reads back as %v, %v", s, n, back, err)
			}
		}
		ParsePerMillion(s)
	})
}
