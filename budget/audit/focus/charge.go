package focus

import (
	"cmp"
	"fmt"
	"math/big"
	"strings"
	"time"

	"keel/budget/audit/spend"
	"keel/pricing"
	"keel/pricing/meter"
)

// charge is the money of one row. Decimals are times 10^18, and costs are exactly price × quantity.
type charge struct {
	meter, consumedUnit, pricingUnit, price string
	consumed, quantity                      *big.Int
	contractedPrice, contractedCost         *big.Int
	listPrice, listCost                     *big.Int
	listKnown                               bool
	effective                               *big.Int

	currency                     string // of the price
	ownPrice, ownCost, ownedList *big.Int
	dynamic                      bool
}

func pow10(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }

var (
	one     = pow10(18)
	million = pow10(12) // a millionth, times 10^18
	perNano = pow10(9)
	perPico = pow10(6)
	twelve  = pow10(12)
)

func times(a int64, b *big.Int) *big.Int { return new(big.Int).Mul(big.NewInt(a), b) }

// product is price × quantity.
func product(price, quantity *big.Int) *big.Int {
	p := new(big.Int).Mul(price, quantity)
	return p.Quo(p, one)
}

// scaled is the price of a pricing unit where a unit costs rate.
func scaled(kind meter.Kind, rate pricing.PicoUSD) *big.Int {
	if pricing.ByMillion(kind) {
		return times(int64(rate), twelve)
	}
	return times(int64(rate), perPico)
}

// charges are the rows of a call.
func (t *table) charges(r *spend.Record) ([]charge, error) {
	rest, err := r.Rest()
	if err != nil {
		return nil, err
	}
	rows := make([]charge, 0, len(r.Lines)+1)
	for i := range r.Lines {
		row, err := t.line(r, &r.Lines[i])
		if err != nil {
			return nil, fmt.Errorf("call %s: %w", r.ID, err)
		}
		rows = append(rows, row)
	}
	if rest > 0 {
		amount := times(int64(rest), perNano)
		rows = append(rows, charge{meter: "unmetered", consumedUnit: "Holds", pricingUnit: "Holds", price: "unmetered", consumed: one, quantity: one,
			contractedPrice: amount, contractedCost: amount, listPrice: amount, listCost: amount, listKnown: true, effective: amount,
			currency: "USD", ownPrice: amount, ownCost: amount, ownedList: amount})
	}
	return rows, nil
}

func (t *table) line(r *spend.Record, l *spend.Line) (charge, error) {
	rate, exchanged, err := l.Rate()
	if err != nil {
		return charge{}, err
	}
	c := charge{meter: l.Meter.String(), consumedUnit: unitOf(l.Meter), pricingUnit: pricingUnitOf(l.Meter), price: l.Price,
		consumed: times(l.Quantity, one), quantity: times(l.Quantity, one), effective: times(int64(l.Amount), perNano),
		currency: "USD", dynamic: pricing.Condition(l.Price, "daily") != ""}
	if pricing.ByMillion(l.Meter) {
		c.quantity = times(l.Quantity, million)
	}
	c.ownPrice = scaled(l.Meter, rate)
	c.ownCost = product(c.ownPrice, c.quantity)
	c.contractedPrice = c.ownPrice
	if exchanged {
		c.currency = cmp.Or(pricing.Condition(l.Price, "in"), "USD")
		if c.currency != "USD" {
			if c.contractedPrice, err = inUSD(c.ownPrice, c.currency, r.ExchangeRate); err != nil {
				return charge{}, err
			}
		}
	}
	c.contractedCost = product(c.contractedPrice, c.quantity)
	c.listPrice, c.listKnown = c.contractedPrice, true
	if pricing.Condition(l.Price, "contract") != "" {
		list, ok := t.listRate(r, l)
		if c.listKnown = ok; ok {
			c.listPrice = scaled(l.Meter, list)
		}
	}
	c.listCost = product(c.listPrice, c.quantity)
	if c.currency == "USD" {
		c.ownedList = c.listPrice
	}
	return c, nil
}

// listRate is what the meter costs without the contract.
func (t *table) listRate(r *spend.Record, l *spend.Line) (pricing.PicoUSD, bool) {
	if t.book == nil || r.DecidedAt == nil {
		return 0, false
	}
	terms := pricing.Terms{At: *r.DecidedAt, ServiceTier: cmp.Or(pricing.Condition(l.Price, "tier"), r.ServiceTier), Region: pricing.Condition(l.Price, "region"),
		SearchContext: pricing.Condition(l.Price, "search"), Contract: pricing.ListPrices}
	var input int64
	if r.Usage != nil {
		input = r.Usage.InputTokens()
	}
	for _, model := range []string{r.ModelReported, r.ModelRouted} {
		if model == "" {
			continue
		}
		rates, ok := t.book.Rates(r.Provider, model, terms)
		if !ok {
			continue
		}
		if pricing.Condition(rates.ID, "in") != "" {
			return 0, false // a list price in another currency
		}
		return rates.Rate(l.Meter, input)
	}
	return 0, false
}

// inUSD exchanges a price by a rate as records keep it ("EUR/USD=1.0842@2026-01-01T00:00:00Z"), to 12 decimals,
// so that its product with a quantity is exact.
func inUSD(price *big.Int, currency, exchange string) (*big.Int, error) {
	pair, rest, ok := strings.Cut(exchange, "=")
	number, _, _ := strings.Cut(rest, "@")
	from, to, pairs := strings.Cut(pair, "/")
	rate, valid := new(big.Rat).SetString(number)
	switch {
	case !ok || !pairs || !valid || rate.Sign() <= 0:
		return nil, fmt.Errorf("its exchange rate %q can't be read", exchange)
	case from == "USD" && to == currency:
		rate.Inv(rate)
	case from != currency || to != "USD":
		return nil, fmt.Errorf("its price is in %s and its exchange rate is %s", currency, exchange)
	}
	exact := new(big.Rat).Mul(new(big.Rat).SetInt(price), rate)
	exact.Quo(exact, new(big.Rat).SetInt(perPico))
	half := new(big.Int).Quo(exact.Denom(), big.NewInt(2))
	whole := new(big.Int).Add(exact.Num(), half)
	return whole.Mul(whole.Quo(whole, exact.Denom()), perPico), nil
}

// hour and month are the periods of a charge.
func hour(at time.Time) (time.Time, time.Time) {
	start := at.UTC().Truncate(time.Hour)
	return start, start.Add(time.Hour)
}

func month(at time.Time) (time.Time, time.Time) {
	at = at.UTC()
	start := time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)
	return start, start.AddDate(0, 1, 0)
}
