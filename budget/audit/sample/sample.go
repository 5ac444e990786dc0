// Package sample fills a ledger with calls that are always the same, for tests and for
// trying the read side: three teams, several providers, every way to end, costs by list and by contract,
// a price in euros, and calls that nobody metered.
//
// Calls are decided by the real Decider, priced by the real price book, and settled by the real
// bank, at times of the past that do not depend on a clock. It refuses a ledger that
// has records of its organisation already.
package sample

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
	"keel/budget/audit/replay"
	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// Org is the organisation of the calls.
const Org = "acme"

// Config is what they were decided by.
const Config = `
kind: Budget
org: acme
name: research-month
selector: {team: research}
limit: 100 USD
window: month
mode: observe
---
kind: Budget
org: acme
name: everybody
limit: 1000 USD
window: month
mode: observe
per: [team]
---
kind: Policy
org: acme
name: no-opus-for-interns
when: 'subject.team == "interns" && request.model.startsWith("claude-opus")'
do: {deny: "ask your team lead"}
---
kind: Policy
org: acme
name: short-answers
when: 'subject.team == "support"'
do: {constrain: {max_output_tokens: 2000}}
---
kind: ExchangeRate
org: acme
name: eur
from: EUR
to: USD
rate: 1.0842
---
kind: Price
org: acme
name: gpt-5-contract
provider: openai
model: gpt-5
per_million: {input: 1.00, cached_input: 0.10, output: 8 USD}
contract: acme-2026
---
kind: Price
org: acme
name: mistral-eur
provider: mistral
model: mistral-large-latest
per_million: {input: 1.7 EUR, output: 5.1 EUR}
`

// Begin is when the first call was decided.
var Begin = time.Date(2026, 10, 1, 6, 0, 0, 0, time.UTC)

// shape is a kind of call.
type shape struct {
	team, provider, model, reported, api string
	limit                                int64 // on the output
	prompt                               int   // bytes
	usage                                meter.Usage
	end                                  budget.Outcome
	tier                                 string
}

var shapes = []shape{
	{"research", "openai", "gpt-5", "gpt-5-2025-08-07", "openai-chat", 4000, 900, meter.Usage{meter.Input: 1213, meter.CachedInput: 1024, meter.Output: 311, meter.Reasoning: 640}, budget.Complete, ""},
	{"research", "anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "anthropic-messages", 2000, 2000, meter.Usage{meter.Input: 87, meter.CachedInput: 3300, meter.CacheWrite5m: 512, meter.Output: 777, meter.WebSearch: 2}, budget.Complete, ""},
	{"support", "openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai-chat", 0, 400, meter.Usage{meter.Input: 333, meter.Output: 95}, budget.Complete, ""},
	{"support", "google", "gemini-2.5-flash", "gemini-2.5-flash", "gemini-generate", 1000, 700, meter.Usage{meter.Input: 451, meter.Output: 120, meter.Reasoning: 77}, budget.Complete, ""},
	{"interns", "anthropic", "claude-opus-4-1", "", "anthropic-messages", 1000, 300, meter.Usage{}, budget.Denied, ""},
	{"interns", "mistral", "mistral-large-latest", "mistral-large-latest", "openai-chat", 500, 300, meter.Usage{meter.Input: 97, meter.Output: 61}, budget.Complete, ""},
	{"research", "openai", "gpt-5", "", "openai-chat", 1000, 500, meter.Usage{meter.Input: 150, meter.Output: 33}, budget.Aborted, ""},
	{"support", "openai", "gpt-4o-mini", "", "openai-chat", 800, 500, meter.Usage{}, budget.Orphaned, ""},
	{"support", "openai", "gpt-4o-mini", "", "openai-chat", 800, 500, meter.Usage{}, budget.Failed, ""},
	{"research", "openai", "gpt-nobody-knows", "gpt-nobody-knows", "openai-chat", 100, 100, meter.Usage{meter.Input: 40, meter.Output: 10}, budget.Complete, ""},
	{"research", "openai", "gpt-5-mini", "gpt-5-mini-2025-08-07", "openai-responses", 1000, 600, meter.Usage{meter.Input: 700, meter.Output: 210, meter.Reasoning: 128}, budget.Complete, "flex"},
}

// Fill stores n calls, one every seventh minute, in a database that keel migrate has prepared.
func Fill(ctx context.Context, dsn string, n int) error {
	docs, err := budget.ReadDocuments(strings.NewReader(Config), "sample")
	if err != nil {
		return err
	}
	store, err := ledger.OpenStore(ctx, dsn)
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Apply(ctx, docs, "sample"); err != nil {
		return err
	}
	if docs, err = store.Get(ctx, Org, "", ""); err != nil {
		return err
	}
	cfg, err := budget.Compile(docs, pricing.Catalog())
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	var there bool
	if err := pool.QueryRow(ctx, "select exists (select from keel.decisions where org = $1)", Org).Scan(&there); err != nil || there {
		return errors.Join(err, errors.New("sample: the ledger has records of "+Org+" already"))
	}
	bank := ledger.NewBank(pool, ledger.BankOptions{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	calls := &calls{cfg: cfg, accounts: replay.NewAccounts(), epoch: idOf(Begin.Add(-time.Hour), 0)}
	calls.decider = &budget.Decider{Ledger: calls.accounts, Estimator: tokens.New()}
	for i := range n {
		calls.one(ctx, i)
		if len(calls.records) >= 1000 || i == n-1 {
			if _, err := bank.Settle(ctx, escrow.Batch{Epoch: calls.epoch, Org: Org, Records: calls.records}); err != nil {
				return err
			}
			calls.records = nil
		}
	}
	// A closeout whose decision has not come, and a call that is still open.
	last := Begin.Add(time.Duration(n) * 7 * time.Minute)
	d := calls.decide(ctx, idOf(last, n), last, &shapes[2])
	calls.add(escrow.Record{Decision: d})
	lost := calls.end(&shapes[2], &budget.Decision{Call: budget.Call{ID: idOf(last, n+1), Org: Org, At: last}, RoutedProvider: "openai", RoutedModel: "gpt-4o-mini"}, last)
	calls.add(escrow.Record{Closeout: &record.Closeout{Closeout: lost}})
	_, err = bank.Settle(ctx, escrow.Batch{Epoch: calls.epoch, Org: Org, Records: calls.records})
	if err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	return nil
}

type calls struct {
	cfg      *budget.Config
	decider  *budget.Decider
	accounts *replay.Accounts
	epoch    uuid.UUID
	seq      uint64
	records  []escrow.Record
}

func (c *calls) add(r escrow.Record) {
	c.seq++
	r.Seq = c.seq
	c.records = append(c.records, r)
}

func (c *calls) one(ctx context.Context, i int) {
	s := shapes[i%len(shapes)]
	at := Begin.Add(time.Duration(i) * 7 * time.Minute)
	for kind := range s.usage { // no two calls the same
		if s.usage[kind] > 10 {
			s.usage[kind] += int64(i * 13 % 97)
		}
	}
	d := c.decide(ctx, idOf(at, i), at, &s)
	c.add(escrow.Record{Decision: d})
	if d.Action == budget.Deny {
		return
	}
	end := c.end(&s, d, at.Add(time.Duration(1+i%9)*time.Second))
	c.accounts.CloseOut(&end)
	r := &record.Closeout{Closeout: end, Known: true, Lease: c.epoch}
	for j := range d.Holds {
		h := &d.Holds[j]
		r.Charges = append(r.Charges, record.Charge{Account: h.Account, Held: h.Amount, Amount: escrow.Charge(&end, h.Amount), Leased: record.Leased(d, h)})
	}
	c.add(escrow.Record{Closeout: r})
}

func (c *calls) decide(ctx context.Context, id uuid.UUID, at time.Time, s *shape) *budget.Decision {
	text := `"` + strings.Repeat("All work and no play. ", s.prompt/22) + `"`
	return c.decider.Decide(ctx, c.cfg, &budget.Call{
		ID: id, Org: Org, At: at, Subject: budget.Subject{"org": Org, "team": s.team, "user": s.team + "-1"}, API: s.api, Provider: s.provider, Model: s.model,
		Path: "/v1/chat/completions", MaxOutputTokens: s.limit, Choices: 1, ServiceTier: s.tier,
		Prompt: &tokens.Prompt{Messages: 1, Segments: []tokens.Segment{{Class: tokens.Text, JSON: []byte(text)}}},
	})
}

func (c *calls) end(s *shape, d *budget.Decision, at time.Time) budget.Closeout {
	end := budget.Closeout{ID: d.ID, Org: Org, At: at, Outcome: s.end, Attempts: 1, HTTPStatus: 200, Model: s.reported, Detail: "end of stream"}
	usage := s.usage
	switch s.end {
	case budget.Aborted:
		end.Detail = "the client left"
		d.ChargeSeen(&end, c.cfg, &budget.Reported{Usage: &usage}, 400)
	case budget.Orphaned:
		end.Detail = "nobody saw the end"
		d.ChargeHeld(&end)
	case budget.Failed:
		end.Detail, end.HTTPStatus = "the provider answered with an error", 500
		d.Free(&end)
	default:
		d.ChargeUsage(&end, c.cfg, &budget.Reported{Usage: &usage, Model: s.reported, ServiceTier: s.tier, Raw: []byte(`{"sample":true}`)})
	}
	return end
}

// idOf is a UUIDv7 of an instant that is the same every time.
func idOf(at time.Time, n int) (id uuid.UUID) {
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[8] = 0x70, 0x80
	id[12], id[13], id[14], id[15] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return id
}
