package ledger

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"keel/pricing"
	"keel/pricing/meter"
)

type priceColumns struct {
	Provider      string        `json:"provider"`
	Model         string        `json:"model"`
	EffectiveFrom *time.Time    `json:"effective_from"`
	Contract      string        `json:"contract"`
	ServiceTier   string        `json:"service_tier"`
	Region        string        `json:"region"`
	SearchContext string        `json:"search_context"`
	Daily         string        `json:"daily"`
	Currency      string        `json:"currency"` // of the rates
	Rates         []rateColumns `json:"rates"`
}

// rateColumns are the rates of a step, by meter. A meter is in one of the two.
type rateColumns struct {
	Above      int64                  `json:"above"`
	PerMillion map[string]json.Number `json:"per_million,omitempty"`
	PerUnit    map[string]json.Number `json:"per_unit,omitempty"`
}

type exchangeColumns struct {
	From          string      `json:"from"`
	To            string      `json:"to"`
	Rate          json.Number `json:"rate"`
	EffectiveFrom *time.Time  `json:"effective_from"`
}

// finite is a time as its column has it: null for always.
func finite(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func always(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func encodePrice(p pricing.Price) priceColumns {
	c := priceColumns{
		Provider: p.Provider, Model: p.Model, EffectiveFrom: finite(p.EffectiveFrom), Contract: p.Contract, ServiceTier: p.ServiceTier,
		Region: p.Region, SearchContext: p.SearchContext, Daily: p.Daily.String(), Currency: cmp.Or(p.Currency, pricing.USD),
		Rates: make([]rateColumns, 0, len(p.Tiers)),
	}
	for _, step := range p.Tiers {
		rates := rateColumns{step.Above, map[string]json.Number{}, map[string]json.Number{}}
		for kind, rate := range step.Rates {
			if pricing.ByMillion(kind) {
				rates.PerMillion[kind.String()] = json.Number(rate.PerMillion())
			} else {
				rates.PerUnit[kind.String()] = json.Number(rate.PerUnit())
			}
		}
		c.Rates = append(c.Rates, rates)
	}
	return c
}

// price is the inverse of encodePrice.
func (c *priceColumns) price() (pricing.Price, error) {
	p := pricing.Price{
		Provider: c.Provider, Model: c.Model, EffectiveFrom: always(c.EffectiveFrom), Contract: c.Contract, ServiceTier: c.ServiceTier,
		Region: c.Region, SearchContext: c.SearchContext,
	}
	if c.Currency != pricing.USD {
		p.Currency = c.Currency
	}
	var err error
	if p.Daily, err = pricing.ParseHours(c.Daily); err != nil {
		return p, fmt.Errorf("daily: %w", err)
	}
	for _, r := range c.Rates {
		step := pricing.Step{Above: r.Above, Rates: make(map[meter.Kind]pricing.PicoUSD, len(r.PerMillion)+len(r.PerUnit))}
		if err := parseRates(step.Rates, r.PerMillion, pricing.PerMillion); err != nil {
			return p, err
		}
		if err := parseRates(step.Rates, r.PerUnit, pricing.PerUnit); err != nil {
			return p, err
		}
		p.Tiers = append(p.Tiers, step)
	}
	return p, nil
}

func parseRates(into map[meter.Kind]pricing.PicoUSD, rates map[string]json.Number, scale int) error {
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		kind, err := meter.ParseKind(name)
		if err != nil {
			return fmt.Errorf("rates: %w", err)
		}
		if _, twice := into[kind]; twice {
			return fmt.Errorf("rates: %s is there twice, per_million and per_unit", name)
		}
		if into[kind], _, err = pricing.ParseRate(rates[name].String(), scale); err != nil {
			return fmt.Errorf("rates: %s: %w", name, err)
		}
	}
	return nil
}

func (c *exchangeColumns) exchange() (pricing.Exchange, error) {
	rate, err := pricing.ParseDecimal(c.Rate.String())
	if err != nil {
		return pricing.Exchange{}, fmt.Errorf("rate: %w", err)
	}
	return pricing.Exchange{From: c.From, To: c.To, Rate: rate, EffectiveFrom: always(c.EffectiveFrom)}, nil
}
