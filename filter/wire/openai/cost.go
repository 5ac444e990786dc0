package openai

import "keel/filter/wire/walk"

// costs are what a usage object says of money.
type costs struct {
	ticks, cost, market, total, estimate amount
	upstream                             amount
	byok                                 bool
}

type amount struct {
	decimal
	told bool
}

// tickScale: xAI counts in ticks of 1e-10 US dollars (measured: list prices
// reproduce it exactly).
const tickScale = 10

// member reads a member of a usage object if it is about money.
func (m *costs) member(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "cost_in_usd_ticks": // xAI
		err := m.ticks.read(c)
		m.ticks.scale += tickScale
		return err
	case "cost": // a number at OpenRouter, Avian and Vercel, an object at Perplexity
		if c.Kind() != '{' {
			return m.cost.read(c)
		}
		return c.Object(func(key []byte) error {
			if string(key) == "total_cost" {
				return m.total.read(c)
			}
			return nil
		})
	case "market_cost":
		return m.market.read(c)
	case "is_byok":
		byok, err := c.Bool()
		m.byok = byok
		return err
	case "cost_details":
		return c.Object(func(key []byte) error {
			if string(key) == "upstream_inference_cost" {
				return m.upstream.read(c)
			}
			return nil
		})
	case "pydantic_ai_gateway":
		return c.Object(func(key []byte) error {
			if string(key) == "cost_estimate" {
				return m.estimate.read(c)
			}
			return nil
		})
	}
	return nil
}

// String is what the call cost in US dollars, "" where nothing tells.
//
// With a key of one's own (is_byok, OpenRouter), cost is the fee of the gateway
// alone, most often 0, and what the provider behind it bills to that key stands
// in upstream_inference_cost. The call cost its owner both, so both are
// added. A gateway's estimate counts only where nobody states a cost.
func (m *costs) String() string {
	switch {
	case m.ticks.told:
		return m.ticks.String()
	case m.cost.told && m.byok && m.upstream.told:
		return m.cost.plus(m.upstream.decimal).String()
	case m.cost.told:
		return m.cost.String()
	case m.total.told:
		return m.total.String()
	case m.market.told:
		return m.market.String()
	case m.estimate.told:
		return m.estimate.String()
	}
	return ""
}

func (a *amount) read(c *walk.Cursor) error {
	raw, err := c.Value()
	if err == nil {
		a.decimal, a.told = readDecimal(raw)
	}
	return err
}
