package ledger

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/pricing"
)

func (l *lab) limit(name string, limit pricing.NanoUSD) {
	l.t.Helper()
	l.exec("update keel.budgets set limit_usd = $2::bigint * 0.000000001 where org = 'acme' and name = $1", name, int64(limit))
}

// inForce is version, ceiling, bound and whether a cut is pending.
func (l *lab) inForce(name, want string) {
	l.t.Helper()
	if got := query[string](l.t, l.dsn, "select concat_ws(' ', version, ceiling_n, bound_n, pending_version is not null) from keel.limits where org = 'acme' and budget = $1", name); got != want {
		l.t.Errorf("in force: %s, want %s", got, want)
	}
}

func TestEdits(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 100, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 80)
	long := thisMonth("a") // a window that is over does not matter
	long.WindowStart, long.WindowEnd = long.WindowStart.AddDate(-1, 0, 0), long.WindowEnd.AddDate(-1, 0, 0)
	old := admitted(observed(long, 1_000_000))
	j.settle(decided(old), j.closed(old, ended(old, 1_000_000)))
	l.inForce("a", "1 100 0 f")

	l.limit("a", 150) // raise
	l.inForce("a", "2 150 0 f")
	if got := j.lease(thisMonth("a"), 70); got.Given != 70 {
		t.Errorf("after the raise: %+v", got)
	}
	l.limit("a", 120) // cut: 30 more is out already
	l.inForce("a", "3 120 30 f")
	if got := j.lease(thisMonth("a"), 1); got.Refused != escrow.NoRoom || got.Ceiling != 120 {
		t.Errorf("after the cut: %+v", got)
	}
	if got := query[string](t, l.dsn, "select concat_ws(' ', version, ceiling_n, bound_n, effective_at = asked_at or effective_at > asked_at, superseded_by) from keel.cuts"); got != "3 120 30 t" {
		t.Errorf("cut: %s", got)
	}
	l.exec("update keel.budgets set mode = 'observe', tiers = '[{\"at\": \"50%\", \"do\": \"deny\"}]' where name = 'a'") // a cut, too
	l.inForce("a", "4 60 90 f")
	l.exec("update keel.budgets set tiers = '[]', mode = 'enforce' where name = 'a'")
	l.inForce("a", "5 120 90 f")

	l.exec("update keel.budgets set cut = 'strict' where name = 'a'")
	l.limit("a", 90)
	l.inForce("a", "6 120 60 t")
	l.limit("a", 100) // another one instead
	l.inForce("a", "6 120 50 t")
	beat := func() {
		t.Helper()
		if err := l.maintain(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	l.inForce("a", "6 120 50 t")
	j.settle(back(thisMonth("a"), 45))
	if got := j.lease(thisMonth("a"), 1); got.Refused != escrow.NoRoom { // 105 is out: below what is in force, above what is coming
		t.Errorf("while a cut is pending: %+v", got)
	}
	j.settle(back(thisMonth("a"), 5))
	l.sound()
	beat()
	l.inForce("a", "8 100 50 f")
	if got := query[string](t, l.dsn, "select string_agg(concat_ws(' ', version, effective_at > asked_at, superseded_by), ', ' order by version) from keel.cuts where version > 5"); got != "7 8, 8 t" {
		t.Errorf("cuts: %s", got)
	}
	l.limit("a", 99)
	l.limit("a", 200) // a raise ends what is pending
	l.inForce("a", "10 200 1 f")

	l.exec("delete from keel.budgets where name = 'a'")
	if got := j.lease(thisMonth("a"), 1); got.Refused != escrow.NoBudget {
		t.Errorf("a deleted budget: %+v", got)
	}
	d := admitted(enforced(thisMonth("a"), 60)) // what was leased is still accounted for
	j.settle(decided(d), j.closed(d, ended(d, 60)))
	l.budget("a", 50, "month")
	l.inForce("a", "12 50 0 f")
}

func TestRollingCut(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 100, "rolling 60h")
	j := l.journal()
	for _, n := range []int{0, 30, 59, 62} {
		d := admitted(observed(bucket("a", 60*time.Hour, n), 20))
		j.settle(decided(d), j.closed(d, ended(d, 20)))
	}
	l.limit("a", 50)
	l.inForce("a", "2 50 10 f")
	l.exec(`update keel.budgets set "window" = 'month' where name = 'a'`)
	if rolling := query[*int64](t, l.dsn, "select rolling_us from keel.limits"); rolling != nil {
		t.Errorf("still rolling %d", *rolling)
	}
}

// Leases and edits at once: nothing is given that the limit of its moment does not allow.
func TestEditsWhileLeasing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 10_000, "month")
	var wg sync.WaitGroup
	for range 8 {
		j := l.journal()
		wg.Go(func() {
			for range 40 {
				r := j.request(thisMonth("a"), 100)
				r.Min, r.Share = 1, 4
				answer, err := l.Lease(t.Context(), r)
				if err != nil {
					t.Error(err)
					return
				}
				if answer.Given > 0 {
					if answer.Leased+answer.Settled > answer.Ceiling {
						t.Errorf("given beyond the ceiling: %+v", answer)
					}
					if _, err := l.Settle(t.Context(), j.batch(back(thisMonth("a"), answer.Given))); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range 30 {
		l.limit("a", pricing.NanoUSD(1+i*37%11)*100)
	}
	wg.Wait()
	l.want("a", sums{})
}

func TestRecall(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 100, "month")
	l.budget("roll", 100, "rolling 60h")
	got := make(chan escrow.Key, 16)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Recalls(ctx, func(k escrow.Key) { got <- k }) }()
	month, rolling := thisMonth("a"), bucket("roll", 60*time.Hour, 0)
	month.Key = `user="ada",\x00ä`
	want := []escrow.Key{escrow.KeyOf(&month), escrow.KeyOf(&rolling), escrow.KeyOf(&budget.Account{Org: "acme", Budget: "life"})}
	// Until the other connection listens, notifications go nowhere.
	for heard := false; !heard; {
		if err := l.Recall(t.Context(), want[:1]); err != nil {
			t.Fatal(err)
		}
		select {
		case k := <-got:
			if k != want[0] {
				t.Fatalf("%+v, want %+v", k, want[0])
			}
			heard = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	next := func() escrow.Key {
		for k := range got {
			if k != want[0] {
				return k
			}
		}
		return escrow.Key{}
	}
	l.exec("select pg_notify('keel_recall', '{\"what\": 1}')") // of another version: passed over
	huge := escrow.Key{Org: "acme", Budget: "a", Account: string(make([]byte, 9000))}
	if err := l.Recall(t.Context(), append(want[1:], huge)); err != nil {
		t.Fatal(err)
	}
	for _, k := range want[1:] {
		if n := next(); n != k {
			t.Errorf("%+v, want %+v", n, k)
		}
	}
	// A cut recalls by itself.
	j := l.journal()
	j.lease(rolling, 60)
	l.limit("roll", 50)
	if n := next(); n != want[1] {
		t.Errorf("a cut recalls %+v, want %+v", n, want[1])
	}
	stop()
	if err := <-done; err == nil {
		t.Error("Recalls ended without a reason")
	}
}

func TestFinish(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, n := range []string{"a", "b"} {
		l.budget(n, 1000, "month")
	}
	j, other := l.journal(), l.journal()
	j.lease(thisMonth("a"), 100)
	j.lease(thisMonth("b"), 50)
	other.lease(thisMonth("a"), 70)
	left, closed := admitted(enforced(thisMonth("a"), 30), observed(thisMonth("b"), 30)), admitted(enforced(thisMonth("a"), 10))
	j.settle(decided(left), decided(closed), j.closed(closed, ended(closed, 4)))
	for range 2 {
		l.finish(j)
		l.want("a", sums{settled: 34, leased: 70})
		l.want("b", sums{settled: 30, forced: 30})
	}
	if got := query[string](t, l.dsn, "select concat_ws(' ', outcome, actual_cost_usd::text) from keel.spend_records where decision_id = $1", left.ID); got != "orphaned 0.000000030" {
		t.Errorf("what was left open: %s", got)
	}
	if _, err := l.Settle(t.Context(), j.batch(back(thisMonth("a"), 1))); err == nil || len(err.Error()) == 0 {
		t.Error("a finished epoch was settled")
	}
	j.seq--
	if settled, err := l.Settle(t.Context(), escrow.Batch{Epoch: j.epoch, Org: "acme", Records: []escrow.Record{{Seq: 1}}}); err != nil || settled.Applied != 3 {
		t.Errorf("what is settled already: %+v, %v", settled, err)
	}
	if err := l.Reassert(t.Context(), j.epoch, []escrow.Grant{{Key: escrow.KeyOf(&left.Holds[0].Account), Granted: 500}}); err != nil {
		t.Error(err)
	}
	l.want("a", sums{settled: 34, leased: 70})
	l.finish(l.journal()) // of which nothing was ever heard
}

func TestMutantNoOrphansIsCaught(t *testing.T) {
	t.Parallel()
	l := &lab{t: t, dsn: database(t)}
	var err error
	if l.pool, err = newPool(l.dsn, 4); err != nil {
		t.Fatal(err)
	}
	defer l.pool.Close()
	l.Bank = NewBank(l.pool, BankOptions{})
	l.mutant.noOrphans = true
	l.budget("a", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 100)
	j.settle(decided(admitted(enforced(thisMonth("a"), 30))))
	if err := l.Finish(t.Context(), j.epoch, nil); err != nil {
		t.Fatal(err)
	}
	if report, err := Check(t.Context(), l.dsn, nil); err != nil || len(report.Violations) == 0 {
		t.Errorf("nothing is seen: %+v, %v", report, err)
	}
}

func TestMutantNoDedupeIsCaught(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.mutant.noDedupe = true
	j := l.journal()
	for name, r := range map[string]escrow.Record{"a decision": decided(admitted()), "a return": back(thisMonth("a"), 1), "a void record": {}} {
		batch := j.batch(r)
		for again := range 2 {
			if _, err := l.Settle(t.Context(), batch); (err != nil) != (again == 1) {
				t.Errorf("%s, repeated %d times: %v", name, again, err)
			}
		}
	}
}

func TestSweepAndForfeit(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	l.budget("long", 1000, "lifetime")
	j, alive := l.journal(), l.journal()
	for _, x := range []*testJournal{j, alive} {
		if _, err := l.Beat(t.Context(), escrow.Member{Epoch: x.epoch, Host: "h", Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	lifetime := budget.Account{Org: "acme", Budget: "long"}
	j.lease(thisMonth("a"), 100)
	j.lease(lifetime, 40)
	alive.lease(thisMonth("a"), 10)
	d, logged, kept := admitted(enforced(thisMonth("a"), 30)), admitted(enforced(thisMonth("a"), 5)), admitted(enforced(thisMonth("a"), 1))
	j.settle(decided(d))
	alive.settle(decided(logged), decided(kept))
	if n, err := l.Sweep(t.Context()); err != nil || n != 0 {
		t.Fatalf("swept %d, %v", n, err)
	}
	if err := l.Annotate(t.Context(), []budget.Annotation{{ID: logged.ID, Org: "acme", At: time.Now(), HTTPStatus: 200, Attempts: 1}}); err != nil {
		t.Fatal(err)
	}
	l.exec("update keel.annotations set stored_at = stored_at - interval '1 minute'")
	l.exec("update keel.replicas set heartbeat_at = now() - interval '1 hour' where epoch = $1", j.epoch)
	if n, err := l.Sweep(t.Context()); err != nil || n != 2 {
		t.Fatalf("swept %d, %v", n, err)
	}
	l.want("a", sums{settled: 35, leased: 75, held: 1})
	l.sound()
	for _, want := range []string{"silent|fenced|orphaned", "alive|live|aborted"} {
		epoch, id := j.epoch, d.ID
		name := "silent"
		if want[0] == 'a' {
			epoch, id, name = alive.epoch, logged.ID, "alive"
		}
		if got := name + "|" + query[string](t, l.dsn, "select concat_ws('|', e.state, r.outcome) from keel.epochs e, keel.spend_records r where e.epoch = $1 and r.decision_id = $2", epoch, id); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	forfeit := func(want int) {
		t.Helper()
		if n, err := l.Forfeit(t.Context()); err != nil || n != want {
			t.Fatalf("forfeit %d, %v; want %d", n, err, want)
		}
		l.sound()
	}
	forfeit(0) // the windows run
	l.o.ForfeitAfter = -60 * 24 * time.Hour
	forfeit(1)
	l.want("a", sums{settled: 105, leased: 5, held: 1})
	l.want("long", sums{leased: 40})
	forfeit(0)
	if _, err := l.ForfeitEpoch(t.Context(), alive.epoch, "ann"); err == nil {
		t.Error("a live epoch was given up")
	}
	if n, err := l.ForfeitEpoch(t.Context(), j.epoch, "ann"); err != nil || n != 1 {
		t.Errorf("given up: %d, %v", n, err)
	}
	l.want("long", sums{settled: 40})
	l.sound()
	// The journal shows up: its closeout is real, and what was written off is not spent.
	j.settle(j.closed(d, ended(d, 7)), back(lifetime, 15))
	l.want("a", sums{settled: 12, leased: 98, held: 1})
	l.want("long", sums{leased: 25})
	l.sound()
	if got := j.lease(thisMonth("a"), 10); got.Given != 10 {
		t.Errorf("heard of again: %+v", got)
	}
	// Given up once more, and then its journal is recovered with nothing new in it.
	l.exec("update keel.replicas set heartbeat_at = now() - interval '1 hour' where epoch = $1", j.epoch)
	if n, err := l.ForfeitEpoch(t.Context(), j.epoch, "ann"); err != nil || n != 2 {
		t.Errorf("given up: %d, %v", n, err)
	}
	l.sound()
	l.finish(j)
	l.want("a", sums{settled: 12, leased: 5, held: 1})
	l.want("long", sums{})
}

func TestPartitionsComeAndGo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1_000_000, "month")
	old := admitted(observed(thisMonth("a"), 1))
	at := time.Date(2021, 5, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	for i := range 6 {
		old.ID[i] = byte(at >> (40 - 8*i))
	}
	first, last := admitted(), admitted()
	first.ID[0], last.ID[0] = 0, 0xff
	j := l.journal()
	j.settle(decided(old), decided(first), decided(last))
	if err := l.Annotate(t.Context(), []budget.Annotation{{ID: old.ID, Org: "acme", At: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[[16]byte]string{old.ID: "decisions_2021_05", first.ID: "decisions_before_2020", last.ID: "decisions_from_2100"} {
		if got := query[string](t, l.dsn, "select relname::text from keel.decisions d join pg_class c on c.oid = d.tableoid where decision_id = $1", id); got != want {
			t.Errorf("%x is in %s, want %s", id, got, want)
		}
	}
	if n := query[int](t, l.dsn, "select keel.ensure_partitions(now(), now() + interval '2 months')"); n != 0 {
		t.Errorf("%d partitions of the next months were missing", n)
	}
	j.settle(j.closed(old, ended(old, 0)))
	// Traffic goes on while old months are taken away.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	settled := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			d := admitted(observed(thisMonth("a"), 1))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if _, err := l.Settle(ctx, j.batch(decided(d), j.closed(d, ended(d, 1)))); err != nil {
				t.Errorf("locked out: %v", err)
			}
			cancel()
			settled++
		}
	})
	conn, err := pgx.Connect(t.Context(), l.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, table := range []string{"decisions", "closeouts", "annotations"} {
		for _, sql := range []string{"alter table keel." + table + " detach partition keel." + table + "_2021_05 concurrently", "drop table keel." + table + "_2021_05"} {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Error(err)
			}
		}
	}
	// A journal that shows up late gets its month again.
	late := admitted(observed(thisMonth("a"), 1))
	copy(late.ID[:6], old.ID[:6])
	straggler := l.journal()
	straggler.settle(decided(late), straggler.closed(late, ended(late, 1)))
	close(stop)
	wg.Wait()
	if settled < 3 {
		t.Errorf("only %d batches were settled meanwhile", settled)
	}
	// Rows are gone by intention, and the check says which account and which journal lack them.
	report, err := Check(t.Context(), l.dsn, nil)
	if err != nil || len(report.Violations) == 0 {
		t.Errorf("%+v, %v", report, err)
	}
	l.broken = true
}
