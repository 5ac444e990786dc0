package pricing

import (
	"errors"
	"slices"
	"testing"

	"keel/pricing/meter"
)

func TestCharge(t *testing.T) {
	t.Parallel()
	usage := meter.Usage{meter.Input: 1000, meter.Output: 100}
	terms := Terms{At: at("2026-11-01")}
	for _, test := range []struct {
		name     string
		metered  Metered
		want     string
		unpriced []meter.Kind
		noPrice  bool
	}{
		{"the reported model", Metered{Usage: usage, Models: []string{"claude-sonnet-4-5-20250929", "claude-opus-4-6"}}, "0.0045", nil, false},
		{"the model asked for, where the reported one has no price", Metered{Usage: usage, Models: []string{"x-17", "claude-opus-4-6"}}, "0.0075", nil, false},
		{"no reported model", Metered{Usage: usage, Models: []string{"", "claude-opus-4-6"}}, "0.0075", nil, false},
		{"no price", Metered{Usage: usage, Models: []string{"x-17", ""}}, "0", nil, true},
		{"parts and not the total", Metered{Usage: meter.Usage{meter.Input: 9}, Models: []string{"claude-sonnet-4-5"}, Parts: []meter.Part{
			{Usage: usage}, {Model: "claude-opus-4-6", Usage: usage},
		}}, "0.012", nil, false},
		{"no parts is nothing", Metered{Usage: usage, Models: []string{"claude-sonnet-4-5"}, Parts: []meter.Part{}}, "0", nil, false},
		{"a part without a price", Metered{Usage: usage, Models: []string{"claude-sonnet-4-5"}, Parts: []meter.Part{{Usage: usage}, {Model: "x-17", Usage: usage}}}, "0", nil, true},
		{"a meter without a rate", Metered{Models: []string{"claude-sonnet-4-5"}, Parts: []meter.Part{
			{Usage: meter.Usage{meter.Input: 1000, meter.Pages: 1}}, {Usage: meter.Usage{meter.Pages: 2}},
		}}, "0.003", []meter.Kind{meter.Pages}, false},
	} {
		c, err := Catalog().Charge("anthropic", test.metered, terms)
		if errors.Is(err, ErrNoPrice) != test.noPrice || !test.noPrice && err != nil || c.Total.String() != test.want || !slices.Equal(c.Unpriced, test.unpriced) {
			t.Errorf("%s: %v without %v, %v; want %s without %v", test.name, c.Total, c.Unpriced, err, test.want, test.unpriced)
		}
		var sum NanoUSD
		for _, line := range c.Lines {
			sum += line.Amount
			if line.Price == "" {
				t.Errorf("%s: line %+v names no price", test.name, line)
			}
		}
		if sum != c.Total {
			t.Errorf("%s: lines sum to %v of %v", test.name, sum, c.Total)
		}
	}
	if _, err := Catalog().Charge("anthropic", Metered{Usage: meter.Usage{meter.Input: -1}, Models: []string{"claude-sonnet-4-5"}}, terms); err == nil || errors.Is(err, ErrNoPrice) {
		t.Errorf("a negative quantity: %v", err)
	}
}
