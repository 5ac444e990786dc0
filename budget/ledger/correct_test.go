package ledger

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keel/budget"
	"keel/pricing"
)

// abandonedEnd is what a filter says of a call whose client left before a response: its envelope.
func abandonedEnd(d *budget.Decision, envelope pricing.NanoUSD) budget.Closeout {
	return budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Aborted, Metered: budget.ByEstimate,
		Cost: pricing.Cost{Total: envelope}, CostKnown: true, Attempts: 1, Awaited: true, Detail: "ended before a response"}
}

// logged is what the access log says of it: attempts that cost so much each.
func logged(d *budget.Decision, costs ...pricing.NanoUSD) budget.Annotation {
	c := budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Aborted, Metered: budget.ByEstimate, CostKnown: true, Attempts: len(costs), Awaited: len(costs) > 0, Detail: "by its attempts"}
	for i, cost := range costs {
		c.Cost.Total += cost
		c.AttemptRows = append(c.AttemptRows, budget.Attempt{Number: i + 1, Provider: "openai", Model: "gpt-5", Ended: budget.AttemptLost, Bound: cost, Cost: cost, Basis: budget.BasisFull})
	}
	return budget.Annotation{ID: d.ID, Org: d.Org, At: time.Now(), Attempts: len(costs), Details: "downstream_remote_disconnect", Correction: &c}
}

// correcting is a lab with one call that holds 50 in an enforcing and an observing budget.
type correcting struct {
	*lab
	j *testJournal
	d *budget.Decision
}

func newCorrecting(t *testing.T) *correcting {
	l := newLab(t)
	l.budget("a", 1000, "month")
	l.budget("o", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 100)
	d := admitted(enforced(thisMonth("a"), 50), observed(thisMonth("o"), 50))
	j.settle(decided(d))
	return &correcting{l, j, d}
}

func (l *correcting) annotate(a budget.Annotation) {
	l.t.Helper()
	if err := l.Annotate(context.Background(), []budget.Annotation{a}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *correcting) correct(want int) {
	l.t.Helper()
	if n, err := l.Correct(context.Background()); err != nil || n != want {
		l.t.Fatalf("corrected %d, %v; want %d", n, err, want)
	}
	l.sound()
}

// cost is what the call is charged, in the record and in both budgets.
func (l *correcting) cost(want int64) {
	l.t.Helper()
	for _, name := range []string{"a", "o"} {
		if got := l.account(name).settled; got != want {
			l.t.Errorf("budget %s was charged %d, want %d", name, got, want)
		}
	}
	if got := query[int64](l.t.(*testing.T), l.dsn, "select (actual_cost_usd * 1000000000)::bigint from keel.spend_records where decision_id = $1", l.d.ID); got != want {
		l.t.Errorf("the record says %d, want %d", got, want)
	}
}

func (l *correcting) told(want string) {
	l.t.Helper()
	const sql = "select concat_ws('|', outcome, metered, attempts, (select count(*) from keel.attempts a where a.decision_id = r.decision_id), detail) from keel.spend_records r where decision_id = $1"
	if got := query[string](l.t.(*testing.T), l.dsn, sql, l.d.ID); got != want {
		l.t.Errorf("the record says %s, want %s", got, want)
	}
}

func TestCorrectionReplacesAnEnvelope(t *testing.T) {
	t.Parallel()
	l := newCorrecting(t)
	l.annotate(logged(l.d, 7, 5)) // the log may be first: then it waits
	l.correct(0)
	l.j.settle(l.j.closed(l.d, abandonedEnd(l.d, 50)))
	l.cost(50)
	l.told("aborted|estimated|2|0|ended before a response")
	l.correct(1)
	l.cost(12)
	l.told("aborted|estimated|2|2|by its attempts")
	l.correct(0)
	l.annotate(logged(l.d, 7, 5)) // said again
	l.correct(0)
	l.cost(12)
	if got := query[string](t, l.dsn, "select string_agg(kind, ' ') from keel.entries where decision_id = $1", l.d.ID); got != "superseded" {
		t.Errorf("entries: %s", got)
	}
	l.j.settle(back(thisMonth("a"), 50)) // what its slice had left
	l.sound()
}

func TestCorrectionCanBeMore(t *testing.T) {
	t.Parallel()
	l := newCorrecting(t)
	l.j.settle(l.j.closed(l.d, abandonedEnd(l.d, 50)))
	l.annotate(logged(l.d, 40, 90)) // beyond the envelope, which only observed it
	l.correct(1)
	l.cost(130)
}

func TestCorrectionOfACallThatNeverLeft(t *testing.T) {
	t.Parallel()
	l := newCorrecting(t)
	l.j.settle(l.j.closed(l.d, abandonedEnd(l.d, 50)))
	l.annotate(logged(l.d))
	l.correct(1)
	l.cost(0)
	l.correct(0)
}

func TestCorrectionLeavesWhatWasMetered(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"the closeout came first": true, "the log came first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newCorrecting(t)
			if !first {
				l.annotate(logged(l.d, 1))
				l.correct(0)
			}
			l.j.settle(l.j.closed(l.d, ended(l.d, 20)))
			if first {
				l.annotate(logged(l.d, 1))
			}
			l.correct(0)
			l.cost(20)
			l.told("complete|provider|1|0|end of stream")
		})
	}
}

func TestCorrectionWithoutALog(t *testing.T) {
	t.Parallel()
	l := newCorrecting(t)
	l.j.settle(l.j.closed(l.d, abandonedEnd(l.d, 50)))
	l.annotate(budget.Annotation{ID: l.d.ID, Org: l.d.Org, At: time.Now(), Attempts: 1}) // which tells of no attempts
	l.correct(0)
	l.cost(50)
}

// What a sweeper presumed of a replica that is gone is corrected, too, and what that replica's journal tells later is still heard.
func TestCorrectionOfAnOrphan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		late      func(d *budget.Decision) budget.Closeout
		cost      int64
		corrected int
	}{
		{"metered", func(d *budget.Decision) budget.Closeout { return ended(d, 20) }, 20, 0},
		{"by its envelope", func(d *budget.Decision) budget.Closeout { return abandonedEnd(d, 50) }, 12, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newCorrecting(t)
			l.annotate(logged(l.d, 7, 5))
			l.exec("update keel.annotations set stored_at = stored_at - interval '1 hour'")
			if n, err := l.Sweep(t.Context()); err != nil || n != 1 {
				t.Fatalf("swept %d, %v", n, err)
			}
			l.cost(50)
			l.correct(1)
			l.cost(12)
			l.j.settle(l.j.closed(l.d, tt.late(l.d)))
			l.correct(tt.corrected)
			l.cost(tt.cost)
		})
	}
}

func TestCorrectionOnce(t *testing.T) {
	t.Parallel()
	l := newCorrecting(t)
	l.j.settle(l.j.closed(l.d, abandonedEnd(l.d, 50)))
	l.annotate(logged(l.d, 7))
	var done atomic.Int64
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			n, err := l.Correct(context.Background())
			if err != nil {
				t.Error(err)
			}
			done.Add(int64(n))
		})
	}
	running.Wait()
	if done.Load() != 1 {
		t.Errorf("corrected %d times", done.Load())
	}
	l.cost(7)
}

func TestCorrectionThatCantBeRead(t *testing.T) {
	t.Parallel()
	l := newCorrecting(t)
	l.j.settle(l.j.closed(l.d, abandonedEnd(l.d, 50)))
	l.annotate(logged(l.d, 7))
	l.exec(`update keel.annotations set correction = '\x09'`)
	l.correct(0)
	l.cost(50)
	l.correct(0)
}

// A call that went on without the filter costs what it can have cost, whoever closed it as cut, and never less than it did.
func TestCorrectPassed(t *testing.T) {
	t.Parallel()
	passed := func(d *budget.Decision, cost pricing.NanoUSD, known bool) budget.Annotation {
		c := budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Unmetered, Metered: budget.ByEstimate, Cost: pricing.Cost{Total: cost}, CostKnown: known, Attempts: 1, Detail: "passed"}
		return budget.Annotation{ID: d.ID, Org: d.Org, At: time.Now(), Attempts: 1, Details: "via_upstream", Correction: &c}
	}
	seen := func(d *budget.Decision, outcome budget.Outcome, metered budget.Metered, cost pricing.NanoUSD) budget.Closeout {
		return budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: outcome, Metered: metered, Cost: pricing.Cost{Total: cost}, CostKnown: true, Attempts: 1, ResponseID: "r"}
	}
	for _, tt := range []struct {
		name     string
		outcome  budget.Outcome
		metered  budget.Metered
		cost     pricing.NanoUSD
		to       pricing.NanoUSD
		known    bool
		replaced int
		want     int64
	}{
		{"cut", budget.Aborted, budget.ByEstimate, 5, 40, true, 1, 40},
		{"cut above it", budget.Aborted, budget.ByEstimate, 45, 40, true, 1, 45},
		{"never let out", budget.Aborted, budget.NothingSeen, 0, 0, false, 1, 50},
		{"metered by its provider", budget.Aborted, budget.ByProvider, 5, 40, true, 0, 5},
		{"complete", budget.Complete, budget.ByEstimate, 5, 40, true, 0, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newCorrecting(t)
			l.annotate(passed(l.d, tt.to, tt.known)) // the log may be first
			l.correct(0)
			l.j.settle(l.j.closed(l.d, seen(l.d, tt.outcome, tt.metered, tt.cost)))
			l.correct(tt.replaced)
			l.correct(0)
			if outcome, want := query[string](t, l.dsn, "select outcome from keel.closeouts"), map[int]string{0: string(tt.outcome), 1: "unmetered"}[tt.replaced]; outcome != want {
				t.Errorf("outcome %s, want %s", outcome, want)
			}
			l.cost(tt.want)
		})
	}
}
