package escrow

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/journal"
	"keel/pricing"
)

// two holds in b, which enforces, and in seen, which observes.
func two(ceiling, amount pricing.NanoUSD) *budget.Decision {
	d := holding(ceiling, amount, 0)
	d.Holds = append(d.Holds, budget.Hold{Account: budget.Account{Org: "acme", Budget: "seen"}, Amount: amount, Ceiling: -1, Limit: 5, Mode: budget.Observe})
	return d
}

// flushed settles what the replica has written, and returns accounts of the bank.
func flushed(t *testing.T, r *Replica, bank *model, d *budget.Decision) (accounts []modelAccount) {
	t.Helper()
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := bank.check(); err != nil {
		t.Error(err)
	}
	for i := range d.Holds {
		accounts = append(accounts, bank.of(&d.Holds[i].Account))
	}
	return accounts
}

func TestExtend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := newModel()
		bank.ceilings["b"] = 1000
		r := alone(t, bank, journal.Options{})
		d := two(1000, 10)
		if err := r.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		asked := r.Stats().Waited
		for range 3 {
			if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{20, 5}); err != nil {
				t.Fatal(err)
			}
		}
		if r.Stats().Waited != asked {
			t.Error("the bank was asked although the slice had room")
		}
		if got := r.Standing(d.Holds[0].Account).Held; got != 70 {
			t.Errorf("this replica knows of %d held, want 70", got)
		}
		if d.Holds[0].Amount != 10 || d.Holds[1].Amount != 10 {
			t.Errorf("the decision itself was changed: %+v", d.Holds)
		}
		for name, c := range map[string]struct {
			id          uuid.UUID
			more        []pricing.NanoUSD
			unavailable bool
		}{
			"never permitted":          {uuid.Must(uuid.NewV7()), []pricing.NanoUSD{1, 1}, true},
			"an amount too few":        {d.ID, []pricing.NanoUSD{1}, false},
			"a negative amount":        {d.ID, []pricing.NanoUSD{1, -1}, false},
			"more than can be counted": {d.ID, []pricing.NanoUSD{1, math.MaxInt64}, false},
		} {
			var refused *budget.Refused
			if err := r.Extend(t.Context(), c.id, c.more); err == nil || errors.Is(err, budget.ErrUnavailable) != c.unavailable || errors.As(err, &refused) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := flushed(t, r, bank, d); got[0].held != 70 || got[1].held != 25 || got[0].leased < 70 {
			t.Errorf("extended: %+v", got)
		}
		time.Sleep(2 * time.Second)
		if got := r.Standing(d.Holds[0].Account).Held; got != 70 {
			t.Errorf("settled, this replica knows of %d held, want 70", got)
		}
		// What is not there is refused, in all budgets, and says what was asked for.
		var refused *budget.Refused
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{931, 7}); !errors.As(err, &refused) || refused.Hold.Budget != "b" || refused.Hold.Amount != 931 || refused.Standing.Held < 70 {
			t.Errorf("beyond the limit: %v, %+v", err, refused)
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{930, 0}); err != nil {
			t.Errorf("to the limit: %v", err)
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{1, 0}); !errors.As(err, &refused) {
			t.Errorf("at the limit: %v", err)
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{0, 50}); err != nil {
			t.Errorf("what only observes needs no room: %v", err)
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{0, 0}); err != nil {
			t.Errorf("nothing: %v", err)
		}
		if got := flushed(t, r, bank, d); got[0].held != 1000 || got[1].held != 75 {
			t.Errorf("at the limit: %+v", got)
		}
		// What is not used is free again, at once.
		r.CloseOut(closing(d, 100))
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{1, 1}); !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("after the closeout: %v", err)
		}
		if got := flushed(t, r, bank, d); got[0].settled != 100 || got[0].held != 0 || got[1].settled != 100 || got[1].held != 0 {
			t.Errorf("closed: %+v", got)
		}
		// A cost that is not known is all that was held.
		d = two(1000, 400)
		if err := r.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{500, 100}); err != nil {
			t.Fatal(err)
		}
		end := closing(d, 3)
		end.CostKnown = false
		r.CloseOut(end)
		if got := flushed(t, r, bank, d); got[0].settled != 1000 || got[1].settled != 600 || got[0].forced != 0 {
			t.Errorf("of unknown cost: %+v", got)
		}
	})
}

// An extension of a debt is debt, with the same credit, which comes back when it is settled.
func TestExtendADebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank, away := goingAway(1000)
		r := alone(t, bank, journal.Options{})
		time.Sleep(time.Second)
		away.Store(true)
		d := holding(1000, 10, 25)
		d.Debt = true
		if err := r.Owe(d); err != nil {
			t.Fatal(err)
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{15}); err != nil {
			t.Fatal(err)
		}
		var refused *budget.Refused
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{1}); !errors.As(err, &refused) || refused.Hold.Amount != 1 || refused.Standing.Held != 25 {
			t.Errorf("beyond the credit: %v, %+v", err, refused)
		}
		if owed := r.Stats().Debt; owed != 25 {
			t.Errorf("counted a debt of %d", owed)
		}
		away.Store(false)
		if got := flushed(t, r, bank, d); got[0].held != 25 || got[0].leased != 0 {
			t.Errorf("%+v", got)
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{25}); err != nil {
			t.Errorf("settled debt is credit again: %v", err)
		}
		r.CloseOut(closing(d, 30))
		if got := flushed(t, r, bank, d); got[0].held != 0 || got[0].settled != 30 || got[0].forced != 30 {
			t.Errorf("%+v", got)
		}
	})
}

// While the bank is away a slice is used up, and then nobody can say. What was tried left nothing.
func TestExtendWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank, away := goingAway(1000)
		r := alone(t, bank, journal.Options{})
		d := two(1000, 10)
		if err := r.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		away.Store(true)
		before := r.Stats().Leased
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Extend(ctx, d.ID, []pricing.NanoUSD{900, 900}); !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if now := r.Stats().Leased; now != before || now == 0 {
			t.Errorf("%d of the slice is left, of %d", now, before)
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{pricing.NanoUSD(before), 0}); err != nil {
			t.Errorf("what the slice has: %v", err)
		}
	})
}

// Near the limit, slices that lie idle elsewhere are recalled for an extension as for a call.
func TestExtendRecalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := newModel()
		bank.ceilings["b"] = 1000
		other, r := alone(t, bank, journal.Options{}), alone(t, bank, journal.Options{})
		time.Sleep(2 * time.Second)
		idle, d := holding(1000, 8, 0), holding(1000, 10, 0)
		for r, d := range map[*Replica]*budget.Decision{other: idle, r: d} {
			if err := r.Permit(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if other.Stats().Leased == 0 {
			t.Fatal("the other replica has nothing idle")
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{1000 - 10 - 8}); err != nil {
			t.Error(err)
		}
		if r.Stats().Recalls == 0 {
			t.Error("nothing was recalled")
		}
	})
}

// A closeout that comes while an extension waits for money wins: the money, when it comes, is free.
func TestExtendWaitsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := newModel()
		bank.ceilings["b"] = 1000
		other, r := alone(t, bank, journal.Options{}), alone(t, bank, journal.Options{})
		time.Sleep(2 * time.Second)
		d := holding(1000, 10, 0)
		for r, d := range map[*Replica]*budget.Decision{other: holding(1000, 8, 0), r: d} {
			if err := r.Permit(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		other.Kill() // what it leased is not given back for now
		var late error
		done := make(chan struct{})
		go func() {
			defer close(done)
			late = r.Extend(t.Context(), d.ID, []pricing.NanoUSD{900})
		}()
		time.Sleep(300 * time.Millisecond)
		r.CloseOut(closing(d, 10))
		time.Sleep(100 * time.Millisecond)
		bank.mu.Lock()
		bank.ceilings["b"] = 2000
		bank.mu.Unlock()
		<-done
		if !errors.Is(late, budget.ErrUnavailable) {
			t.Errorf("%v", late)
		}
		if free := r.Stats().Leased; free < 900 {
			t.Errorf("%d are free", free)
		}
		if got := flushed(t, r, bank, d)[0]; got.settled != 10 || got.held != 8 {
			t.Errorf("%+v", got)
		}
		if err := r.Permit(t.Context(), holding(2000, 900, 0)); err != nil {
			t.Error(err)
		}
	})
}

// A window that is over is extended by what is asked for and no more: nobody will use the rest.
func TestExtendBeyondTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := newModel()
		bank.ceilings["b"] = 1000
		r := alone(t, bank, journal.Options{})
		d := holding(1000, 10, 0)
		d.Holds[0].WindowStart, d.Holds[0].WindowEnd = time.Now().Add(-time.Hour), time.Now().Add(2*time.Second)
		if err := r.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(5 * time.Minute)
			if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{30}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if got := flushed(t, r, bank, d)[0]; got.held != 100 || got.leased != 100 {
			t.Errorf("%+v", got)
		}
	})
}

// Whichever is first, an extension or the closeout: either both count, or the extension failed and left nothing.
func TestExtendRacesCloseOut(t *testing.T) {
	bank := newModel()
	bank.ceilings["b"] = 1 << 40
	folder, err := journal.Open(t.TempDir(), journal.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(folder, bank, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var want atomic.Int64
	var extended, late atomic.Int64
	var all sync.WaitGroup
	for range 200 {
		d := two(1<<40, 100)
		if err := r.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		held := new(atomic.Int64)
		held.Store(100)
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				for {
					err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{7, 7})
					if errors.Is(err, budget.ErrUnavailable) {
						late.Add(1)
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					held.Add(7)
					extended.Add(1)
				}
			})
		}
		all.Go(func() {
			end := closing(d, 0)
			end.CostKnown = false // costs what was held
			r.CloseOut(end)
			r.CloseOut(end)
			calls.Wait()
			want.Add(held.Load())
		})
	}
	all.Wait()
	if extended.Load() == 0 || late.Load() != 600 {
		t.Errorf("%d extensions, %d too late", extended.Load(), late.Load())
	}
	got := flushed(t, r, bank, two(0, 0))
	for _, a := range got {
		if a.settled != pricing.NanoUSD(want.Load()) || a.held != 0 {
			t.Errorf("%+v, want %d settled", a, want.Load())
		}
	}
	if avail := r.Stats().Leased; avail != int64(got[0].leased) {
		t.Errorf("the slice has %d left, the bank leased %d", avail, got[0].leased)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := bank.check(); err != nil {
		t.Error(err)
	}
	if left := bank.of(&budget.Account{Org: "acme", Budget: "b"}); left.leased != 0 || left.forced != 0 {
		t.Errorf("closed: %+v", left)
	}
}

// A process that dies between taking the money and writing it down has extended nothing: the
// next one charges what is written, and gives back the rest. One that died behind it charges all.
func TestExtendThenCrash(t *testing.T) {
	for name, want := range map[string]pricing.NanoUSD{"before it is written": 10, "behind it": 40} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bank := newModel()
				bank.ceilings["b"] = 1000
				dir := t.TempDir()
				start := func() *Replica {
					folder, err := journal.Open(dir, journal.Options{Logger: slog.New(slog.DiscardHandler), SegmentBytes: 64 << 10})
					if err != nil {
						t.Fatal(err)
					}
					r, err := Open(folder, bank, Options{Logger: slog.New(slog.DiscardHandler)})
					if err != nil {
						t.Fatal(err)
					}
					return r
				}
				r := start()
				d := two(1000, 10)
				if err := r.Permit(t.Context(), d); err != nil {
					t.Fatal(err)
				}
				if want > 10 {
					if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{30, 30}); err != nil {
						t.Fatal(err)
					}
				} else {
					c := r.open.find(d.ID)
					takes, err := c.additions(nil, []pricing.NanoUSD{30, 30})
					if err != nil {
						t.Fatal(err)
					}
					if err := r.reserveMore(t.Context(), c, takes); err != nil {
						t.Fatal(err)
					}
				}
				r.Kill()
				next := start()
				defer next.Kill()
				time.Sleep(5 * time.Second)
				for i := range d.Holds {
					if got := bank.of(&d.Holds[i].Account); got.settled != want || got.leased != 0 || got.held != 0 {
						t.Errorf("%s: %+v, want %d settled", d.Holds[i].Budget, got, want)
					}
				}
				if err := bank.check(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
