package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/pgserver"
	"keel/pricing"
)

func TestCloseOutSettlesAndReleases(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	d := permitted(t, l, hold("a", 5*cent, 100*cent), hold("b", 5*cent, 100*cent))
	l.CloseOut(closeout(d, 2*cent))
	flush(t, l)
	wantAccount(t, dsn, "a", 2*cent, 0)
	wantAccount(t, dsn, "b", 2*cent, 0)
	if got := l.Standing(month("a")); got != (budget.Standing{Settled: 2 * cent}) {
		t.Errorf("standing %+v", got)
	}

	again := closeout(d, 3*cent) // changes nothing
	l.CloseOut(again)
	l.CloseOut(again)
	flush(t, l)
	wantAccount(t, dsn, "a", 2*cent, 0)

	above := permitted(t, l, hold("a", cent, 100*cent))
	l.CloseOut(closeout(above, 7*cent)) // cost more than was held
	unknown := permitted(t, l, hold("a", 4*cent, 100*cent))
	c := closeout(unknown, 0)
	c.CostKnown, c.Usage, c.RawUsage, c.Metered, c.Outcome = false, nil, nil, budget.NothingSeen, budget.Aborted
	l.CloseOut(c)
	flush(t, l)
	wantAccount(t, dsn, "a", 13*cent, 0)
}

// The record says by which rows and at which exchange rate a cost was counted.
func TestExchangedCost(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	euros, dollars := permitted(t, l, hold("a", cent, 100*cent)), permitted(t, l, hold("a", cent, 100*cent))
	c := closeout(euros, cent)
	c.Cost.Lines[0].Price = "own:openai/gpt-5;in=EUR;EUR/USD=1.25"
	c.Cost.Exchange = &pricing.Exchange{From: "EUR", To: "USD", Rate: pricing.Decimal{Digits: 125, Places: 2}}
	l.CloseOut(c)
	l.CloseOut(closeout(dollars, cent))
	flush(t, l)
	s := store(t, dsn)
	for _, want := range []struct {
		id              uuid.UUID
		exchange, lines string
	}{
		{euros.ID, "EUR/USD=1.25", `[{"meter": "input", "price": "own:openai/gpt-5;in=EUR;EUR/USD=1.25", "quantity": 3, "amount_usd": "0.01", "per_million": "1.25"}]`},
		{dollars.ID, "", `[{"meter": "input", "quantity": 3, "amount_usd": "0.01", "per_million_usd": "1.25"}]`},
	} {
		e, err := s.Explain(t.Context(), want.id)
		if err != nil {
			t.Fatal(err)
		}
		exchange := ""
		if e.Closeout.ExchangeRate != nil {
			exchange = *e.Closeout.ExchangeRate
		}
		if exchange != want.exchange || string(e.Closeout.Lines) != want.lines {
			t.Errorf("exchanged by %q, lines %s; want %q, %s", exchange, e.Closeout.Lines, want.exchange, want.lines)
		}
	}
}

func TestCloseOutIsVisibleSoon(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	d := permitted(t, l, hold("a", cent, 100*cent))
	start := time.Now()
	l.CloseOut(closeout(d, cent))
	for query[int](t, dsn, "select count(*) from keel.spend_records where outcome = 'complete'") == 0 {
		if time.Since(start) > 2*time.Second {
			t.Fatal("not visible within 2 s")
		}
	}
	t.Logf("visible after %s", time.Since(start))
}

func TestOrphanThenLateCloseout(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	d := permitted(t, l, hold("a", 5*cent, 100*cent))
	orphan := closeout(d, 0)
	orphan.Outcome, orphan.CostKnown = budget.Orphaned, false
	l.CloseOut(orphan)
	flush(t, l)
	wantAccount(t, dsn, "a", 5*cent, 0)
	late := closeout(d, cent)
	l.CloseOut(late)
	flush(t, l)
	wantAccount(t, dsn, "a", cent, 0)
	l.CloseOut(orphan) // an orphan never replaces
	flush(t, l)
	wantAccount(t, dsn, "a", cent, 0)
	if got := query[string](t, dsn, "select outcome from keel.spend_records"); got != "complete" {
		t.Errorf("outcome %s", got)
	}
}

func TestHostileTextIsStored(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	d := decision(hold("a", cent, 100*cent))
	limit(t, l, d.Holds...)
	d.Subject = budget.Subject{"user": "a\x00b\xff", "\x00": "x"}
	d.Path = "/v1/\x00\xfe"
	if err := l.Permit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"\x00", `{"a":"\u0000"}`, `{"a":"\ud800"}`, `{"n":1e999999}`, `{"a":"` + "\xff" + `"}`, `not json`, ``, `{"deep":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`} {
		other := permitted(t, l, hold("a", cent, 100*cent))
		c := closeout(other, cent)
		c.RawUsage, c.Detail, c.Model = []byte(raw), "cut\x00", "\xff"
		l.CloseOut(c)
	}
	l.CloseOut(closeout(d, cent))
	flush(t, l)
	if s := l.Stats(); s.Unrecorded != 0 {
		t.Errorf("%d records lost", s.Unrecorded)
	}
	wantAccount(t, dsn, "a", 9*cent, 0)
}

func TestKilledReplicaIsSwept(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	opts := testOptions(t)
	opts.HeartbeatEvery, opts.StaleAfter = 50*time.Millisecond, 600*time.Millisecond
	victim, err := Open(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	opts.Journal = t.TempDir()
	other := open(t, dsn, opts)
	lost := permitted(t, victim, hold("a", 5*cent, 100*cent))
	permittedByOther := permitted(t, other, hold("a", cent, 100*cent))
	flush(t, victim)
	flush(t, other)
	victim.kill()
	if n, err := other.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("swept %d, %v: too early", n, err)
	}
	time.Sleep(700 * time.Millisecond)
	if n, err := other.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	wantAccount(t, dsn, "a", 5*cent, cent)
	if got := query[string](t, dsn, "select outcome || ' ' || metered || ' ' || actual_cost_usd from keel.spend_records where decision_id = $1", lost.ID); got != "orphaned estimated 0.050000000" {
		t.Error(got)
	}
	other.CloseOut(closeout(lost, 2*cent)) // it was only frozen
	other.CloseOut(closeout(permittedByOther, cent))
	flush(t, other)
	wantAccount(t, dsn, "a", 3*cent, 0)
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	opts := testOptions(t)
	opts.MaxAge = 50 * time.Millisecond
	l := open(t, dsn, opts)
	permitted(t, l, hold("a", 5*cent, 100*cent))
	flush(t, l)
	time.Sleep(100 * time.Millisecond)
	if n, err := l.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	wantAccount(t, dsn, "a", 5*cent, 0)
}

func TestAnnotationClosesAfterGrace(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	opts := testOptions(t)
	opts.Grace = 300 * time.Millisecond
	l := open(t, dsn, opts)
	d := permitted(t, l, hold("a", 5*cent, 100*cent))
	l.Annotate(budget.Annotation{ID: d.ID, Org: d.Org, At: time.Now(), HTTPStatus: 503, Attempts: 2, Flags: "UF", Details: "upstream_reset"})
	flush(t, l)
	if n, err := l.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("swept %d, %v: within the grace time", n, err)
	}
	time.Sleep(400 * time.Millisecond)
	if n, err := l.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	wantAccount(t, dsn, "a", 5*cent, 0)
	if got := query[string](t, dsn, "select outcome || ' ' || attempts || ' ' || http_status || ' ' || response_flags from keel.spend_records"); got != "aborted 2 503 UF" {
		t.Error(got)
	}
	l.CloseOut(closeout(d, cent)) // was on its way
	flush(t, l)
	wantAccount(t, dsn, "a", cent, 0)
}

// serverDir is a folder that the server's own user can enter, which those of t.TempDir are not.
func serverDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keel-ledger-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "pg")
}

func TestNothingIsLostOrDoubledWhenPostgresCrashes(t *testing.T) {
	t.Parallel()
	s, err := pgserver.Start(t.Context(), pgserver.Options{Dir: serverDir(t), Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	dsn := s.DSN()
	if err := Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	replicas := []*Ledger{open(t, dsn, testOptions(t)), open(t, dsn, testOptions(t))}
	limit(t, replicas[0], hold("a", cent, 1_000_000*cent))
	var mu sync.Mutex
	spent := map[string]budget.Standing{}
	var away int
	until := time.Now().Add(4 * time.Second)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			l := replicas[g%2]
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for time.Now().Before(until) {
				d := decision(hold("a", cent, 1_000_000*cent), hold(fmt.Sprint("own-", g), cent, -1))
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				time.Sleep(time.Millisecond)
				err := l.Permit(ctx, d)
				cancel()
				if err != nil {
					if !errors.Is(err, budget.ErrUnavailable) {
						t.Error(err)
					}
					mu.Lock()
					away++
					mu.Unlock()
					continue
				}
				c := closeout(d, cent/2)
				mu.Lock()
				sum := spent["a"]
				if rng.IntN(10) > 0 {
					sum.Settled += cent / 2
					l.CloseOut(c)
					if rng.IntN(5) == 0 {
						l.CloseOut(c)
					}
				} else {
					sum.Held += cent
				}
				spent["a"] = sum
				mu.Unlock()
			}
		})
	}
	for range 2 {
		time.Sleep(time.Second)
		s.Crash()
		time.Sleep(300 * time.Millisecond)
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for _, l := range replicas {
		flush(t, l)
	}
	wantAccount(t, dsn, "a", spent["a"].Settled, spent["a"].Held)
	t.Logf("%d calls while away, %+v spent", away, spent["a"])
	for _, l := range replicas {
		if ok, err := l.Healthy(); !ok {
			time.Sleep(4 * time.Second)
			if ok, _ = l.Healthy(); !ok {
				t.Errorf("unhealthy after the outage: %v", err)
			}
		}
	}
}

func TestOpenWhileAway(t *testing.T) {
	t.Parallel()
	dead := "postgres://postgres@127.0.0.1:1/x?sslmode=disable"
	if _, err := Open(t.Context(), dead, testOptions(t)); !errors.Is(err, budget.ErrUnavailable) {
		t.Errorf("Open: %v", err)
	}
	opts := testOptions(t)
	opts.AllowAway = true
	l, err := Open(t.Context(), dead, opts)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := l.Healthy(); ok || err == nil {
		t.Error("healthy without a database")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.Permit(ctx, decision()); err != nil {
		t.Errorf("a call that no budget limits: %v", err)
	}
	if err := l.Permit(ctx, decision(hold("a", cent, cent))); !errors.Is(err, budget.ErrUnavailable) {
		t.Errorf("Permit: %v", err)
	}
	l.CloseOut(closeout(decision(), cent))
	if err := l.Close(ctx); err == nil || !strings.Contains(err.Error(), "is not settled to its end") {
		t.Errorf("Close: %v", err)
	}
}

func TestOpenWithoutSchema(t *testing.T) {
	t.Parallel()
	dsn := pgserver.ForTest(t)
	missing, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	missing.Path = "/no_such_database"
	_, err = Open(t.Context(), missing.String(), testOptions(t))
	if !errors.Is(err, budget.ErrUnavailable) || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("no such database: %v", err)
	}
	if _, err = Open(t.Context(), dsn, testOptions(t)); err == nil || !strings.Contains(err.Error(), "run keel migrate") || sqlState(err) != codeUndefinedTable {
		t.Errorf("no schema: %v", err)
	}
}

func TestStandingFollowsOtherReplicas(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	a, b := open(t, dsn, testOptions(t)), open(t, dsn, testOptions(t))
	permitted(t, a, hold("x", 5*cent, 100*cent))
	b.Standing(month("x")) // from now on b follows
	deadline := time.Now().Add(time.Second)
	for b.Standing(month("x")).Held != 5*cent {
		if time.Now().After(deadline) {
			t.Fatal("not seen within a second")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestAwaited: a background job is charged in full until a later call tells what
// it used. Whoever asks again, and whoever asks for another org, changes nothing.
func TestAwaited(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	d := permitted(t, l, hold("b", 5*cent, 100*cent))
	first := closeout(d, 5*cent)
	first.Usage, first.RawUsage, first.Metered, first.ResponseID, first.Awaited = nil, nil, budget.ByEstimate, "resp_1", true
	l.CloseOut(first)

	fetched := func(org, id string, cost pricing.NanoUSD) *budget.Closeout {
		c := closeout(d, cost)
		c.ID, c.Org, c.ResponseID, c.ProviderCost = uuid.Nil, org, id, "0.0200000001"
		return c
	}
	for _, step := range []struct {
		closeout *budget.Closeout
		want     pricing.NanoUSD
	}{
		{fetched("acme", "resp_2", cent), 5 * cent},
		{fetched("other", "resp_1", cent), 5 * cent},
		{fetched("acme", "resp_1", 2*cent), 2 * cent},
		{fetched("acme", "resp_1", 3*cent), 2 * cent},
	} {
		l.CloseOutResponse(step.closeout)
		flush(t, l)
		wantAccount(t, dsn, "b", step.want, 0)
	}
	if stats := l.Stats(); stats.Unrecorded != 0 {
		t.Errorf("%d records lost", stats.Unrecorded)
	}
	e, err := l.Explain(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if e.Closeout.Presumed || *e.Closeout.ProviderCost != "0.0200000001" || !strings.Contains(string(e.Record), `"cost_difference_usd": -0.0000000001`) {
		t.Errorf("%+v\n%s", e.Closeout, e.Record)
	}
}

// The end of a call may come to another replica. What the call held in the one that permitted it is free there, too.
func TestCloseOutElsewhere(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	options := func() Options {
		o := testOptions(t)
		o.AskEvery = 20 * time.Millisecond
		return o
	}
	a, b := open(t, dsn, options()), open(t, dsn, options())
	d := permitted(t, a, hold("a", 8*cent, 10*cent), hold("b", 8*cent, 100*cent))
	b.CloseOut(closeout(d, 2*cent))
	flush(t, b)
	flush(t, a)
	deadline := time.Now().Add(30 * time.Second)
	for a.Stats().Open > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the call is still open where it was permitted")
		}
		time.Sleep(10 * time.Millisecond)
	}
	wantAccount(t, dsn, "a", 2*cent, 0)
	if got := a.Standing(month("a")); got != (budget.Standing{Settled: 2 * cent}) {
		t.Errorf("standing %+v", got)
	}
	next := permitted(t, a, hold("a", 8*cent, 10*cent))
	a.CloseOut(closeout(next, 8*cent))
	flush(t, a)
	wantAccount(t, dsn, "a", 10*cent, 0)
	var r *budget.Refused
	if err := b.Permit(t.Context(), decision(hold("a", cent, 10*cent))); !errors.As(err, &r) {
		t.Errorf("beyond the limit: %v", err)
	}
}
