package rerate

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/budget/audit/replay"
	"keel/budget/audit/spend"
	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/pgserver"
	"keel/budget/ledger/record"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// prices depend on everything that a price can depend on.
const prices = `
kind: ExchangeRate
name: eur
from: EUR
to: USD
rate: 1.0842
---
kind: Price
name: plain
provider: openai
model: m
per_million: {input: 1, cached_input: 0.1, output: 2 USD}
per_unit: {web_search: 0.01}
---
kind: Price
name: later
provider: openai
model: m
effective_from: 2026-10-20
per_million: {input: 1.1, cached_input: 0.11, output: 2.3 USD}
per_unit: {web_search: 0.011}
---
kind: Price
name: flex
provider: openai
model: m
service_tier: flex
per_million: {input: 0.5, cached_input: 0.05, output: 1 USD}
per_unit: {web_search: 0.01}
---
kind: Price
name: regional
provider: openai
model: m
region: us
per_million: {input: 1.3, cached_input: 0.13, output: 2.6 USD}
per_unit: {web_search: 0.013}
---
kind: Price
name: euros
provider: mistral
model: large
per_million: {input: 1.7 EUR, output: 5.1 EUR}
---
kind: Price
name: contract
provider: openai
model: gpt-5
per_million: {input: 1.00, cached_input: 0.10, output: 8 USD}
contract: acme-2026
`

// billing settles random calls by one price book, whose version a later edit makes one of the past.
type billing struct {
	cfg     *budget.Config
	decider *budget.Decider
	bank    *ledger.Bank
	dsn     string
	epoch   uuid.UUID
	seq     uint64
	hour    time.Time
}

func newBilling(t *testing.T) (*billing, *ledger.Store) {
	t.Helper()
	ctx, dsn := t.Context(), pgserver.ForTest(t)
	if err := ledger.Migrate(ctx, dsn, nil); err != nil {
		t.Fatal(err)
	}
	store, err := ledger.OpenStore(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	docs, err := budget.ReadDocuments(strings.NewReader(prices), "prices")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(ctx, docs, "ada"); err != nil {
		t.Fatal(err)
	}
	if docs, err = store.Get(ctx, budget.DefaultOrg, "", ""); err != nil {
		t.Fatal(err)
	}
	cfg, err := budget.Compile(docs, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &billing{cfg: cfg, dsn: dsn, epoch: uuid.Must(uuid.NewV7()), hour: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
		decider: &budget.Decider{Ledger: replay.NewAccounts(), Estimator: tokens.New()},
		bank:    ledger.NewBank(pool, ledger.BankOptions{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})}, store
}

var (
	usages = rapid.Custom(func(t *rapid.T) (u meter.Usage) {
		for _, kind := range []meter.Kind{meter.Input, meter.CachedInput, meter.Output, meter.WebSearch} {
			u[kind] = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 9), rapid.Int64Range(1, 3_000_000)).Draw(t, kind.String())
		}
		if u == (meter.Usage{}) {
			u[meter.Output] = 1
		}
		return u
	})
	regions  = rapid.SampledFrom([]string{"", "us", "eu"})
	tiers    = rapid.SampledFrom([]string{"", "", "flex", "default", "priority"})
	contexts = rapid.SampledFrom([]string{"", "low", "medium", "high"})
	targets  = rapid.SampledFrom([][2]string{{"openai", "m"}, {"openai", "m"}, {"openai", "gpt-5"}, {"openai", "gpt-4o"}, {"anthropic", "claude-sonnet-4-5"}, {"mistral", "large"}, {"openai", "gpt-nobody-knows"}})
)

func reports(t *rapid.T, model string) *budget.Reported {
	r := &budget.Reported{Model: rapid.SampledFrom([]string{"", model, model + "-as-nobody-prices-it", "gpt-4o-mini"}).Draw(t, "reported"),
		Region: regions.Draw(t, "given region"), ServiceTier: tiers.Draw(t, "given tier"), SearchContext: contexts.Draw(t, "given context")}
	u := usages.Draw(t, "usage")
	switch rapid.IntRange(0, 3).Draw(t, "parts") {
	case 0:
		r.Parts = []meter.Part{{Usage: u}, {Model: "gpt-4o-mini", Usage: usages.Draw(t, "another model's")}}
	case 1:
		r.Parts = []meter.Part{{Model: model, Usage: u}, {Model: model, Usage: usages.Draw(t, "twice")}}
		fallthrough
	default:
		r.Usage = &u
	}
	return r
}

// call is a decision and its end: attempts that failed with a usage, that were lost and that were refused, and an answer that
// was whole, cut, or never came.
func (b *billing) call(t *rapid.T, n int) (*budget.Decision, budget.Closeout) {
	to := targets.Draw(t, "target")
	at := b.hour.Add(time.Duration(n) * time.Minute)
	d := b.decider.Decide(context.Background(), b.cfg, &budget.Call{
		ID: uuid.Must(uuid.NewV7()), Org: budget.DefaultOrg, At: at, Subject: budget.Subject{"team": "research"}, API: "openai-chat", Provider: to[0], Model: to[1], MaxOutputTokens: 1000, Choices: 1,
		ServiceTier: tiers.Draw(t, "asked tier"), Region: regions.Draw(t, "asked region"), SearchContext: contexts.Draw(t, "asked context"),
		Prompt: &tokens.Prompt{Messages: 1, Segments: []tokens.Segment{{Class: tokens.Text, JSON: []byte(`"hello"`)}}},
	})
	end := budget.Closeout{ID: d.ID, Org: d.Org, At: at.Add(time.Second), Outcome: budget.Complete, Attempts: 1, HTTPStatus: 200, Detail: "end of stream"}
	var rows []budget.Attempt
	for number := range rapid.IntRange(0, 3).Draw(t, "attempts before") {
		other := targets.Draw(t, "tried")
		a := b.cfg.Start(d, rows, budget.Attempt{Number: number + 1, At: at, Provider: other[0], Model: other[1]})
		switch rapid.IntRange(0, 2).Draw(t, "it") {
		case 0:
			a.Fail(b.cfg, d, 500, reports(t, other[1]))
		case 1:
			a.Refuse()
		}
		rows = append(rows, a)
	}
	answered := rapid.IntRange(0, 5).Draw(t, "the answer") > 0
	last := 0
	if rows != nil && answered {
		last = len(rows) + 1
		a := b.cfg.Start(d, rows, budget.Attempt{Number: last, At: at, Provider: to[0], Model: to[1]})
		a.Ended, a.Status = budget.AttemptAnswered, 200
		rows = append(rows, a)
	}
	said := reports(t, to[1])
	end.Model = said.Model
	switch {
	case !answered:
		d.ChargeHeld(&end)
	case rapid.Bool().Draw(t, "cut"):
		end.Outcome = budget.Aborted
		d.ChargeSeen(&end, b.cfg, said, rapid.Int64Range(0, 9000).Draw(t, "bytes seen"))
	default:
		d.ChargeUsage(&end, b.cfg, said)
	}
	d.AddAttempts(&end, b.cfg, rows, last, answered)
	return d, end
}

// settle stores calls of an hour of their own.
func (b *billing) settle(t *rapid.T, n int) map[uuid.UUID]budget.Closeout {
	b.hour = b.hour.Add(time.Hour)
	ends := make(map[uuid.UUID]budget.Closeout)
	var records []escrow.Record
	for i := range n {
		d, end := b.call(t, i)
		ends[d.ID] = end
		seq := b.seq + uint64(2*i)
		records = append(records, escrow.Record{Seq: seq + 1, Decision: d}, escrow.Record{Seq: seq + 2, Closeout: &record.Closeout{Closeout: end, Known: true, Lease: b.epoch}})
	}
	if _, err := b.bank.Settle(context.Background(), escrow.Batch{Epoch: b.epoch, Org: budget.DefaultOrg, Records: records}); err != nil {
		t.Fatal(err)
	}
	b.seq += uint64(2 * n)
	return ends
}

// Every new record can be rated anew, and under the version of the prices that it was made by it costs the same, to the nano-dollar,
// whatever was used, by how many models and attempts, and on which terms. What has no usage, and what has no price, says so.
func TestRandomCallsCostTheSameAgain(t *testing.T) {
	t.Parallel()
	b, store := newBilling(t)
	version := b.cfg.Book(budget.DefaultOrg).Version()
	changed, err := budget.ReadDocuments(strings.NewReader(strings.ReplaceAll(prices, "input: 1,", "input: 4,")), "changed")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), changed, "ada"); err != nil {
		t.Fatal(err)
	}
	past, err := Version(t.Context(), store, budget.DefaultOrg, version)
	if err != nil {
		t.Fatal(err)
	}
	now, err := Current(t.Context(), store, budget.DefaultOrg)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		ends := b.settle(t, 8)
		reader, err := spend.Open(context.Background(), b.dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		read := 0
		if err := reader.Read(context.Background(), spend.Query{Org: budget.DefaultOrg, Since: b.hour, Until: b.hour.Add(time.Hour)}, nil, func(r *spend.Record) error {
			read++
			end := ends[r.ID]
			rating, err := Rate(r, now, past)
			if err != nil {
				return err
			}
			seen["reason "+string(rating.Reason)]++
			switch {
			case len(end.Bills) == 0:
				if rating.Reason != NoUsage && rating.Reason != Free && rating.Reason != Unattempted {
					return fmt.Errorf("nothing was metered of %+v: %+v", end, rating)
				}
			case !end.CostKnown || slices.ContainsFunc(end.AttemptRows, func(a budget.Attempt) bool { return a.Usage != nil && a.Basis == budget.BasisFull }):
				if rating.Reason != NoPrice { // it is charged as hold or bound, because there is none
					return fmt.Errorf("call %s of unknown cost: %+v of %+v", r.ID, rating, end.Bills)
				}
			case rating.Reason != "" || rating.Cost.Total != end.Cost.Total || r.Cost == nil || *r.Cost != end.Cost.Total:
				return fmt.Errorf("call %s cost %s (%+v) and costs %s again (%q %s), %s of it kept", r.ID, end.Cost.Total, end.Bills, rating.Cost.Total, rating.Reason, rating.Why, rating.Kept)
			case !slices.EqualFunc(rating.Cost.Lines, end.Cost.Lines, func(a, b pricing.Line) bool { return a == b }):
				return fmt.Errorf("call %s has lines\n%+v, and again\n%+v", r.ID, end.Cost.Lines, rating.Cost.Lines)
			default:
				seen[fmt.Sprintf("%d bills", len(end.Bills))]++
				if rating.Kept > 0 {
					seen["kept"]++
				}
				if len(end.Bills[0].Parts) > 0 {
					seen["parts"]++
				}
				if other, err := Rate(r, now, now); err == nil && other.Reason == "" && other.Cost.Total != end.Cost.Total {
					seen["another version"]++
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if read != len(ends) {
			t.Fatalf("%d records of %d", read, len(ends))
		}
	})
	for _, what := range []string{"1 bills", "2 bills", "kept", "parts", "another version", "reason no_price"} {
		if seen[what] == 0 {
			t.Errorf("no call shows %q: %v", what, seen)
		}
	}
	t.Log(seen)
}

// Bills that do not come to the cost are no reason to guess.
func TestBillsThatDoNotAddUp(t *testing.T) {
	t.Parallel()
	r := call(t, nil)
	b := book(t, original)
	r.Bills = []budget.Bill{{Provider: "openai", Sent: "m", At: *r.DecidedAt, Usage: *r.Usage, Cost: *r.Cost}}
	for _, c := range []struct {
		name   string
		change func()
		reason Reason
	}{
		{"as it was", func() {}, ""},
		{"a bill of less", func() { r.Bills[0].Cost-- }, Parts},
		{"a model without a price", func() { r.Bills[0].Cost++; r.Bills[0].Sent = "other" }, NoPrice},
		{"a meter without a rate", func() { r.Bills[0].Sent = "m"; r.Bills[0].Usage[meter.Pages] = 1 }, NoPrice},
		{"a decision that never came", func() { r.Bills[0].Usage[meter.Pages] = 0; r.DecidedAt = nil }, ""},
	} {
		c.change()
		got, err := Rate(r, nil, b)
		if err != nil || got.Reason != c.reason || c.reason == "" && got.Cost.Total != *r.Cost || c.reason != "" && got.Why == "" {
			t.Errorf("%s: %v %+v", c.name, err, got)
		}
	}
}
