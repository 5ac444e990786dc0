package ledger

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/pricing"
)

func TestLease(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j := l.journal()
	ask := func(want, least pricing.NanoUSD, share int64, owed pricing.NanoUSD) escrow.Lease {
		t.Helper()
		r := j.request(thisMonth("a"), want)
		r.Min, r.Share, r.Owed = least, share, owed
		answer, err := l.Lease(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for _, c := range []struct {
		want, least pricing.NanoUSD
		share       int64
		owed, given pricing.NanoUSD
	}{
		{400, 10, 4, 0, 250},                        // a quarter of 1000
		{400, 10, 4, 0, 187},                        // of 750
		{400, 300, 4, 0, 300},                       // at least
		{20, 10, 1, 0, 20},                          // no more than it wants
		{400, 200, 1, 50, 0},                        // 243 left, 50 of it owed
		{400, 193, 1, 50, 193}, {400, 10, 2, 0, 25}, // 50 left
		{26, 26, 1, 0, 0}, {100, 25, 1, 0, 25}, {1, 1, 1, 0, 0},
	} {
		if got := ask(c.want, c.least, c.share, c.owed); got.Given != c.given || (got.Given == 0) != (got.Refused == escrow.NoRoom) {
			t.Fatalf("%+v: %+v", c, got)
		}
	}
	if got := ask(1, 1, 1, 0); got.Granted != 1000 || got.Leased != 1000 || got.Ceiling != 1000 || got.Settled != 0 {
		t.Errorf("%+v", got)
	}
	if got := j.lease(thisMonth("nothing"), 1); got.Refused != escrow.NoBudget {
		t.Errorf("a budget that is not there: %+v", got)
	}
	if _, err := l.Lease(t.Context(), escrow.LeaseRequest{Epoch: j.epoch, Key: escrow.KeyOf(&budget.Account{Org: "acme", Budget: "a"}), Want: 1, Min: 2, Share: 1}); !errors.Is(err, errInvalid) {
		t.Errorf("want below min: %v", err)
	}
	// The tier that denies is the ceiling.
	l.exec(`insert into keel.budgets (org, name, limit_usd, tiers) values ('acme', 'tiers', 0.000001001, '[{"at": "50%", "do": "warn"}, {"at": "75%", "do": "deny"}]')`)
	if got := j.lease(thisMonth("tiers"), 751); got.Ceiling != 750 || got.Given != 0 {
		t.Errorf("75%% of 1001: %+v", got)
	}
	l.finish(j)
	if got := ask(1, 1, 1, 0); got.Refused != escrow.IsFinished {
		t.Errorf("a finished epoch: %+v", got)
	}
	if got := j.lease(thisMonth("tiers"), 1); got.Refused != escrow.IsFinished {
		t.Errorf("a finished epoch, in an account that is new to it: %+v", got)
	}
}

func TestIdleIsWhatARecallMayBring(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 100, "month")
	mine, other, silent := l.journal(), l.journal(), l.journal()
	for _, j := range []*testJournal{mine, other} {
		if _, err := l.Beat(t.Context(), escrow.Member{Epoch: j.epoch, Host: "h", Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	mine.lease(thisMonth("a"), 10)
	other.lease(thisMonth("a"), 60)
	silent.lease(thisMonth("a"), 30)
	l.exec("update keel.replicas set heartbeat_at = now() - interval '1 hour' where epoch = $1", silent.epoch)
	idle := func(want pricing.NanoUSD) {
		t.Helper()
		if got := mine.lease(thisMonth("a"), 1); got.Refused != escrow.NoRoom || got.Idle != want {
			t.Errorf("%+v, want %d idle", got, want)
		}
	}
	idle(60)
	d := admitted(enforced(thisMonth("a"), 25), observed(thisMonth("seen"), 25))
	other.settle(decided(d))
	idle(35)
	other.settle(other.closed(d, ended(d, 5)))
	idle(55)
	d = admitted(enforced(thisMonth("a"), 50))
	other.settle(decided(d), back(thisMonth("a"), 5))
	if got := mine.lease(thisMonth("a"), 5); got.Given != 5 {
		t.Errorf("what came back: %+v", got)
	}
	idle(0)
	l.presumeAll()
	idle(0)
}

func TestLeaseRace(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]string{"month": "month", "rolling": "rolling 10h"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.budget("a", 5000, window)
			a := thisMonth("a")
			if window != "month" {
				a = bucket("a", 10*time.Hour, 0)
			}
			total := race(t, l, a)
			if total != 5000 {
				t.Errorf("%d given of 5000", total)
			}
			l.want("a", sums{leased: 5000})
		})
	}
}

// race lets 64 goroutines of 4 epochs lease until nothing is left.
func race(t *testing.T, l *lab, accounts ...budget.Account) (total pricing.NanoUSD) {
	var epochs [4]*testJournal
	for i := range epochs {
		epochs[i] = l.journal()
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for {
				r := epochs[i%4].request(accounts[i%len(accounts)], pricing.NanoUSD(7+i%5))
				r.Min, r.Share = 1, 8
				answer, err := l.Lease(t.Context(), r)
				if err != nil {
					t.Error(err)
					return
				}
				if answer.Given == 0 {
					if answer.Refused != escrow.NoRoom && (len(accounts) == 1 || answer.Refused != escrow.NotItsClock) {
						t.Errorf("%+v", answer)
					}
					return
				}
				mu.Lock()
				total += answer.Given
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return total
}

// At the border of two buckets both are leased from, and have one limit.
func TestLeaseRaceOverBuckets(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for range 4 {
		l.exec("delete from keel.budgets")
		name := uuid.NewString()
		l.budget(name, 1500, "rolling 2m")
		total := race(t, l, bucket(name, 2*time.Minute, 1), bucket(name, 2*time.Minute, 0), bucket(name, 2*time.Minute, -1))
		if total > 1500 {
			t.Errorf("%d given of 1500", total)
		}
		l.want(name, sums{leased: int64(total)})
	}
}

// An account under exact grants of one call is a register that takes amounts as
// long as they fit, and returns them.
type grantInput struct{ take, giveBack pricing.NanoUSD }

var exactGrants = porcupine.Model{
	Init: func() any { return pricing.NanoUSD(0) },
	Step: func(state, input, output any) (bool, any) {
		used, in, given := state.(pricing.NanoUSD), input.(grantInput), output.(bool)
		const ceiling = 60
		switch {
		case in.giveBack > 0:
			return true, used - in.giveBack
		case given:
			return used+in.take <= ceiling, used + in.take
		default:
			return used+in.take > ceiling, used
		}
	},
}

func exactHistory(t *testing.T, l *lab) []porcupine.Operation {
	l.budget("a", 60, "month")
	var mu sync.Mutex
	var history []porcupine.Operation
	began := time.Now()
	var wg sync.WaitGroup
	for client := range 8 {
		j := l.journal()
		wg.Go(func() {
			do := func(in grantInput, op func() bool) bool {
				call := time.Since(began).Nanoseconds()
				out := op()
				end := time.Since(began).Nanoseconds()
				mu.Lock()
				defer mu.Unlock()
				history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: end})
				return out
			}
			for i := range 12 {
				amount := pricing.NanoUSD(3 + (client*7+i*5)%9)
				given := do(grantInput{take: amount}, func() bool {
					answer, err := l.Lease(t.Context(), j.request(thisMonth("a"), amount))
					if err != nil {
						t.Error(err)
					}
					return answer.Given > 0
				})
				if given && i%2 == 0 {
					do(grantInput{giveBack: amount}, func() bool {
						if _, err := l.Settle(t.Context(), j.batch(back(thisMonth("a"), amount))); err != nil {
							t.Error(err)
						}
						return true
					})
				}
			}
		})
	}
	wg.Wait()
	return history
}

func TestExactGrantsAreLinearizable(t *testing.T) {
	t.Parallel()
	for range 3 {
		history := exactHistory(t, newLab(t))
		if result := porcupine.CheckOperationsTimeout(exactGrants, history, 30*time.Second); result != porcupine.Ok {
			t.Fatalf("the history of %d operations is %s", len(history), result)
		}
	}
}

// With the limit tested by a sub-select both the race and the history show it.
func TestMutantSubselectIsCaught(t *testing.T) {
	t.Parallel()
	caught := 0
	for range 5 {
		dsn := database(t)
		pool, err := newPool(dsn, 32)
		if err != nil {
			t.Fatal(err)
		}
		l := &lab{t: t, dsn: dsn, pool: pool, Bank: NewBank(pool, BankOptions{})}
		l.mutant.subselect = true
		if porcupine.CheckOperationsTimeout(exactGrants, exactHistory(t, l), 30*time.Second) == porcupine.Illegal {
			caught++
		}
		report, err := Check(t.Context(), dsn, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Violations) > 0 {
			caught++
		}
		pool.Close()
	}
	if caught == 0 {
		t.Error("neither the history nor the invariants show it")
	}
	t.Logf("caught %d times", caught)
}

func TestLearningAfterAFailover(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.o.LearnFor = time.Hour
	l.budget("a", 100, "month")
	j := l.journal()
	beat := func() escrow.Fleet {
		t.Helper()
		fleet, err := l.Beat(t.Context(), escrow.Member{Epoch: j.epoch, Host: "h", Now: time.Now().Add(5 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		return fleet
	}
	fleet := beat()
	if fleet.Live != 1 || fleet.Learning || len(fleet.Timeline) != 8 || time.Since(fleet.Now).Abs() > time.Minute {
		t.Fatalf("%+v", fleet)
	}
	if ahead := query[int64](t, l.dsn, "select clock_offset_us from keel.replicas"); ahead < 4_000_000 || ahead > 6_000_000 {
		t.Errorf("the clock is 5 s ahead, recorded as %d µs", ahead)
	}
	r := j.request(thisMonth("a"), 10)
	for timeline, want := range map[string]string{fleet.Timeline: "", "": "", "00000000": escrow.IsLearning} {
		r.Timeline = timeline
		if got, err := l.Lease(t.Context(), r); err != nil || got.Refused != want {
			t.Errorf("timeline %q: %+v, %v", timeline, got, err)
		}
	}
	// As if the row were from before the promotion of this server.
	l.exec("update keel.db_state set timeline = '00000000'")
	r.Timeline = "00000000"
	if got, err := l.Lease(t.Context(), r); err != nil || got.Refused != escrow.IsLearning {
		t.Errorf("before anybody noticed: %+v, %v", got, err)
	}
	if again := beat(); !again.Learning || again.Timeline != fleet.Timeline {
		t.Errorf("%+v", again)
	}
	r.Timeline = fleet.Timeline
	if got, err := l.Lease(t.Context(), r); err != nil || got.Refused != escrow.IsLearning {
		t.Errorf("while it learns: %+v, %v", got, err)
	}
	// The lost transactions come back by claims, which never lower anything.
	claims := func(n pricing.NanoUSD) []escrow.Grant {
		a := thisMonth("a")
		return []escrow.Grant{{Key: escrow.KeyOf(&a), Granted: n}, {Key: escrow.Key{Org: "other", Budget: "b", Start: -escrow.Unbounded, End: escrow.Unbounded}, Granted: 5}}
	}
	for _, c := range []struct{ claim, leased, forced int64 }{{20, 20, 0}, {15, 20, 0}, {90, 90, 0}, {130, 130, 30}} {
		if err := l.Reassert(t.Context(), j.epoch, claims(pricing.NanoUSD(c.claim))); err != nil {
			t.Fatal(err)
		}
		l.want("a", sums{leased: c.leased, forced: c.forced})
		l.sound()
	}
	l.exec("update keel.db_state set learn_until = now()")
	if got, err := l.Lease(t.Context(), r); err != nil || got.Refused != escrow.NoRoom {
		t.Errorf("full: %+v, %v", got, err)
	}
	if live := beat().Live; live != 1 {
		t.Errorf("%d live", live)
	}
	if _, err := l.Beat(t.Context(), escrow.Member{Epoch: uuid.Must(uuid.NewV7()), Host: "h", Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if live := beat().Live; live != 2 {
		t.Errorf("%d live", live)
	}
}

// bucket is the bucket of a rolling window that is n before the current one.
func bucket(name string, length time.Duration, n int) budget.Account {
	g := length / 60
	start := time.Now().Truncate(g).Add(-time.Duration(n) * g).UTC()
	return budget.Account{Org: "acme", Budget: name, WindowStart: start, WindowEnd: start.Add(g), Rolling: length}
}

func TestRollingLease(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const length = 60 * time.Hour // buckets of an hour
	l.budget("a", 100, "rolling 60h")
	j := l.journal()
	spend := func(n int, amount pricing.NanoUSD) { // charged n buckets ago
		d := admitted(observed(bucket("a", length, n), amount))
		j.settle(decided(d), j.closed(d, ended(d, amount)))
	}
	spend(1, 10)
	spend(59, 20)
	spend(61, 40) // counts no more
	now := bucket("a", length, 0)
	if time.Until(now.WindowEnd) < 10*time.Second {
		t.Skip("too close to the end of a bucket")
	}
	if got := j.lease(now, 71); got.Refused != escrow.NoRoom || got.Settled != 30 {
		t.Errorf("more than is left of the window: %+v", got)
	}
	if got := j.lease(now, 50); got.Given != 50 || got.Settled != 30 || got.Leased != 50 {
		t.Errorf("%+v", got)
	}
	if got := j.lease(now, 21); got.Refused != escrow.NoRoom || got.Leased != 50 {
		t.Errorf("%+v", got)
	}
	for _, n := range []int{-2, -1, 1, 2} {
		other := bucket("a", length, n) // as one that was leased from while it was current
		if err := l.makeRows(t.Context(), j.epoch, escrow.KeyOf(&other)); err != nil {
			t.Fatal(err)
		}
		if got := j.lease(bucket("a", length, n), 1); got.Refused != escrow.NotItsClock {
			t.Errorf("bucket %d: %+v", n, got)
		}
	}
	standings, err := l.Standings(t.Context(), []escrow.Key{escrow.KeyOf(&now), {Org: "acme", Budget: "never"}})
	if err != nil || len(standings) != 1 || standings[0] != (escrow.Standing{Key: escrow.KeyOf(&now), Settled: 30, Leased: 50}) {
		t.Errorf("%+v, %v", standings, err)
	}
	if got := query[string](t, l.dsn, `select concat_ws(' ', trim_scale(settled_usd * 1000000000), trim_scale(leased_usd * 1000000000), trim_scale(remaining_usd * 1000000000),
		window_start between now() - interval '60 hours 1 second' and now() - interval '60 hours', window_end is null) from keel.budget_status`); got != "30 50 70 t t" {
		t.Errorf("budget_status: %s", got)
	}
	// The bucket in SQL is the one in Go.
	if got := query[time.Time](t, l.dsn, `select window_start from keel.window_bounds('rolling 60h', 'Europe/Berlin', now())`); !got.Equal(now.WindowStart) {
		t.Errorf("bucket from %s, want %s", got, now.WindowStart)
	}
}

// A budget that was for its lifetime and is rolling now has an account with infinite bounds. Nothing that looks at
// the buckets of the window may stumble over it.
func TestLeaseWhereALifetimeWas(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("b", 1000, "lifetime")
	j := l.journal()
	j.lease(budget.Account{Org: "acme", Budget: "b"}, 40)
	l.exec(`update keel.budgets set "window" = 'rolling 60h' where name = 'b'`)
	now := bucket("b", 60*time.Hour, 0)
	if time.Until(now.WindowEnd) < 10*time.Second {
		t.Skip("too close to the end of a bucket")
	}
	if got := j.lease(now, 60); got.Given != 60 || got.Leased != 60 {
		t.Errorf("%+v", got)
	}
	if got := j.lease(now, 5000); got.Refused != escrow.NoRoom {
		t.Errorf("%+v", got)
	}
	l.exec(`update keel.budgets set limit_usd = 0.0000005 where name = 'b'`) // a cut looks for what is beyond it
	if standings, err := l.Standings(t.Context(), []escrow.Key{escrow.KeyOf(&now)}); err != nil || len(standings) != 1 || standings[0].Leased != 60 {
		t.Errorf("%+v, %v", standings, err)
	}
	if got := query[string](t, l.dsn, "select trim_scale(leased_usd * 1000000000)::text from keel.budget_status"); got != "60" {
		t.Errorf("budget_status: %s", got)
	}
	l.sound()
}
