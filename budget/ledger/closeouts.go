package ledger

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
	"keel/pricing/meter"
)

// The one that comes first stays; what came in vain is looked at one by one.
const insertCloseouts = `
insert into keel.closeouts (org, epoch, decision_id, seq, lease, charges, closed_at, outcome, metered, presumed, usage,
  input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
  raw_usage, cost_n, cost_known, lines, unpriced, attempts, http_status, model, detail, provider_cost_usd, response_id, exchange_rate, attempt_rows, digest, bills)
select $1, $2, id, seq, lease, charges::jsonb, closed_at, outcome, metered, presumed, usage::jsonb,
  input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
  raw_usage::jsonb, cost_n, cost_known, lines::jsonb, unpriced::text[], attempts, http_status, model, detail, provider_cost_usd::numeric, response_id, exchange_rate, attempt_rows::jsonb, digest, bills::jsonb
from unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::text[], $7::timestamptz[], $8::text[], $9::text[], $10::boolean[], $11::text[],
  $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::text[], $18::bigint[], $19::boolean[], $20::text[], $21::text[],
  $22::bigint[], $23::integer[], $24::text[], $25::text[], $26::text[], $27::text[], $28::text[], $29::text[], $30::bytea[], $31::text[])
c (id, seq, lease, charges, closed_at, outcome, metered, presumed, usage,
  input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
  raw_usage, cost_n, cost_known, lines, unpriced, attempts, http_status, model, detail, provider_cost_usd, response_id, exchange_rate, attempt_rows, digest, bills)
on conflict (org, decision_id) do nothing
returning decision_id, seq`

// line is a pricing.Line as the record keeps it. Of the two rates one is set.
type line struct {
	Meter         string          `json:"meter"`
	Quantity      int64           `json:"quantity"`
	PerMillionUSD string          `json:"per_million_usd,omitempty"`
	PerMillion    string          `json:"per_million,omitempty"` // of a cost that was exchanged: in the currency that price names, USD if none
	Amount        pricing.NanoUSD `json:"amount_usd"`            // as a decimal string
	Price         string          `json:"price,omitempty"`       // the row of the price book
}

// closeoutColumns are closeouts as arrays, for unnest.
type closeoutColumns struct {
	ids       []uuid.UUID
	seqs      []*int64
	leases    []*uuid.UUID
	charges   []*string
	at        []time.Time
	outcomes  [2][]string // outcome, metered
	presumed  []bool
	usage     []*string
	tokens    [5][]pgtype.Int8
	raw       []*string
	cost      []int64
	known     []bool
	lines     [2][]string // lines, unpriced
	attempts  []int64
	status    []int32
	texts     [2][]string // model, detail
	provider  []*string
	responses []string
	exchange  []*string
	rows      []*string
	digests   [][]byte
	bills     []*string
}

// add appends a closeout. It has no seq and no digest where the ledger presumes it.
func (c *closeoutColumns) add(seq uint64, digest *record.Digest, end *record.Closeout, presumed bool) {
	c.ids = append(c.ids, end.ID)
	var number *int64
	if seq > 0 {
		n := int64(seq)
		number = &n
	}
	c.seqs = append(c.seqs, number)
	var lease *uuid.UUID
	var charges *string
	if end.Known {
		epoch, s := end.Lease, chargesText(end.Charges)
		lease, charges = &epoch, &s
	}
	c.leases, c.charges = append(c.leases, lease), append(c.charges, charges)
	c.at = append(c.at, end.At)
	c.outcomes[0], c.outcomes[1] = append(c.outcomes[0], string(end.Outcome)), append(c.outcomes[1], string(end.Metered))
	c.presumed = append(c.presumed, presumed || end.Awaited || end.Outcome == budget.Orphaned)

	var usage *string
	var counts [5]pgtype.Int8
	if u := end.Usage; u != nil {
		quantities := make(map[string]int64)
		for k, n := range u {
			if n != 0 {
				quantities[meter.Kind(k).String()] = n
			}
		}
		s := jsonText(quantities)
		usage = &s
		for i, n := range [...]int64{u.InputTokens(), u.CachedInputTokens(), u.CacheWriteTokens(), u.OutputTokens(), u.ReasoningTokens()} {
			counts[i] = pgtype.Int8{Int64: n, Valid: true}
		}
	}
	c.usage = append(c.usage, usage)
	for i, n := range counts {
		c.tokens[i] = append(c.tokens[i], n)
	}
	var raw *string
	if b := storableJSON(end.RawUsage); b != nil {
		s := string(b)
		raw = &s
	}
	c.raw = append(c.raw, raw)
	c.cost, c.known = append(c.cost, int64(end.Cost.Total)), append(c.known, end.CostKnown)
	c.lines[0], c.lines[1] = append(c.lines[0], linesText(&end.Cost)), append(c.lines[1], unpricedText(&end.Cost))
	c.attempts, c.status = append(c.attempts, int64(end.Attempts)), append(c.status, int32(end.HTTPStatus))
	c.texts[0], c.texts[1] = append(c.texts[0], text(end.Model)), append(c.texts[1], text(end.Detail))
	c.provider = append(c.provider, optional(end.ProviderCost))
	c.responses = append(c.responses, text(end.ResponseID))
	exchange := ""
	if x := end.Cost.Exchange; x != nil {
		exchange = x.String()
	}
	c.exchange = append(c.exchange, optional(exchange))
	c.rows = append(c.rows, attemptsText(end.AttemptRows))
	c.digests = append(c.digests, digestBytes(digest))
	c.bills = append(c.bills, billsText(end.Bills))
}

func (c *closeoutColumns) args(org string, epoch uuid.UUID) []any {
	of := &epoch
	if epoch == uuid.Nil {
		of = nil
	}
	return []any{org, of, c.ids, c.seqs, c.leases, c.charges, c.at, c.outcomes[0], c.outcomes[1], c.presumed, c.usage,
		c.tokens[0], c.tokens[1], c.tokens[2], c.tokens[3], c.tokens[4], c.raw, c.cost, c.known, c.lines[0], c.lines[1],
		c.attempts, c.status, c.texts[0], c.texts[1], c.provider, c.responses, c.exchange, c.rows, c.digests, c.bills}
}

// attemptsText is null where no attempt was seen.
func attemptsText(rows []budget.Attempt) *string {
	if len(rows) == 0 {
		return nil
	}
	storable := make([]budget.Attempt, len(rows))
	for i, a := range rows {
		a.Provider, a.Model, a.Address, a.Detail = text(a.Provider), text(a.Model), text(a.Address), text(a.Detail)
		a.InsteadOf = text(a.InsteadOf)
		storable[i] = a
	}
	s := jsonText(storable)
	return &s
}

// billsText is null where nothing was billed.
func billsText(bills []budget.Bill) *string {
	if len(bills) == 0 {
		return nil
	}
	storable := slices.Clone(bills)
	for i := range storable {
		b := &storable[i]
		for _, s := range []*string{&b.Provider, &b.Model, &b.Sent, &b.ServiceTier, &b.Speed, &b.Region, &b.SearchContext} {
			*s = text(*s)
		}
		b.At, b.Parts = b.At.UTC(), slices.Clone(b.Parts)
		for j := range b.Parts {
			b.Parts[j].Model = text(b.Parts[j].Model)
		}
	}
	s := jsonText(storable)
	return &s
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func linesText(cost *pricing.Cost) string {
	lines := make([]line, 0, len(cost.Lines))
	for _, l := range cost.Lines {
		entry := line{Meter: l.Meter.String(), Quantity: l.Quantity, PerMillionUSD: l.Rate.PerMillion(), Amount: l.Amount, Price: text(l.Price)}
		if cost.Exchange != nil {
			entry.PerMillion, entry.PerMillionUSD = entry.PerMillionUSD, ""
		}
		lines = append(lines, entry)
	}
	return jsonText(lines)
}

// unpricedText is an array literal: names of meters are made of letters, digits and underscores.
func unpricedText(cost *pricing.Cost) string {
	names := make([]string, 0, len(cost.Unpriced))
	for _, k := range cost.Unpriced {
		names = append(names, k.String())
	}
	return "{" + strings.Join(names, ",") + "}"
}

// chargeColumns is a charge as keel.closeouts keeps it.
type chargeColumns struct {
	Budget string `json:"budget"`
	Key    string `json:"key"`
	Start  string `json:"start"`
	End    string `json:"end"`
	Held   int64  `json:"held"`
	Amount int64  `json:"amount"`
	Leased bool   `json:"leased"`
}

func chargesText(charges []record.Charge) string {
	rows := make([]chargeColumns, 0, len(charges))
	for i := range charges {
		c := &charges[i]
		k := escrow.KeyOf(&c.Account)
		rows = append(rows, chargeColumns{k.Budget, k.Account, windowText(k.Start), windowText(k.End), int64(c.Held), int64(c.Amount), c.Leased})
	}
	return jsonText(rows)
}

// account reads an account of holds or charges back.
func (c *chargeColumns) account(org string) (budget.Account, error) {
	a := budget.Account{Org: org, Budget: c.Budget, Key: c.Key}
	for _, bound := range []struct {
		text string
		into *time.Time
	}{{c.Start, &a.WindowStart}, {c.End, &a.WindowEnd}} {
		if strings.HasSuffix(bound.text, "infinity") {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, bound.text)
		if err != nil {
			return a, fmt.Errorf("account of budget %s: %w", c.Budget, err)
		}
		*bound.into = t
	}
	return a, nil
}

// readCharges reads what a decision was charged, as keel.closeouts keeps it, in the order of its holds.
func readCharges(org string, id uuid.UUID, raw string) ([]record.Charge, error) {
	var rows []chargeColumns
	if err := json.Unmarshal([]byte(raw), &rows); err != nil {
		return nil, fmt.Errorf("charges of decision %s: %w", id, err)
	}
	charges := make([]record.Charge, len(rows))
	for i := range rows {
		account, err := rows[i].account(org)
		if err != nil {
			return nil, fmt.Errorf("charges of decision %s: %w", id, err)
		}
		charges[i] = record.Charge{Account: account, Held: pricing.NanoUSD(rows[i].Held), Amount: pricing.NanoUSD(rows[i].Amount), Leased: rows[i].Leased}
	}
	return charges, nil
}
