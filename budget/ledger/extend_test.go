package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// costUnknown is the end of a call that is charged at what it held.
func costUnknown(d *budget.Decision) budget.Closeout {
	end := ended(d, 0)
	end.CostKnown, end.Usage, end.RawUsage, end.Metered, end.Outcome = false, nil, nil, budget.NothingSeen, budget.Aborted
	return end
}

func TestSettleExtensions(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	l.budget("seen", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 500)
	new := func() *budget.Decision {
		return admitted(enforced(thisMonth("a"), 30), observed(thisMonth("seen"), 20))
	}
	both := func(a, seen sums) {
		t.Helper()
		l.want("a", a)
		l.want("seen", seen)
		l.sound()
	}

	// In a later batch than the decision, twice, then its closeout at the full hold.
	d := new()
	j.settle(decided(d))
	got := j.settle(extended(d, 5, 7))
	if len(got.Standings) != 2 || got.Standings[0].Held != 35 || got.Standings[1].Held != 27 {
		t.Errorf("standings %+v", got.Standings)
	}
	j.settle(extended(d, 10, 0))
	both(sums{leased: 500, held: 45}, sums{held: 27})
	j.settle(j.closed(d, costUnknown(d), 15, 7))
	both(sums{leased: 455, settled: 45}, sums{settled: 27, forced: 27})

	// With its closeout in one batch; with its decision in one batch; all three in one batch.
	d = new()
	j.settle(decided(d))
	j.settle(extended(d, 15, 15), j.closed(d, ended(d, 5), 15, 15))
	both(sums{leased: 450, settled: 50}, sums{settled: 32, forced: 32})
	d = new()
	j.settle(decided(d), extended(d, 5, 5), extended(d, 5, 5))
	both(sums{leased: 450, settled: 50, held: 40}, sums{settled: 32, forced: 32, held: 30})
	j.settle(j.closed(d, ended(d, 10), 10, 10))
	d = new()
	j.settle(decided(d), extended(d, 15, 15), j.closed(d, costUnknown(d), 15, 15))
	both(sums{leased: 395, settled: 105}, sums{settled: 77, forced: 77})

	// Of a debt nobody leased anything.
	d = new()
	d.Debt = true
	j.settle(decided(d))
	j.settle(extended(d, 8, 8))
	both(sums{leased: 395, settled: 105, held: 38}, sums{settled: 77, forced: 77, held: 28})
	j.settle(j.closed(d, ended(d, 3), 8, 8))
	both(sums{leased: 395, settled: 108, forced: 3}, sums{settled: 80, forced: 80})

	// Exactly once, and what is not there is void.
	d = new()
	batch := j.batch(decided(d), extended(d, 1, 1), extended(d, 1, 1))
	for _, part := range [][2]int{{0, 2}, {0, 2}, {1, 3}, {0, 3}} {
		b := batch
		b.Records = batch.Records[part[0]:part[1]]
		if _, err := l.Settle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	j.settle(extended(new(), 3, 3))
	both(sums{leased: 395, settled: 108, forced: 3, held: 32}, sums{settled: 80, forced: 80, held: 22})
	if kind := query[string](t, l.dsn, "select kind from keel.entries where seq = $1", j.seq); kind != "void" {
		t.Errorf("an extension of nothing is %s", kind)
	}
	for name, x := range map[string]escrow.Record{"negative": extended(d, -1, 0), "of another org": extended(d, 1, 1)} {
		if name == "of another org" {
			x.Extension.More[0].Account.Org = "other"
		}
		if _, err := l.Settle(t.Context(), escrow.Batch{Epoch: j.epoch, Org: "acme", Records: []escrow.Record{{Seq: j.seq + 1, Extension: x.Extension}}}); err == nil || errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("an extension that is %s: %v", name, err)
		}
	}

	// The end of an epoch charges orphans at all that they held, and gives the rest back.
	l.finish(j)
	both(sums{settled: 140, forced: 3}, sums{settled: 102, forced: 102})
}

// A closeout that comes before an extension is brought to it, whoever wrote the closeout; the sums are the same in any order.
func TestSettleExtensionsLate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 10_000, "month")
	both := func(name string, settled int64) {
		t.Helper()
		for _, name := range []string{"a-" + name, "seen-" + name} {
			if got := l.account(name); got.settled != settled || got.held != 0 {
				t.Errorf("account %s: %+v, want %d settled and nothing held", name, got, settled)
			}
		}
		l.sound()
	}
	for name, c := range map[string]struct {
		end  func(*budget.Decision) budget.Closeout
		want int64
	}{"known": {func(d *budget.Decision) budget.Closeout { return ended(d, 12) }, 12}, "unknown": {costUnknown, 35}} {
		t.Run(name, func(t *testing.T) {
			for by, closing := range map[string]func(j, other *testJournal, d *budget.Decision) escrow.Record{
				// the process goes on with another journal, and knows of the extension
				"its next journal": func(j, _ *testJournal, d *budget.Decision) escrow.Record { return j.closed(d, c.end(d), 5, 5) },
				// a process that does not know the decision
				"another process": func(_, _ *testJournal, d *budget.Decision) escrow.Record { return unknown(c.end(d)) },
			} {
				for order, in := range map[string]func(j, other *testJournal, d *budget.Decision, end escrow.Record){
					"between": func(j, other *testJournal, d *budget.Decision, end escrow.Record) {
						j.settle(decided(d))
						other.settle(end)
						l.sound()
						j.settle(extended(d, 5, 5))
					},
					"before both": func(j, other *testJournal, d *budget.Decision, end escrow.Record) {
						other.settle(end)
						j.settle(decided(d))
						l.sound()
						j.settle(extended(d, 5, 5))
					},
					"before both in one batch": func(j, other *testJournal, d *budget.Decision, end escrow.Record) {
						other.settle(end)
						j.settle(decided(d), extended(d, 5, 5))
					},
					"behind": func(j, other *testJournal, d *budget.Decision, end escrow.Record) {
						j.settle(decided(d), extended(d, 5, 5))
						other.settle(end)
					},
				} {
					name := strings.ReplaceAll(name+"-"+by+"-"+order, " ", "-")
					l.budget("a-"+name, 1000, "month")
					j, other := l.journal(), l.journal()
					j.lease(thisMonth("a-"+name), 100)
					d := admitted(enforced(thisMonth("a-"+name), 30), observed(thisMonth("seen-"+name), 30))
					in(j, other, d, closing(j, other, d))
					both(name, c.want)
					if got := l.account("a-" + name); got.leased != 100-c.want || got.forced != 0 {
						t.Errorf("%s: %+v", name, got)
					}
					l.finish(j)
					both(name, c.want)
				}
			}
		})
	}
}

// A closeout that was presumed knew nothing of an extension: it is charged when that comes, and the real closeout is the difference.
func TestExtensionOfAPresumedCloseout(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 100)
	orphan, late := admitted(enforced(thisMonth("a"), 30)), admitted(enforced(thisMonth("a"), 30))
	j.settle(decided(orphan), decided(late))
	l.exec("update keel.open_decisions set opened_at = opened_at - interval '2 days'")
	if n, err := l.Sweep(t.Context()); n != 2 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	l.want("a", sums{settled: 60, leased: 40})
	j.settle(extended(orphan, 5), extended(late, 5), extended(late, 5))
	l.want("a", sums{settled: 75, leased: 25})
	l.sound()
	j.settle(extended(late, 5), j.closed(late, ended(late, 17), 15))
	l.want("a", sums{settled: 52, leased: 48})
	l.sound()
	for id, want := range map[*budget.Decision]string{orphan: "orphaned 0.000000035 0.000000030 0.000000005", late: "complete 0.000000017 0.000000030 0.000000015"} {
		if got := query[string](t, l.dsn, "select concat_ws(' ', outcome, actual_cost_usd, held_usd, extended_usd) from keel.spend_records where decision_id = $1", id.ID); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// From a call that is extended to its record: what a person and a report are told.
func TestExtend(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	opts := testOptions(t)
	opts.HeartbeatEvery, opts.StaleAfter = 50*time.Millisecond, 600*time.Millisecond
	l := open(t, dsn, opts)
	d := permitted(t, l, hold("a", 2*cent, 10*cent), hold("b", cent, 100*cent))
	if err := l.Extend(t.Context(), d.ID, []pricing.NanoUSD{cent, 0}); err != nil {
		t.Fatal(err)
	}
	if err := l.Extend(t.Context(), d.ID, []pricing.NanoUSD{cent, 3 * cent}); err != nil {
		t.Fatal(err)
	}
	var refused *budget.Refused
	if err := l.Extend(t.Context(), d.ID, []pricing.NanoUSD{7 * cent, cent}); !errors.As(err, &refused) || refused.Hold.Budget != "a" || refused.Hold.Amount != 7*cent || refused.Standing.Held < 4*cent {
		t.Errorf("beyond the limit: %v, %+v", err, refused)
	}
	flush(t, l)
	wantAccount(t, dsn, "a", 0, 4*cent)
	wantAccount(t, dsn, "b", 0, 4*cent)
	if got := query[string](t, dsn, "select concat_ws(' ', outcome, trim_scale(held_usd), trim_scale(extended_usd), coalesce(actual_cost_usd::text, '-')) from keel.spend_records"); got != "open 0.02 0.03 -" {
		t.Errorf("in flight: %s", got)
	}
	e, err := l.Explain(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Holds) != 2 || e.Holds[0].Amount != 2*cent || e.Holds[0].Extended != 2*cent || e.Holds[1].Amount != cent || e.Holds[1].Extended != 3*cent {
		t.Errorf("holds: %+v", e.Holds)
	}
	if len(e.Extensions) != 2 || fmt.Sprint(e.Extensions[0].More, e.Extensions[1].More) != "[0.01 0] [0.01 0.03]" || e.Extensions[1].At.Before(e.Extensions[0].At) || time.Since(e.Extensions[0].At) > time.Minute {
		t.Errorf("extensions: %+v", e.Extensions)
	}
	end := closeout(d, 0)
	end.CostKnown = false
	l.CloseOut(end)
	if err := l.Extend(t.Context(), d.ID, []pricing.NanoUSD{1, 1}); !errors.Is(err, budget.ErrUnavailable) {
		t.Errorf("after the closeout: %v", err)
	}
	flush(t, l)
	wantAccount(t, dsn, "a", 4*cent, 0)
	wantAccount(t, dsn, "b", 4*cent, 0)
	if got := query[string](t, dsn, "select concat_ws(' ', outcome, trim_scale(held_usd), trim_scale(extended_usd), trim_scale(actual_cost_usd)) from keel.spend_records"); got != "complete 0.02 0.03 0.04" {
		t.Errorf("closed at its hold: %s", got)
	}
	if e, err = l.Explain(t.Context(), d.ID); err != nil || *e.Holds[0].Settled != 4*cent || *e.Holds[1].Settled != 4*cent {
		t.Errorf("%+v, %v", e, err)
	}

	// A process that dies leaves an orphan that is charged at its extended hold, by the sweeper or by the next process.
	dir := t.TempDir()
	opts.Journal = dir
	victim, err := Open(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	lost, logged := permitted(t, victim, hold("b", cent, 100*cent)), permitted(t, victim, hold("b", cent, 100*cent))
	for _, d := range []*budget.Decision{lost, logged} {
		if err := victim.Extend(t.Context(), d.ID, []pricing.NanoUSD{2 * cent}); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, victim)
	if err := victim.Extend(t.Context(), lost.ID, []pricing.NanoUSD{cent}); err != nil { // only in the journal, perhaps
		t.Fatal(err)
	}
	victim.kill()
	wantSettled := func(want pricing.NanoUSD) {
		t.Helper()
		if got := account(t, dsn, "b"); got.Settled != want || got.Held != 0 {
			t.Errorf("%+v, want %s settled", got, want)
		}
	}
	next, err := Open(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); query[int](t, dsn, "select count(*) from keel.open_decisions") > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	wantSettled(4*cent + 4*cent + 3*cent)
	next.CloseOut(closeout(logged, cent)) // it was on its way
	flush(t, next)
	wantSettled(4*cent + 4*cent + cent)
	if err := next.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if report, err := Check(context.Background(), dsn, nil); err != nil || len(report.Violations) > 0 {
		t.Errorf("%v, %v", report.Violations, err)
	}
}

// What the access log saw end, and nobody closed, costs the extended hold.
func TestAnnotationClosesAnExtendedCall(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.o.Grace = time.Nanosecond
	l.budget("a", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 100)
	d := admitted(enforced(thisMonth("a"), 30))
	j.settle(decided(d), extended(d, 9))
	if err := l.Annotate(t.Context(), []budget.Annotation{{ID: d.ID, Org: d.Org, At: time.Now(), HTTPStatus: 503}}); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	l.want("a", sums{settled: 39, leased: 61})
}
