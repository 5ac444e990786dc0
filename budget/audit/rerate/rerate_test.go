package rerate

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/audit/sample"
	"keel/budget/audit/spend"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/pricing"
	"keel/pricing/meter"
)

func book(t *testing.T, documents string) *pricing.Book {
	t.Helper()
	docs, err := budget.ReadDocuments(strings.NewReader(documents), "test")
	if err != nil {
		t.Fatal(err)
	}
	config, err := budget.Compile(docs, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	return config.Book(budget.DefaultOrg)
}

const original = `
kind: Price
name: m
provider: openai
model: m
per_million: {input: 1, output: 2 USD}
per_unit: {web_search: 0.01}
`

// call is a record as the original prices make it.
func call(t *testing.T, change func(*spend.Record)) *spend.Record {
	t.Helper()
	at := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	r := &spend.Record{ID: uuid.Must(uuid.NewV7()), DecidedAt: &at, Provider: "openai", ModelRouted: "m", Outcome: budget.Complete, CostKnown: true,
		Usage: &meter.Usage{meter.Input: 1000, meter.Output: 100}}
	cost, err := book(t, original).Charge("openai", pricing.Metered{Usage: *r.Usage, Models: []string{"m"}}, pricing.Terms{At: at})
	if err != nil {
		t.Fatal(err)
	}
	r.Cost = &cost.Total
	for _, l := range cost.Lines {
		r.Lines = append(r.Lines, spend.Line{Meter: l.Meter, Quantity: l.Quantity, PerMillionUSD: l.Rate.PerMillion(), Amount: l.Amount, Price: l.Price})
	}
	if change != nil {
		change(r)
	}
	return r
}

func TestReasons(t *testing.T) {
	usd := func(n int64) *pricing.NanoUSD { return (*pricing.NanoUSD)(&n) }
	proposed := original + "---\nkind: Price\nname: regional\nprovider: openai\nmodel: m\nregion: us\nper_million: {input: 5, output: 2 USD}\n"
	for _, c := range []struct {
		name   string
		prices string
		change func(*spend.Record)
		reason Reason
		total  string
	}{
		{"the same prices", original, nil, "", "0.0012"},
		{"dearer ones", strings.Replace(original, "input: 1", "input: 3", 1), nil, "", "0.0032"},
		{"open", original, func(r *spend.Record) { r.Outcome = budget.Open }, OpenCall, ""},
		{"a denial", original, func(r *spend.Record) { r.Usage, r.Cost, r.Lines = nil, usd(0), nil }, Free, ""},
		{"a bound", original, func(r *spend.Record) { r.Usage, r.Lines = nil, nil }, NoUsage, ""},
		{"no decision", original, func(r *spend.Record) { r.DecidedAt = nil }, Undecided, ""},
		{"two models", original, func(r *spend.Record) { r.Lines[1].Price = "list:openai/other" }, Parts, ""},
		{"two attempts", original, func(r *spend.Record) { r.Lines = append(r.Lines, r.Lines[0]) }, Parts, ""},
		{"usage that is not what was priced", original, func(r *spend.Record) { r.Usage[meter.Output] = 7 }, Parts, ""},
		{"a part without a line", original, func(r *spend.Record) { r.Cost = usd(int64(*r.Cost) + 1) }, Parts, ""},
		{"no price", strings.ReplaceAll(original, "model: m", "model: other"), nil, NoPrice, ""},
		{"no rate", strings.Replace(original, "input: 1, ", "", 1), nil, NoPrice, ""},
		{"prices by region", proposed, nil, Terms, ""},
		{"prices by region, which is known", proposed, func(r *spend.Record) {
			for i := range r.Lines {
				r.Lines[i].Price += ";region=us"
			}
		}, "", "0.0052"},
	} {
		r := call(t, c.change)
		got, err := Rate(r, nil, book(t, c.prices))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.Reason != c.reason || c.reason == "" && got.Cost.Total.String() != c.total || c.reason != "" && c.reason != Free && got.Why == "" {
			t.Errorf("%s: %q (%s) %s", c.name, got.Reason, got.Why, got.Cost.Total)
		}
	}
	// With the prices that it was made by, terms are ruled out: a region that costs more would have shown.
	r := call(t, nil)
	both := original + "---\nkind: Price\nname: regional\nprovider: openai\nmodel: m\nregion: us\nper_million: {input: 4, output: 2 USD}\n" +
		"---\nkind: Price\nname: european\nprovider: openai\nmodel: m\nregion: eu\nper_million: {input: 4, output: 2 USD}\n"
	if got, err := Rate(r, book(t, both), book(t, proposed)); err != nil || got.Reason != "" || got.Cost.Total.String() != "0.0012" {
		t.Errorf("%v %+v", err, got)
	}
}

// Under its own version of the prices, found in the history, every sample call costs what is recorded; what is booked
// refers to its decision and changes nothing else.
func TestVersionFromHistory(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), pgserver.ForTest(t)
	if err := ledger.Migrate(ctx, dsn, nil); err != nil {
		t.Fatal(err)
	}
	if err := sample.Fill(ctx, dsn, 110); err != nil {
		t.Fatal(err)
	}
	store, err := ledger.OpenStore(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var version string
	if err := conn.QueryRow(ctx, "select price_version from keel.spend_records where price_version is not null limit 1").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, `update keel.prices set rates = '[{"above": 0, "per_million": {"input": 9, "output": 9}}]' where name = 'gpt-5-contract'`); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, `delete from keel.prices where name = 'mistral-eur'`); err != nil {
		t.Fatal(err)
	}
	past, err := Version(ctx, store, sample.Org, version)
	if err != nil {
		t.Fatal(err)
	}
	now, err := Current(ctx, store, sample.Org)
	if err != nil {
		t.Fatal(err)
	}
	run := func(b *pricing.Book, changed func(Change) error) *Report {
		t.Helper()
		reader, err := spend.Open(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		report, err := Run(ctx, reader, spend.Query{Org: sample.Org}, past, b, changed)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if r := run(past, nil); r.Difference != 0 || r.Rated < 60 {
		t.Errorf("under the version of the records: %s, %d rated", r.Difference, r.Rated)
	}
	var sums []pricing.NanoUSD
	for _, want := range []bool{true, false} {
		l, err := OpenLedger(ctx, dsn, sample.Org, "ada", now.Version())
		if err != nil {
			t.Fatal(err)
		}
		r := run(now, func(c Change) error { return l.Add(ctx, c) })
		added, err := l.Close(ctx, true)
		if err != nil || added > 0 != want {
			t.Errorf("%d added, %v", added, err)
		}
		sums = append(sums, r.Difference)
	}
	var booked, alone int64
	if err := conn.QueryRow(ctx, "select sum(amount_n)::bigint, count(*) filter (where not exists (select from keel.decisions d where d.org = a.org and d.decision_id = a.decision_id)) from keel.adjustments a").Scan(&booked, &alone); err != nil {
		t.Fatal(err)
	}
	if pricing.NanoUSD(booked) != sums[0] || sums[0] != sums[1] || sums[0] == 0 || alone != 0 {
		t.Errorf("booked %s of %s and %s, %d without a decision", pricing.NanoUSD(booked), sums[0], sums[1], alone)
	}
	one, _ := json.Marshal(run(now, nil))
	if two, _ := json.Marshal(run(now, nil)); string(one) != string(two) {
		t.Error("two runs say two things")
	}
}
