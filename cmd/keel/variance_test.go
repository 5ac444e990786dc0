package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"keel/budget/audit/reconcile"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
)

// The metrics of variance are what the newest statements say beyond what is recorded and accepted, of the last 62 days, by
// organisation and provider; what is accepted closes them, and what is too old is gone.
func TestVarianceMetrics(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), pgserver.ForTest(t)
	if err := ledger.Migrate(ctx, dsn, nil); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	v := newVariance(registry)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	today := time.Now().UTC().Truncate(24 * time.Hour)
	book := func(org, provider, model string, age int, dollars int64, accept []reconcile.Cause) {
		t.Helper()
		day := today.AddDate(0, 0, -age)
		statement := &reconcile.Statement{Provider: provider, Zone: time.UTC, Lines: []reconcile.Line{{At: day.Add(time.Hour), Model: model, Cost: big.NewRat(dollars, 4), Places: 2}}}
		scope := reconcile.Scope{Org: org, Provider: provider, Since: day, Until: day.AddDate(0, 0, 1)}
		report := reconcile.Compare(statement, nil, scope, func(string) bool { return true })
		if _, err := reconcile.Book(ctx, dsn, report, scope, reconcile.Source{Actor: "ada", File: "bill.csv"}, accept); err != nil {
			t.Fatal(err)
		}
	}
	// shown follows until the first reading is published, as a processor does.
	shown := func(want string) {
		t.Helper()
		following, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			v.follow(following, dsn, log)
		}()
		defer func() {
			stop()
			<-done
		}()
		var err error
		for range 200 {
			if err = testutil.GatherAndCompare(registry, strings.NewReader(want), "keel_variance_dollars", "keel_stated_dollars"); err == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Error(err)
	}
	const head = `
# HELP keel_variance_dollars What the provider's newest statements are above what is recorded and accepted, of the last 62 days.
# TYPE keel_variance_dollars gauge
%s# HELP keel_stated_dollars What the provider's newest statements say, of the last 62 days.
# TYPE keel_stated_dollars gauge
%s`
	book("acme", "openai", "gpt-5", 3, 5, nil)                                        // $1.25 more than is recorded
	book("acme", "openai", "gpt-5", 2, 3, nil)                                        // and $0.75 on another day
	book("acme", "google", "gemini-2.5-pro", 61, 2, reconcile.Accepted)               // accepted
	book("zeta", "openai", "gpt-5", 70, 400, nil)                                     // too long ago
	book("zeta", "bedrock", "nova-lite", 1, 8, []reconcile.Cause{reconcile.Rounding}) // not of the cause that was accepted
	shown(fmt.Sprintf(head, "keel_variance_dollars{org=\"acme\",provider=\"google\"} 0\nkeel_variance_dollars{org=\"acme\",provider=\"openai\"} 2\nkeel_variance_dollars{org=\"zeta\",provider=\"bedrock\"} 2\n",
		"keel_stated_dollars{org=\"acme\",provider=\"google\"} 0.5\nkeel_stated_dollars{org=\"acme\",provider=\"openai\"} 2\nkeel_stated_dollars{org=\"zeta\",provider=\"bedrock\"} 2\n"))
	if at := testutil.ToFloat64(v.at.WithLabelValues("acme", "openai")); time.Since(time.Unix(int64(at), 0)).Abs() > 10*time.Minute {
		t.Errorf("reconciled at %v", at)
	}
	// A newer statement replaces one; what is accepted of it closes the variance.
	book("acme", "openai", "gpt-5", 3, 7, reconcile.Accepted)
	book("zeta", "bedrock", "nova-lite", 1, 6, reconcile.Accepted)
	shown(fmt.Sprintf(head, "keel_variance_dollars{org=\"acme\",provider=\"google\"} 0\nkeel_variance_dollars{org=\"acme\",provider=\"openai\"} 0.75\nkeel_variance_dollars{org=\"zeta\",provider=\"bedrock\"} 0\n",
		"keel_stated_dollars{org=\"acme\",provider=\"google\"} 0.5\nkeel_stated_dollars{org=\"acme\",provider=\"openai\"} 2.5\nkeel_stated_dollars{org=\"zeta\",provider=\"bedrock\"} 1.5\n"))
	// Where the database is away, what was read stays.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	v.follow(ended, "postgres://127.0.0.1:1/nowhere", log)
	if n, err := testutil.GatherAndCount(registry, "keel_variance_dollars"); err != nil || n != 3 {
		t.Errorf("%d series, %v", n, err)
	}
	v.set(nil)
	if n, err := testutil.GatherAndCount(registry, "keel_variance_dollars", "keel_stated_dollars", "keel_reconciled_timestamp_seconds"); err != nil || n != 0 {
		t.Errorf("%d series of nothing, %v", n, err)
	}
}
