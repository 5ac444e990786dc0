package main

import (
	"cmp"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/audit/rerate"
	"keel/budget/audit/spend"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/filter/metering"
	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/pricing"
	"keel/pricing/tokens"
)

// Recorded traffic, settled as it was read, costs the same when it is rated anew under the version of the prices that its
// records name: every exchange of which a provider told the usage, to the nano-dollar.
func TestCorpusCostsTheSameAgain(t *testing.T) {
	t.Parallel()
	corpus.Files(t) // nothing is begun without them
	ctx := t.Context()
	dsn := pgserver.ForTest(t)
	if err := ledger.Migrate(ctx, dsn, nil); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ctx, dsn, ledger.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Journal: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := budget.Compile(budget.Documents{}, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	m := metering.Meter{Book: cfg.Book(budget.DefaultOrg), Estimator: tokens.New(), At: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}
	ends := make(map[uuid.UUID]budget.Closeout)
	parts := 0
	corpus.Each(t, func(x *recording.Exchange) {
		r := m.Meter(x)
		said := &budget.Reported{Usage: r.Reading.Usage, Parts: r.Reading.Parts, Raw: r.Reading.RawUsage, Model: r.Reading.Model, ServiceTier: r.Reading.ServiceTier, Speed: r.Reading.Speed,
			Region: r.Reading.Region, SearchContext: r.Reading.SearchContext, ResponseID: r.Reading.ID}
		if r.Request == nil || said.Metered() == nil {
			return
		}
		d := &budget.Decision{Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: budget.DefaultOrg, At: r.At, API: string(r.API), Provider: r.Provider, Model: r.Request.Model, Choices: 1,
			ServiceTier: r.Request.ServiceTier, Speed: r.Request.Speed, Region: r.Request.Region, SearchContext: r.Request.SearchContext},
			Action: budget.Allow, RoutedProvider: r.Provider, RoutedModel: r.Request.Model, PriceVersion: m.Book.Version()}
		c := budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Complete, Attempts: 1, HTTPStatus: cmp.Or(x.Status, http.StatusOK), Model: said.Model, RawUsage: said.Raw, ResponseID: said.ResponseID}
		d.ChargeUsage(&c, cfg, said)
		if err := l.Permit(ctx, d); err != nil {
			t.Fatal(err)
		}
		l.CloseOut(&c)
		ends[d.ID] = c
		if len(said.Parts) > 1 {
			parts++
		}
	})
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	store, err := ledger.OpenStore(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	book, err := rerate.Version(ctx, store, budget.DefaultOrg, m.Book.Version())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := spend.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	rated, unpriced := 0, 0
	if err := reader.Read(ctx, spend.Query{Org: budget.DefaultOrg}, nil, func(r *spend.Record) error {
		want := ends[r.ID]
		rating, err := rerate.Rate(r, nil, book)
		switch {
		case err != nil:
			return err
		case !want.CostKnown && rating.Reason == rerate.NoPrice:
			unpriced++
		case rating.Reason != "" || rating.Cost.Total != want.Cost.Total || rating.Kept != 0:
			t.Errorf("call %s to %s/%s cost %s, and costs %s again (%q %s)", r.ID, r.Provider, r.ModelReported, want.Cost.Total, rating.Cost.Total, rating.Reason, rating.Why)
		default:
			rated++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if rated+unpriced != len(ends) || rated < 1000 || parts == 0 {
		t.Errorf("%d of %d exchanges were rated, %d have no price; %d are billed in parts", rated, len(ends), unpriced, parts)
	}
	t.Logf("%d exchanges cost the same again, %d of them in parts; %d have no price", rated, parts, unpriced)
}
