package ledger

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// A duplicate is a bug, or a damaged journal, and must fail: so there is no ON CONFLICT.
const insertDecisions = `
insert into keel.decisions (org, epoch, decision_id, seq, decided_at, subject, api, provider, model, path, stream,
  max_output_tokens, choices, service_tier, prompt, action, reason, route, routed_provider, routed_model, output_cap,
  input_tokens, input_tokens_bound, output_tokens, output_tokens_bound, expected_n, bound_n, bound_kind, method, unpriced,
  held_n, rules, price_version, denial, unmetered, debt, estimate, holds, envelope, route_choices, digest)
select $1, $2, id, seq, decided_at, subject::jsonb, api, provider, model, path, stream,
  max_output_tokens, choices, service_tier, prompt::jsonb, action, reason, route, routed_provider, routed_model, output_cap,
  input_tokens, input_tokens_bound, output_tokens, output_tokens_bound, expected_n, bound_n, bound_kind, method, unpriced,
  held_n, rules::jsonb, price_version, denial::jsonb, unmetered, debt, estimate::jsonb, holds::jsonb, envelope::jsonb, route_choices::jsonb, digest
from unnest($3::uuid[], $4::bigint[], $5::timestamptz[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::boolean[],
  $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::bigint[],
  $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[], $28::text[], $29::text[], $30::text[],
  $31::bigint[], $32::text[], $33::text[], $34::text[], $35::boolean[], $36::boolean[], $37::text[], $38::text[], $39::text[], $40::text[], $41::bytea[])
d (id, seq, decided_at, subject, api, provider, model, path, stream,
  max_output_tokens, choices, service_tier, prompt, action, reason, route, routed_provider, routed_model, output_cap,
  input_tokens, input_tokens_bound, output_tokens, output_tokens_bound, expected_n, bound_n, bound_kind, method, unpriced,
  held_n, rules, price_version, denial, unmetered, debt, estimate, holds, envelope, route_choices, digest)`

// decisionColumns are decisions as arrays, for unnest.
type decisionColumns struct {
	ids           []uuid.UUID
	seqs          []int64
	at            []time.Time
	texts         [12][]string // in the order of insertDecisions, between decided_at and unpriced
	stream        []bool
	stated        [2][]int64 // max_output_tokens, choices
	numbers       [7][]int64 // output_cap to bound_n
	held          []*int64
	kind          [3][]string // bound_kind, method, unpriced
	rules, prices []string
	denials       []*string
	unmetered     []bool
	debt          []bool
	estimates     []string
	holds         []string
	envelopes     []*string
	choices       []*string
	digests       [][]byte
}

func (c *decisionColumns) add(seq uint64, digest *record.Digest, d *budget.Decision) {
	e := d.Estimate
	c.ids = append(c.ids, d.ID)
	c.seqs = append(c.seqs, int64(seq))
	c.at = append(c.at, d.At)
	for i, s := range [...]string{jsonText(storableSubject(d.Subject)), text(d.API), text(d.Provider), text(d.Model), text(d.Path),
		text(d.ServiceTier), jsonText(d.Shape), string(d.Action), text(d.Reason), text(d.Route), text(d.RoutedProvider), text(d.RoutedModel)} {
		c.texts[i] = append(c.texts[i], s)
	}
	c.stream = append(c.stream, d.Stream)
	for i, n := range [...]int64{d.Call.MaxOutputTokens, d.Choices} {
		c.stated[i] = append(c.stated[i], n)
	}
	for i, n := range [...]int64{d.MaxOutputTokens, e.InputTokens, e.InputTokensBound, e.OutputTokens, e.OutputTokensBound, int64(e.Expected), int64(e.Bound)} {
		c.numbers[i] = append(c.numbers[i], n)
	}
	for i, s := range [...]string{string(e.BoundKind), text(e.Method), text(e.Unpriced)} {
		c.kind[i] = append(c.kind[i], s)
	}
	c.held = append(c.held, largestHold(d))
	c.rules = append(c.rules, jsonText(append([]budget.Rule{}, d.Rules...)))
	c.prices = append(c.prices, text(d.PriceVersion))
	c.denials = append(c.denials, denialJSON(d.Denial))
	c.unmetered = append(c.unmetered, d.Unmetered)
	c.debt = append(c.debt, d.Debt)
	c.estimates = append(c.estimates, jsonText(estimate{e.Input, e.Output}))
	c.holds = append(c.holds, jsonText(holdsOf(d)))
	var envelope *string
	if d.Envelope != (budget.Envelope{}) {
		s := jsonText(d.Envelope)
		envelope = &s
	}
	c.envelopes = append(c.envelopes, envelope)
	c.choices = append(c.choices, choicesText(d.RouteChoices))
	c.digests = append(c.digests, digestBytes(digest))
}

func (c *decisionColumns) args(org string, epoch uuid.UUID) []any {
	t := c.texts
	return []any{org, epoch, c.ids, c.seqs, c.at, t[0], t[1], t[2], t[3], t[4], c.stream, c.stated[0], c.stated[1], t[5], t[6], t[7], t[8], t[9], t[10], t[11],
		c.numbers[0], c.numbers[1], c.numbers[2], c.numbers[3], c.numbers[4], c.numbers[5], c.numbers[6], c.kind[0], c.kind[1], c.kind[2],
		c.held, c.rules, c.prices, c.denials, c.unmetered, c.debt, c.estimates, c.holds, c.envelopes, c.choices, c.digests}
}

// choicesText is null where no route took the call.
func choicesText(choices []budget.Choice) *string {
	if len(choices) == 0 {
		return nil
	}
	storable := slices.Clone(choices)
	for i := range storable {
		c := &storable[i]
		c.Provider, c.Model, c.Unpriced = text(c.Provider), text(c.Model), text(c.Unpriced)
	}
	s := jsonText(storable)
	return &s
}

// holdColumns is a hold as keel.decisions keeps it.
type holdColumns struct {
	Budget  string      `json:"budget"`
	Key     string      `json:"key"`
	Start   string      `json:"start"`
	End     string      `json:"end"`
	Rolling int64       `json:"rolling_s"` // seconds, 0 for other windows
	Amount  int64       `json:"amount"`
	Ceiling int64       `json:"ceiling"`
	Limit   int64       `json:"limit"`
	Mode    budget.Mode `json:"mode"`
	Version int64       `json:"version"`
	Leased  bool        `json:"leased"`
}

func holdsOf(d *budget.Decision) []holdColumns {
	holds := make([]holdColumns, 0, len(d.Holds))
	if d.Action == budget.Deny {
		return holds
	}
	for i := range d.Holds {
		h := &d.Holds[i]
		k := escrow.KeyOf(&h.Account)
		holds = append(holds, holdColumns{k.Budget, k.Account, windowText(k.Start), windowText(k.End), int64(h.Rolling / time.Second),
			int64(h.Amount), int64(h.Ceiling), int64(h.Limit), h.Mode, h.Version, record.Leased(d, h)})
	}
	return holds
}

// isOpen says whether a decision waits for a closeout.
func isOpen(d *budget.Decision) bool {
	return d.Action != budget.Deny && !(d.Unmetered && len(d.Holds) == 0)
}

// largestHold is what spend_records shows as held; nil without holds.
func largestHold(d *budget.Decision) *int64 {
	if len(d.Holds) == 0 || d.Action == budget.Deny {
		return nil
	}
	var most pricing.NanoUSD
	for _, h := range d.Holds {
		most = max(most, h.Amount)
	}
	n := int64(most)
	return &n
}

func storableSubject(s budget.Subject) map[string]string {
	m := make(map[string]string, len(s))
	for k, v := range s {
		m[text(k)] = text(v)
	}
	return m
}

// denial is a budget.Denial as the record keeps it.
type denial struct {
	Status            int               `json:"status"`
	Code              string            `json:"code"`
	Message           string            `json:"message"`
	RetryAfterSeconds int64             `json:"retry_after_seconds,omitempty"` // rounded up
	Details           map[string]string `json:"details,omitempty"`
}

func denialJSON(d *budget.Denial) *string {
	if d == nil {
		return nil
	}
	s := jsonText(denial{d.Status, text(d.Code), text(d.Message), int64((d.RetryAfter + time.Second - 1) / time.Second), storableSubject(d.Details)})
	return &s
}
