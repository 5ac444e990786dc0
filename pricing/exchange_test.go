package pricing

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keel/pricing/meter"
)

func exchange(from, to, rate, since string) Exchange {
	d, err := ParseDecimal(rate)
	if err != nil {
		panic(err)
	}
	x := Exchange{From: from, To: to, Rate: d}
	if since != "" {
		x.EffectiveFrom = at(since).Truncate(24 * 3600e9)
	}
	return x
}

func TestExchange(t *testing.T) {
	t.Parallel()
	book, err := Catalog().WithExchange([]Exchange{
		exchange("EUR", "USD", "1.08", "2026-01-01"), exchange("EUR", "USD", "1.1", "2026-06-01"), exchange("USD", "CNY", "8", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	euro, yuan := row("openai", "gpt-5", "", "", "", 10_000_000), row("deepseek", "deepseek-chat", "", "", "", 2_000_000)
	euro.Currency, yuan.Currency = "EUR", "CNY"
	if book, err = book.With([]Price{euro, yuan}); err != nil {
		t.Fatal(err)
	}
	usage := &meter.Usage{meter.Input: 1_000_000, meter.Output: 1_000_000}
	for _, test := range []struct{ provider, model, day, want, rate string }{
		{"openai", "gpt-5", "2026-05-31", "54", "EUR/USD=1.08@2026-01-01T00:00:00Z"},
		{"openai", "gpt-5", "2026-06-01", "55", "EUR/USD=1.1@2026-06-01T00:00:00Z"},
		{"deepseek", "deepseek-chat", "2026-06-01", "1.25", "USD/CNY=8"},
		{"openai", "gpt-4o", "2026-06-01", "12.5", ""},
	} {
		r, ok := book.Rates(test.provider, test.model, Terms{At: at(test.day)})
		if !ok {
			t.Errorf("%s on %s has no price", test.model, test.day)
			continue
		}
		c, err := r.Cost(usage)
		rate := ""
		if c.Exchange != nil {
			rate = c.Exchange.String()
		}
		if err != nil || c.Total.String() != test.want || rate != test.rate {
			t.Errorf("%s on %s costs %v by %q, %v; want %s by %q", test.model, test.day, c.Total, rate, err, test.want, test.rate)
		}
	}
	// A price in force without an exchange rate in force is no price, and not the list's.
	if r, ok := book.Rates("openai", "gpt-5", Terms{At: at("2025-12-31")}); ok {
		t.Errorf("%s is a price before the first exchange rate", r.ID)
	}
	if n, x, err := book.USD(Amount{2_500_000_000_000, "EUR"}, at("2026-06-02")); err != nil || n.String() != "2750" || x.Rate.String() != "1.1" {
		t.Errorf("2500 EUR are %v by %v, %v", n, x, err)
	}
	if _, _, err := book.USD(Amount{1, "GBP"}, at("2026-06-02")); !errors.Is(err, ErrNoExchange) {
		t.Errorf("GBP: %v", err)
	}
	if again, err := book.With([]Price{yuan}); err != nil || again.Version() == book.Version() {
		t.Errorf("With loses the exchange rates or the version stays: %v", err)
	}
}

func TestExchangeRefuses(t *testing.T) {
	t.Parallel()
	euro := row("openai", "gpt-5", "", "", "", 1)
	euro.Currency = "EUR"
	if _, err := Catalog().With([]Price{euro}); err == nil || !strings.Contains(err.Error(), "no exchange rate") {
		t.Errorf("a price without an exchange rate: %v", err)
	}
	euro.Currency = "euro"
	if _, err := Catalog().With([]Price{euro}); err == nil || !strings.Contains(err.Error(), "ISO 4217") {
		t.Errorf("a currency that is none: %v", err)
	}
	for message, rates := range map[string][]Exchange{
		"ISO 4217":       {exchange("eur", "USD", "1", "")},
		"to itself":      {exchange("USD", "USD", "1", "")},
		"one of them":    {exchange("EUR", "GBP", "1", "")},
		"more than 0":    {exchange("EUR", "USD", "0", "")},
		"is there twice": {exchange("EUR", "USD", "1", "2026-01-01"), exchange("USD", "EUR", "1", "2026-01-01")},
	} {
		if _, err := Catalog().WithExchange(rates); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%v: error %v does not say %q", rates, err, message)
		}
	}
	for _, s := range []string{"1.1.1", "", "1e3", "+1", "0.1234567890123456789"} {
		if d, err := ParseDecimal(s); err == nil {
			t.Errorf("%q is read as %s", s, d)
		}
	}
}

func TestAmount(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Amount{"10 USD": {10_000_000_000, "USD"}, "9.5 EUR": {9_500_000_000, "EUR"}, "-0.000000001 JPY": {-1, "JPY"}} {
		a, err := ParseAmount(text)
		if err != nil || a != want || a.String() != text {
			t.Errorf("%q is read as %v, %v", text, a, err)
		}
	}
	for _, text := range []string{"10", "10 eur", "10 EURO", "ten EUR", "1.0000000001 EUR", ""} {
		if a, err := ParseAmount(text); err == nil {
			t.Errorf("%q is read as %v", text, a)
		}
	}
	if rate, currency, err := ParseRate("9.5 EUR", PerMillion); err != nil || rate != 9_500_000 || currency != "EUR" {
		t.Errorf("rate = %v %s, %v", rate, currency, err)
	}
	if rate, currency, err := ParseRate("0.0025", PerUnit); err != nil || rate != 2_500_000_000 || currency != USD {
		t.Errorf("rate = %v %s, %v", rate, currency, err)
	}
}

// TestExchangedIsExact compares with arbitrary precision: one rounding, and lines that sum to the total.
func TestExchangedIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x := &Exchange{From: "EUR", To: "USD", Rate: Decimal{rapid.Int64Range(1, 1<<40).Draw(t, "digits"), uint8(rapid.IntRange(0, maxPlaces).Draw(t, "places"))}}
		if rapid.Bool().Draw(t, "inverse") {
			x.From, x.To = x.To, x.From
		}
		r := &Rates{exchange: x}
		var u meter.Usage
		var table table
		exact := new(big.Int)
		for _, kind := range []meter.Kind{meter.Input, meter.CachedInput, meter.Output} {
			u[kind] = rapid.Int64Range(0, 1<<30).Draw(t, "quantity")
			table.set(kind, PicoUSD(rapid.Int64Range(0, 1<<34).Draw(t, "rate")))
			exact.Add(exact, new(big.Int).Mul(big.NewInt(u[kind]), big.NewInt(int64(table.rates[kind]))))
		}
		value := new(big.Rat).SetFrac(exact, big.NewInt(1000))
		rate := new(big.Rat).SetFrac(big.NewInt(x.Rate.Digits), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(x.Rate.Places)), nil))
		if x.From == USD {
			value.Quo(value, rate)
		} else {
			value.Mul(value, rate)
		}
		c, err := table.cost(&u, halfEven, r)
		if value.Cmp(new(big.Rat).SetInt64(math.MaxInt64)) > 0 {
			if !errors.Is(err, ErrOverflow) {
				t.Fatalf("%v: %v, %v", value, c.Total, err)
			}
			return
		}
		off := new(big.Rat).Sub(value, new(big.Rat).SetInt64(int64(c.Total)))
		if err != nil || off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Fatalf("%s is %d, %v", value.FloatString(6), int64(c.Total), err)
		}
		var sum NanoUSD
		for _, line := range c.Lines {
			sum += line.Amount
		}
		if sum != c.Total {
			t.Fatalf("lines sum to %d, the total is %d", sum, c.Total)
		}
	})
}
