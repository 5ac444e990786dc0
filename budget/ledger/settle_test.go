package ledger

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
)

func TestSettleOpensAndCloses(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	l.budget("seen", 1000, "month")
	j := l.journal()
	if answer := j.lease(thisMonth("a"), 100); answer.Given != 100 || answer.Granted != 100 || answer.Leased != 100 || answer.Ceiling != 1000 {
		t.Fatalf("lease: %+v", answer)
	}
	d := admitted(enforced(thisMonth("a"), 30), observed(thisMonth("seen"), 30))
	got := j.settle(decided(d))
	if len(got.Standings) != 2 || got.Standings[0].Key != escrow.KeyOf(&d.Holds[0].Account) || got.Standings[0].Held != 30 || got.Standings[0].Leased != 100 {
		t.Errorf("standings %+v", got.Standings)
	}
	l.want("a", sums{leased: 100, held: 30})
	l.want("seen", sums{held: 30})
	l.sound()
	if outcome := query[string](t, l.dsn, "select outcome from keel.spend_records"); outcome != "open" {
		t.Errorf("in flight: %s", outcome)
	}
	j.settle(j.closed(d, ended(d, 20)))
	l.want("a", sums{settled: 20, leased: 80})
	l.want("seen", sums{settled: 20, forced: 20})
	l.sound()

	// In one batch, dearer than held, and dearer than what is left of the slice.
	d = admitted(enforced(thisMonth("a"), 80))
	j.settle(decided(d), j.closed(d, ended(d, 95)))
	l.want("a", sums{settled: 115, forced: 15})
	// A cost that is not known is the full hold.
	d = admitted(enforced(thisMonth("a"), 7))
	j.lease(thisMonth("a"), 10)
	end := ended(d, 0)
	end.CostKnown, end.Usage, end.RawUsage, end.Metered, end.Outcome = false, nil, nil, budget.NothingSeen, budget.Aborted
	j.settle(decided(d), j.closed(d, end), back(thisMonth("a"), 3))
	l.want("a", sums{settled: 122, forced: 15})
	// A debt is nobody's slice.
	d = admitted(enforced(thisMonth("a"), 9))
	d.Debt = true
	j.settle(decided(d))
	l.want("a", sums{settled: 122, forced: 15, held: 9})
	j.settle(j.closed(d, ended(d, 8)))
	l.want("a", sums{settled: 130, forced: 23})
	// What is denied, or passed unread, is kept and moves nothing.
	denied, unread := admitted(enforced(thisMonth("a"), 9)), admitted()
	denied.Action, denied.Denial = budget.Deny, &budget.Denial{Status: 429, Code: "budget_exceeded", Message: "full", RetryAfter: 1500 * time.Millisecond}
	unread.Unmetered = true
	j.settle(decided(denied), decided(unread), escrow.Record{})
	l.want("a", sums{settled: 130, forced: 23})
	if kind := query[string](t, l.dsn, "select kind from keel.entries where seq = $1", j.seq); kind != "void" {
		t.Errorf("a record that was lost is %s", kind)
	}
	if epoch := query[uuid.UUID](t, l.dsn, "select epoch from keel.spend_records where seq = 1"); epoch != j.epoch {
		t.Errorf("epoch %s, want %s", epoch, j.epoch)
	}
}

func TestSettleExactlyOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 200)
	var records []escrow.Record
	for range 5 {
		d := admitted(enforced(thisMonth("a"), 10))
		records = append(records, decided(d), j.closed(d, ended(d, 10)))
	}
	batch := j.batch(records...)
	for _, part := range [][2]int{{0, 4}, {0, 4}, {2, 6}, {1, 3}, {0, 10}, {9, 10}} {
		b := batch
		b.Records = batch.Records[part[0]:part[1]]
		settled, err := l.Settle(t.Context(), b)
		if err != nil {
			t.Fatalf("records %v: %v", part, err)
		}
		if settled.Applied < uint64(part[1]) {
			t.Errorf("records %v: applied %d", part, settled.Applied)
		}
	}
	l.want("a", sums{settled: 50, leased: 150})
	// A gap changes nothing and says where to go on.
	d := admitted(enforced(thisMonth("a"), 10))
	_, err := l.Settle(t.Context(), escrow.Batch{Epoch: j.epoch, Org: "acme", Records: []escrow.Record{{Seq: 12, Decision: d}}})
	var gap *escrow.GapError
	if !errors.As(err, &gap) || gap.Applied != 10 || gap.First != 12 || gap.Epoch != j.epoch || gap.Org != "acme" {
		t.Errorf("gap: %v", err)
	}
	if _, err := l.Settle(t.Context(), escrow.Batch{Epoch: j.epoch, Org: "acme", Records: []escrow.Record{{Seq: 11}, {Seq: 13}}}); err == nil || errors.Is(err, budget.ErrUnavailable) {
		t.Errorf("numbers with a hole: %v", err)
	}
	applied, err := l.Applied(t.Context(), j.epoch)
	if err != nil || len(applied) != 1 || applied["acme"] != 10 {
		t.Errorf("applied %v, %v", applied, err)
	}
}

// Two uploaders of one journal, as after a connection that seemed dead, and several journals over the same accounts.
func TestSettleAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	names := []string{"a", "b", "c"}
	for _, n := range names {
		l.budget(n, 1_000_000, "month")
	}
	var wg sync.WaitGroup
	for range 3 {
		j := l.journal()
		var all []escrow.Record
		for i := range 120 {
			d := admitted(enforced(thisMonth(names[i%3]), 10), enforced(thisMonth(names[(i+1)%3]), 10), observed(thisMonth("seen"), 10))
			all = append(all, decided(d), j.closed(d, ended(d, pricing.NanoUSD(i%13))), back(thisMonth(names[i%3]), 1))
		}
		batch := j.batch(all...)
		for uploader := range 2 {
			wg.Go(func() {
				for at := 0; at < len(batch.Records); {
					b := batch
					b.Records = batch.Records[at:min(at+20+uploader*13, len(batch.Records))]
					settled, err := l.Settle(t.Context(), b)
					if err != nil {
						t.Error(err)
						return
					}
					at = int(settled.Applied)
				}
			})
		}
	}
	wg.Wait()
	if n := query[int](t, l.dsn, "select count(*) from keel.closeouts"); n != 360 {
		t.Errorf("%d closeouts, want 360", n)
	}
}

func TestCloseoutsThatMeetOthers(t *testing.T) {
	t.Parallel()
	free := func(d *budget.Decision) budget.Closeout { // presumed free, and awaited
		c := ended(d, 0)
		c.Awaited, c.ResponseID = true, "resp-"+d.ID.String()
		return c
	}
	answer := func(d *budget.Decision, cost pricing.NanoUSD) escrow.Record {
		c := ended(d, cost)
		c.ID, c.ResponseID = uuid.Nil, "resp-"+d.ID.String()
		return escrow.Record{Response: &c}
	}
	for name, c := range map[string]struct {
		do   func(l *lab, j, other *testJournal, d *budget.Decision)
		want sums
	}{
		"closing twice changes nothing": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d), j.closed(d, ended(d, 10)), j.closed(d, ended(d, 15)))
			j.settle(j.closed(d, ended(d, 16)))
		}, sums{settled: 10, leased: 90}},
		"a real closeout replaces a presumed one through the slice": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d))
			l.presumeAll()
			l.want("a", sums{settled: 30, leased: 70})
			j.settle(j.closed(d, ended(d, 12)))
		}, sums{settled: 12, leased: 88}},
		"and a dearer one": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d))
			l.presumeAll()
			j.settle(j.closed(d, ended(d, 40)))
		}, sums{settled: 40, leased: 60}},
		"an orphan replaces nothing": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d))
			l.presumeAll()
			end := ended(d, 3)
			end.Outcome = budget.Orphaned
			j.settle(j.closed(d, end))
		}, sums{settled: 30, leased: 70}},
		"a finished epoch's slice is not touched": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d))
			l.finish(j)
			l.want("a", sums{settled: 30})
			r := j.closed(d, ended(d, 12))
			other.settle(r) // the call outlived its journal
		}, sums{settled: 12}},
		"and a dearer one is forced": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d))
			l.finish(j)
			other.settle(j.closed(d, ended(d, 33)))
		}, sums{settled: 33, forced: 3}},
		"another epoch closes what is open": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d))
			other.settle(j.closed(d, ended(d, 12)))
			other.settle(unknown(ended(d, 13))) // and again
		}, sums{settled: 12, leased: 88}},
		"another epoch closes before the decision comes": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			other.settle(j.closed(d, ended(d, 12)))
			l.want("a", sums{settled: 12, leased: 88})
			j.settle(decided(d))
		}, sums{settled: 12, leased: 88}},
		"a closeout without its decision waits for it": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			other.settle(unknown(ended(d, 12)))
			l.want("a", sums{leased: 100})
			j.settle(decided(d))
		}, sums{settled: 12, leased: 88}},
		"and one whose decision brings its own": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			other.settle(unknown(ended(d, 12)))
			j.settle(decided(d), j.closed(d, ended(d, 20)))
		}, sums{settled: 12, leased: 88}},
		"a closeout that does not know what was held": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d))
			other.settle(unknown(ended(d, 12)))
		}, sums{settled: 12, leased: 88}},
		"the same in the decision's own batch": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d), unknown(ended(d, 12)))
		}, sums{settled: 12, leased: 88}},
		"a later call tells the usage": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d), j.closed(d, free(d)))
			l.want("a", sums{leased: 100})
			other.settle(answer(d, 12), answer(d, 14)) // that replica's memory knows nothing of it
		}, sums{settled: 12, leased: 100, forced: 12}},
		"in the same batch": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d), j.closed(d, free(d)), answer(d, 12))
		}, sums{settled: 12, leased: 100, forced: 12}},
		"an awaited closeout replaces the sweeper's, and is fulfilled": {func(l *lab, j, other *testJournal, d *budget.Decision) {
			j.settle(decided(d))
			l.presumeAll()
			j.settle(j.closed(d, free(d)))
			l.want("a", sums{leased: 100})
			j.settle(answer(d, 5))
		}, sums{settled: 5, leased: 100, forced: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.budget("a", 1000, "month")
			j, other := l.journal(), l.journal()
			j.lease(thisMonth("a"), 100)
			c.do(l, j, other, admitted(enforced(thisMonth("a"), 30)))
			l.want("a", c.want)
		})
	}
}

// presumeAll makes every open decision too old, and sweeps.
func (l *lab) presumeAll() {
	l.t.Helper()
	l.exec("update keel.open_decisions set opened_at = opened_at - interval '2 days'")
	if _, err := l.Sweep(context.Background()); err != nil {
		l.t.Fatal(err)
	}
	l.sound()
}

func (l *lab) finish(j *testJournal) {
	l.t.Helper()
	if err := l.Finish(context.Background(), j.epoch, nil); err != nil {
		l.t.Fatal(err)
	}
	l.sound()
}

// A closeout and its decision, of two journals, settled at the same time.
func TestCloseoutMeetsItsDecisionAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1_000_000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 1000)
	known, strange := l.journal(), l.journal()
	for range 60 {
		d := admitted(enforced(thisMonth("a"), 10))
		var wg sync.WaitGroup
		for _, b := range []escrow.Batch{j.batch(decided(d)), known.batch(j.closed(d, ended(d, 4))), strange.batch(unknown(ended(d, 4)))} {
			wg.Go(func() {
				if _, err := l.Settle(t.Context(), b); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if got := l.account("a"); got.settled != 240 || got.held != 0 {
		t.Errorf("%+v, want 240 settled", got)
	}
}

func TestSettleRefusesWhatItCannotBook(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j := l.journal()
	elsewhere := thisMonth("a")
	elsewhere.Org = "other"
	for name, r := range map[string]escrow.Record{
		"a hold of another org": decided(admitted(enforced(elsewhere, 1))),
		"a negative hold":       decided(admitted(enforced(thisMonth("a"), -1))),
		"a negative charge":     {Closeout: &record.Closeout{Closeout: ended(admitted(), 1), Known: true, Charges: []record.Charge{{Account: thisMonth("a"), Amount: -1}}}},
		"a return of nothing":   back(thisMonth("a"), 0),
	} {
		if _, err := l.Settle(t.Context(), escrow.Batch{Epoch: j.epoch, Org: "acme", Records: []escrow.Record{{Seq: 1, Decision: r.Decision, Closeout: r.Closeout, Return: r.Return}}}); err == nil || errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := admitted(enforced(thisMonth("a"), 1))
	d.Org, d.Holds[0].Org, d.Model, d.Subject = "acme", "acme", "\x00\xff", budget.Subject{"k\x00": "\xfe"}
	end := ended(d, 1)
	end.RawUsage, end.Detail, end.ResponseID = []byte(`{"n": 1e9999, "s": "\u0000"}`), "\x00", "\xff"
	j.settle(decided(d), j.closed(d, end))
	// The same decision again, in another journal, is a bug: refused for good, and so void.
	other := l.journal()
	batch := other.batch(decided(d))
	if _, err := l.Settle(t.Context(), batch); err == nil || errors.Is(err, budget.ErrUnavailable) {
		t.Errorf("a decision twice: %v", err)
	}
	batch.Records[0] = escrow.Record{Seq: 1}
	if _, err := l.Settle(t.Context(), batch); err != nil {
		t.Error(err)
	}
}
