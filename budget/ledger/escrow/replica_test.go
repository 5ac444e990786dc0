package escrow

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/journal"
	"keel/pricing"
)

// alone opens one replica on a bank in a bubble, and ends it with the test.
func alone(t *testing.T, bank *model, o journal.Options) *Replica {
	t.Helper()
	o.Logger, o.SegmentBytes = slog.New(slog.DiscardHandler), 64<<10
	folder, err := journal.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(folder, bank, Options{Logger: o.Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Kill() })
	return r
}

// goingAway is a bank whose budget b has a ceiling, and that can't be reached while away says so.
func goingAway(ceiling pricing.NanoUSD) (bank *model, away *atomic.Bool) {
	bank, away = newModel(), new(atomic.Bool)
	bank.ceilings["b"], bank.away = ceiling, away.Load
	return bank, away
}

func holding(ceiling, amount, debt pricing.NanoUSD) *budget.Decision {
	return &budget.Decision{
		Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: time.Now()}, Action: budget.Allow,
		Holds: []budget.Hold{{Account: budget.Account{Org: "acme", Budget: "b"}, Amount: amount, Ceiling: ceiling, Limit: ceiling, Mode: budget.Enforce, Debt: debt}},
	}
}

// closing is the end of a decision at a cost.
func closing(d *budget.Decision, cost pricing.NanoUSD) *budget.Closeout {
	return &budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Complete, CostKnown: true, Cost: pricing.Cost{Total: cost}}
}

// While the bank is away a replica goes on from its slice, then owes up to the
// cap of the hold, and settles all of it when the bank is back.
func TestAwayThenDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank, away := goingAway(1000)
		r := alone(t, bank, journal.Options{})
		first := holding(1000, 10, 25)
		if err := r.Permit(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		away.Store(true)
		slice := 0
		for ; slice < 1000; slice++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := r.Permit(ctx, holding(1000, 10, 25))
			cancel()
			if errors.Is(err, budget.ErrUnavailable) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if slice == 0 || slice >= 100 {
			t.Errorf("%d calls from the slice, of room for 99", slice)
		}
		owed := 0
		for {
			d := holding(1000, 10, 25)
			d.Debt = true
			var refused *budget.Refused
			if err := r.Owe(d); errors.As(err, &refused) {
				if refused.Standing.Held != 20 {
					t.Errorf("refused at a debt of %d", refused.Standing.Held)
				}
				break
			} else if err != nil {
				t.Fatal(err)
			}
			owed++
		}
		if owed != 2 {
			t.Errorf("%d calls owed 10 each, of at most 25", owed)
		}
		if ok, _ := r.Healthy(); ok {
			t.Error("healthy while the bank is away")
		}
		away.Store(false)
		time.Sleep(5 * time.Second)
		if ok, err := r.Healthy(); !ok {
			t.Error(err)
		}
		if got, want := bank.of(&first.Holds[0].Account).held, pricing.NanoUSD(10*(1+slice+owed)); got != want {
			t.Errorf("held %d, want %d", got, want)
		}
		d := holding(1000, 10, 25) // what was owed is settled: there is credit again
		d.Debt = true
		if err := r.Owe(d); err != nil {
			t.Error(err)
		}
	})
}

// The lease that the first call of an account waits for is for more calls than that one: the bank may be gone when the second comes, and is
// asked once for both.
func TestFirstLeaseIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank, away := goingAway(1000)
		r := alone(t, bank, journal.Options{})
		if err := r.Permit(t.Context(), holding(1000, 10, 0)); err != nil {
			t.Fatal(err)
		}
		away.Store(true)
		if err := r.Permit(t.Context(), holding(1000, 10, 0)); err != nil {
			t.Errorf("the second call: %v", err)
		}
		synctest.Wait()
		if n := r.counts.leases.Load(); n != 1 {
			t.Errorf("%d leases, want one", n)
		}
		away.Store(false)
		bank.ceilings["small"] = 100
		d := holding(100, 10, 0)
		d.Holds[0].Account.Budget = "small"
		if err := r.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if got := bank.of(&d.Holds[0].Account).leased; got != 25 {
			t.Errorf("%d of 100 are leased for holds of 10, want a quarter", got)
		}
	})
}

// A journal that takes no more denies what a budget enforces, and lets the rest
// go on; it is written later.
func TestFullJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank, away := goingAway(1 << 40)
		r := alone(t, bank, journal.Options{MaxBytes: 128 << 10})
		if err := r.Permit(t.Context(), holding(1<<40, 1, 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		away.Store(true) // nothing is settled any more
		for i := 0; ; i++ {
			seen := holding(-1, 1, 0)
			seen.Holds[0].Mode, seen.Holds[0].Ceiling = budget.Observe, -1
			if err := r.Permit(t.Context(), seen); errors.Is(err, budget.ErrUnavailable) {
				seen.Debt = true
				if err := r.Owe(seen); err != nil {
					t.Errorf("a call that no budget enforces: %v", err)
				}
				break
			} else if err != nil || i > 100_000 {
				t.Fatalf("after %d calls: %v", i, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Permit(ctx, holding(1<<40, 1, 0)); !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("an enforced call: %v", err)
		}
		if n := r.Stats().Unkept; n != 1 {
			t.Errorf("%d records wait, want 1", n)
		}
		away.Store(false)
		time.Sleep(5 * time.Second)
		if n := r.Stats().Unkept; n != 0 {
			t.Errorf("%d records still wait", n)
		}
		if err := r.Permit(t.Context(), holding(1<<40, 1, 0)); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

// Closeouts that wait for a journal stay what they are while others are written.
func TestCloseoutsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank, away := goingAway(1 << 40)
		r := alone(t, bank, journal.Options{MaxBytes: 128 << 10})
		var open []*budget.Decision
		for range 20 {
			d := holding(-1, 1, 0)
			d.Holds[0].Mode = budget.Observe
			if err := r.Permit(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			open = append(open, d)
		}
		time.Sleep(time.Second)
		away.Store(true)
		full := func() bool {
			d := holding(-1, 1, 0)
			d.Holds[0].Mode = budget.Observe
			return r.Permit(t.Context(), d) != nil
		}
		for i := 0; !full(); i++ {
			if i > 100_000 {
				t.Fatal("the journal takes everything")
			}
		}
		for i, d := range open[:10] {
			r.CloseOut(closing(d, pricing.NanoUSD(100+i)))
		}
		if r.Stats().Unkept == 0 {
			t.Fatal("nothing waits")
		}
		away.Store(false)
		time.Sleep(time.Second)
		for i, d := range open[10:] {
			r.CloseOut(closing(d, pricing.NanoUSD(110+i)))
		}
		time.Sleep(5 * time.Second)
		bank.mu.Lock()
		defer bank.mu.Unlock()
		for i, d := range open {
			if call := bank.calls[d.ID]; call == nil || !call.closed || call.end.Cost.Total != pricing.NanoUSD(100+i) || len(call.charges) != 1 || call.charges[0].Amount != pricing.NanoUSD(100+i) {
				t.Errorf("call %d: %+v", i, call)
			}
		}
	})
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank, away := goingAway(1000)
		r := alone(t, bank, journal.Options{})
		d := holding(1000, 10, 0)
		if err := r.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		away.Store(true)
		receipt := r.CloseOut(closing(d, 7))
		for _, as := range []budget.Durability{budget.DurabilityOS, budget.DurabilityFsync} {
			if err := r.Await(t.Context(), receipt, as); err != nil {
				t.Errorf("%s: %v", as, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Await(ctx, receipt, budget.DurabilityPostgres); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("settled without a bank: %v", err)
		}
		away.Store(false)
		if err := r.Await(t.Context(), receipt, budget.DurabilityPostgres); err != nil {
			t.Error(err)
		}
		if got := bank.of(&d.Holds[0].Account).settled; got != 7 {
			t.Errorf("settled %d", got)
		}
		if err := r.Await(t.Context(), budget.Receipt{}, budget.DurabilityFsync); err == nil {
			t.Error("what is in no journal can't be durable")
		}
	})
}

// A replica whose clock is off is refused rolling windows, and no others.
func TestRollingNeedsAClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := newModel()
		bank.ceilings["b"] = 1000
		bank.behind = 3 * time.Hour
		r := alone(t, bank, journal.Options{})
		time.Sleep(1500 * time.Millisecond)
		d := holding(1000, 10, 0)
		d.Holds[0].Rolling, d.Holds[0].WindowStart, d.Holds[0].WindowEnd = time.Hour, time.Now().Add(-time.Second), time.Now().Add(59*time.Second)
		if err := r.Permit(t.Context(), d); !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("rolling: %v", err)
		}
		if err := r.Permit(t.Context(), holding(1000, 10, 0)); err != nil {
			t.Errorf("lifetime: %v", err)
		}
	})
}
