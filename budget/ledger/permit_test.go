package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

const cent = pricing.NanoUSD(10_000_000)

func month(name string) budget.Account {
	return budget.Account{Org: "acme", Budget: name,
		WindowStart: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), WindowEnd: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}
}

func hold(name string, amount, limit pricing.NanoUSD) budget.Hold {
	return budget.Hold{Account: month(name), Amount: amount, Ceiling: limit, Limit: limit, Mode: budget.Enforce, Version: 1}
}

func decision(holds ...budget.Hold) *budget.Decision {
	return &budget.Decision{
		Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: time.Now(), Subject: budget.Subject{"team": "research"},
			API: "openai-chat", Provider: "openai", Model: "gpt-5", Path: "/v1/chat/completions", Choices: 1},
		Shape:  tokens.Shape{Task: "generate", Messages: 1, Bytes: map[string]int64{"text": 12}},
		Action: budget.Allow, Reason: "fits", Holds: holds, PriceVersion: "2026-11",
		Estimate: budget.Estimate{InputTokens: 3, InputTokensBound: 12, OutputTokens: 100, OutputTokensBound: 1000,
			Expected: cent / 2, Bound: cent, BoundKind: tokens.Provable, Method: "bytes/1"},
		Rules: []budget.Rule{{Kind: budget.KindBudget, Name: "b", Version: 1, Effect: "held"}},
	}
}

func closeout(d *budget.Decision, cost pricing.NanoUSD) *budget.Closeout {
	return &budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Complete, Metered: budget.ByProvider,
		Usage: &meter.Usage{meter.Input: 3, meter.CachedInput: 2, meter.Output: 40, meter.Reasoning: 8}, RawUsage: []byte(`{"total_tokens":53}`),
		Cost:      pricing.Cost{Total: cost, Lines: []pricing.Line{{Meter: meter.Input, Quantity: 3, Rate: 1_250_000, Amount: cost}}},
		CostKnown: true, Attempts: 1, HTTPStatus: 200, Model: "gpt-5-2025", Detail: "end of stream"}
}

// limit puts the ceilings of holds in force, as documents would.
func limit(t testing.TB, l *Ledger, holds ...budget.Hold) {
	t.Helper()
	for _, h := range holds {
		if h.Ceiling < 0 {
			continue
		}
		if _, err := l.pool.Exec(t.Context(), `
insert into keel.budgets (org, name, limit_usd, "window") values ($1, $2, $3::bigint * 0.000000001, 'lifetime') on conflict (org, name) do update set limit_usd = excluded.limit_usd`,
			h.Org, h.Budget, int64(h.Ceiling)); err != nil {
			t.Fatal(err)
		}
	}
}

func permitted(t testing.TB, l *Ledger, holds ...budget.Hold) *budget.Decision {
	t.Helper()
	limit(t, l, holds...)
	d := decision(holds...)
	if err := l.Permit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func flush(t testing.TB, l *Ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := errors.Join(l.Flush(ctx), l.notes.flush(ctx)); err != nil {
		t.Fatal(err)
	}
}

// account returns settled and held of a budget over all its accounts.
func account(t testing.TB, dsn, name string) (s budget.Standing) {
	t.Helper()
	both := query[[]int64](t, dsn, "select array[coalesce(sum(settled_n), 0), coalesce(sum(held_n), 0)]::bigint[] from keel.accounts where budget = $1", name)
	return budget.Standing{Settled: pricing.NanoUSD(both[0]), Held: pricing.NanoUSD(both[1])}
}

func wantAccount(t testing.TB, dsn, name string, settled, held pricing.NanoUSD) {
	t.Helper()
	if got, want := account(t, dsn, name), (budget.Standing{Settled: settled, Held: held}); got != want {
		t.Errorf("account %s: %+v, want %+v", name, got, want)
	}
}

func TestPermitsOfManyReplicasNeverOverspend(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	var replicas []*Ledger
	for range 4 {
		replicas = append(replicas, open(t, dsn, testOptions(t)))
	}
	// The budget has room for 50; every call also holds in two budgets of its replica's own.
	for i := range 4 {
		own := fmt.Sprintf("replica-%d", i)
		limit(t, replicas[0], hold("zz-"+own, cent, 1000*cent), hold("shared", cent, 50*cent), hold("aa-"+own, cent, 1000*cent))
	}
	var allowed, refused atomic.Int64
	var wg sync.WaitGroup
	calls := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range calls {
				own := fmt.Sprintf("replica-%d", i%4)
				d := decision(hold("zz-"+own, cent, 1000*cent), hold("shared", cent, 50*cent), hold("aa-"+own, cent, 1000*cent))
				err := replicas[i%4].Permit(t.Context(), d)
				var r *budget.Refused
				switch {
				case err == nil:
					allowed.Add(1)
				case errors.As(err, &r):
					refused.Add(1)
					if r.Hold.Budget != "shared" || r.Standing.Held+cent <= 49*cent {
						t.Errorf("refused by %s at %+v", r.Hold.Budget, r.Standing)
					}
				default:
					t.Error(err)
				}
			}
		})
	}
	for i := range 500 {
		calls <- i
	}
	close(calls)
	wg.Wait()
	if allowed.Load() != 50 || refused.Load() != 450 {
		t.Errorf("%d allowed and %d refused, want 50 and 450", allowed.Load(), refused.Load())
	}
	for _, l := range replicas {
		flush(t, l)
	}
	wantAccount(t, dsn, "shared", 0, 50*cent)
}

func TestPermitTakesAllHoldsOrNone(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	names := []string{"f", "b", "e", "a", "d", "c"}
	var holds []budget.Hold
	for i, name := range names {
		limit := 10 * cent
		if name == "e" || name == "a" {
			limit = pricing.NanoUSD(3-i%2) * cent // e: 3 calls, a: 2 calls
		}
		holds = append(holds, hold(name, cent, limit))
	}
	permitted(t, l, holds...)
	permitted(t, l, holds...)

	var r *budget.Refused
	if err := l.Permit(t.Context(), decision(holds...)); !errors.As(err, &r) || r.Hold.Budget != "a" || r.Standing.Held != 2*cent {
		t.Fatalf("third call: %v, want refused by a", err)
	}
	flush(t, l)
	for _, name := range names {
		wantAccount(t, dsn, name, 0, 2*cent)
	}
	if n := query[int](t, dsn, "select count(*) from keel.decisions"); n != 2 {
		t.Errorf("%d decisions, want 2", n)
	}
}

func TestPermitAtTheEdge(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	permitted(t, l, hold("exact", 10*cent, 10*cent))
	var r *budget.Refused
	if err := l.Permit(t.Context(), decision(hold("exact", 1, 10*cent))); !errors.As(err, &r) {
		t.Errorf("a nano-dollar above the limit: %v", err)
	}
	permitted(t, l, hold("exact", 0, 10*cent)) // free calls still fit
	limit(t, l, hold("zero", 1, 0), hold("huge", 1, 10*cent))
	if err := l.Permit(t.Context(), decision(hold("zero", 1, 0))); !errors.As(err, &r) {
		t.Errorf("a limit of zero: %v", err)
	}
	permitted(t, l, hold("observed", 99*cent, -1))
	if err := l.Permit(t.Context(), decision(hold("huge", 1<<62, 10*cent))); !errors.As(err, &r) {
		t.Errorf("a hold that overflows: %v", err)
	}
	if err := l.Permit(t.Context(), decision(hold("negative", -1, 10*cent))); err == nil || errors.Is(err, budget.ErrUnavailable) {
		t.Errorf("a negative hold: %v", err)
	}
	life := budget.Hold{Account: budget.Account{Org: "acme", Budget: "life"}, Amount: cent, Ceiling: cent, Limit: cent, Mode: budget.Enforce}
	permitted(t, l, life)
	if err := l.Permit(t.Context(), decision(life)); !errors.As(err, &r) {
		t.Errorf("second call in a lifetime budget: %v", err)
	}
}
