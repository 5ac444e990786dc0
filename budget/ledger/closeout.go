package ledger

import (
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
)

// A closeout that the ledger presumed gives way to a real one, and to nothing else.
const insertCloseout = `
insert into keel.closeouts as c (org, decision_id, closed_at, outcome, metered, presumed, usage,
  input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
  raw_usage, cost_n, cost_known, lines, unpriced, attempts, http_status, model, detail, provider_cost_usd, response_id, exchange_rate)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
on conflict (org, decision_id) do update set closed_at = excluded.closed_at, outcome = excluded.outcome, metered = excluded.metered,
  presumed = excluded.presumed, usage = excluded.usage, input_tokens = excluded.input_tokens,
  cached_input_tokens = excluded.cached_input_tokens, cache_write_tokens = excluded.cache_write_tokens,
  output_tokens = excluded.output_tokens, reasoning_tokens = excluded.reasoning_tokens, raw_usage = excluded.raw_usage,
  cost_n = excluded.cost_n, cost_known = excluded.cost_known, lines = excluded.lines, unpriced = excluded.unpriced,
  attempts = excluded.attempts, http_status = excluded.http_status, model = excluded.model, detail = excluded.detail,
  provider_cost_usd = excluded.provider_cost_usd, response_id = excluded.response_id,
  exchange_rate = excluded.exchange_rate
where c.presumed and not excluded.presumed`

// line is a pricing.Line as the record keeps it. Of the two rates one is set.
type line struct {
	Meter         string          `json:"meter"`
	Quantity      int64           `json:"quantity"`
	PerMillionUSD string          `json:"per_million_usd,omitempty"`
	PerMillion    string          `json:"per_million,omitempty"` // of a cost that was exchanged: in the currency that price names, USD if none
	Amount        pricing.NanoUSD `json:"amount_usd"`            // as a decimal string
	Price         string          `json:"price,omitempty"`       // the row of the price book
}

func closeoutArgs(c *budget.Closeout, presumed bool) []any {
	lines := make([]line, 0, len(c.Cost.Lines))
	for _, l := range c.Cost.Lines {
		entry := line{Meter: l.Meter.String(), Quantity: l.Quantity, PerMillionUSD: l.Rate.PerMillion(), Amount: l.Amount, Price: text(l.Price)}
		if c.Cost.Exchange != nil {
			entry.PerMillion, entry.PerMillionUSD = entry.PerMillionUSD, ""
		}
		lines = append(lines, entry)
	}
	var exchange pgtype.Text
	if x := c.Cost.Exchange; x != nil {
		exchange = pgtype.Text{String: x.String(), Valid: true}
	}
	unpriced := make([]string, 0, len(c.Cost.Unpriced))
	for _, k := range c.Cost.Unpriced {
		unpriced = append(unpriced, k.String())
	}
	var usage pgtype.Text
	var in, cached, written, out, reasoning pgtype.Int8
	if u := c.Usage; u != nil {
		quantities := make(map[string]int64)
		for k, n := range u {
			if n != 0 {
				quantities[meter.Kind(k).String()] = n
			}
		}
		usage = pgtype.Text{String: jsonText(quantities), Valid: true}
		in, cached, written = count(u.InputTokens()), count(u.CachedInputTokens()), count(u.CacheWriteTokens())
		out, reasoning = count(u.OutputTokens()), count(u.ReasoningTokens())
	}
	var raw pgtype.Text
	if b := storableJSON(c.RawUsage); b != nil {
		raw = pgtype.Text{String: string(b), Valid: true}
	}
	var providerCost pgtype.Text
	if c.ProviderCost != "" {
		providerCost = pgtype.Text{String: c.ProviderCost, Valid: true}
	}
	return []any{
		text(c.Org), c.ID, c.At, string(c.Outcome), string(c.Metered), presumed || c.Awaited || c.Outcome == budget.Orphaned, usage,
		in, cached, written, out, reasoning, raw, int64(c.Cost.Total), c.CostKnown, jsonText(lines), unpriced,
		int64(c.Attempts), int32(c.HTTPStatus), text(c.Model), text(c.Detail), providerCost, text(c.ResponseID), exchange,
	}
}

func count(n int64) pgtype.Int8 { return pgtype.Int8{Int64: n, Valid: true} }
