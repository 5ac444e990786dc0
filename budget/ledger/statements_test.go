package ledger

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/pricing"
	"keel/pricing/meter"
)

// fold folds on a connection of its own, as another process does.
func (l *lab) fold() int {
	l.t.Helper()
	conn, err := pgx.Connect(context.Background(), l.dsn)
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	n, err := foldAll(context.Background(), conn)
	if err != nil {
		l.t.Error(err)
	}
	return n
}

// statements are sums that the statements and the records must agree on, cost in nano-dollars.
const (
	statementSums = `select concat_ws(' ', sum(calls), sum(denied), sum(unmetered), sum(closed), sum(estimated), sum(unknown), coalesce(sum(amount_n) filter (where meter = ''), 0)::bigint, coalesce(sum(amount_n) filter (where meter <> ''), 0)::bigint, sum(estimated_n)::bigint) from keel.statements`
	recordSums    = `select concat_ws(' ', count(decided_at), count(*) filter (where action = 'deny'), count(*) filter (where outcome = 'unmetered'),
		count(*) filter (where outcome not in ('open', 'denied', 'unmetered')), count(*) filter (where metered = 'estimated'),
		count(*) filter (where outcome not in ('open', 'denied', 'unmetered') and actual_cost_usd is null),
		(coalesce(sum(actual_cost_usd), 0) * 1000000000)::bigint, (coalesce(sum(actual_cost_usd), 0) * 1000000000)::bigint, (coalesce(sum(actual_cost_usd) filter (where metered = 'estimated'), 0) * 1000000000)::bigint) from keel.spend_records`
)

// Statements add up to the records, whatever came in which order and whenever it was folded:
// closeouts before their decisions, twice, presumed and replaced.
func TestStatementsAddUp(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		l := newLab(t)
		l.budget("a", 1<<50, "month")
		rng := rand.New(rand.NewPCG(seed, 7))
		j, other := l.journal(), l.journal()
		j.lease(thisMonth("a"), 1<<40)
		type call struct {
			d    *budget.Decision
			end  budget.Closeout
			step int
		}
		var calls []*call
		var wg sync.WaitGroup
		for range 60 {
			d := admitted(enforced(thisMonth("a"), 1000))
			d.Subject = budget.Subject{"team": []string{"research", "support", ""}[rng.IntN(3)]}
			d.RoutedModel = []string{"", "gpt-5-mini"}[rng.IntN(2)]
			end := ended(d, pricing.NanoUSD(rng.IntN(900)))
			switch rng.IntN(5) {
			case 0: // charged by its hold: the price of what it used is not known
				end.CostKnown, end.Metered = false, budget.ByEstimate
			case 1: // an attempt that was lost is charged beside the lines
				end.Cost.Total += 17
			case 2:
				end.Cost.Lines = append(end.Cost.Lines, pricing.Line{Meter: meter.Output, Quantity: 40, Amount: 5}, pricing.Line{Meter: meter.Input, Quantity: 4, Amount: 2})
				end.Cost.Total += 7
			}
			calls = append(calls, &call{d: d, end: end})
		}
		denied, unmetered := admitted(), admitted()
		denied.Action, denied.Denial = budget.Deny, &budget.Denial{Status: 429, Code: "budget_exceeded", Message: "full"}
		unmetered.Unmetered = true
		j.settle(decided(denied), decided(unmetered))
		for len(calls) > 0 {
			i := rng.IntN(len(calls))
			c := calls[i]
			switch {
			case c.step == 0 && rng.IntN(4) == 0: // the closeout comes first, from a replica that does not know the call
				other.settle(unknown(c.end))
				c.step = 2
			case c.step == 0:
				j.settle(decided(c.d))
				c.step = 1
			case c.step == 1 && rng.IntN(4) == 0: // nobody closes it, and then somebody does
				if _, err := l.presume(t.Context(), []abandoned{{org: "acme", id: c.d.ID, epoch: j.epoch, why: byAge}}); err != nil {
					t.Fatal(err)
				}
				if rng.IntN(3) > 0 {
					c.step = 3
				} else {
					c.step = 4
				}
			case c.step == 1, c.step == 3:
				j.settle(j.closed(c.d, c.end))
				c.step = 4
			case c.step == 2:
				j.settle(decided(c.d))
				c.step = 4
			}
			if c.step == 4 {
				if rng.IntN(5) == 0 {
					other.settle(escrow.Record{Closeout: unknown(c.end).Closeout}) // once more, and in vain
				}
				calls = append(calls[:i], calls[i+1:]...)
			}
			if rng.IntN(3) == 0 {
				wg.Go(func() { l.fold() })
			}
			if rng.IntN(9) == 0 {
				l.sound()
			}
		}
		wg.Wait()
		l.fold()
		if got, want := query[string](t, l.dsn, statementSums), query[string](t, l.dsn, recordSums); got != want {
			t.Errorf("seed %d: statements %s, records %s", seed, got, want)
		}
		if n := query[int](t, l.dsn, "select count(*) from keel.statement_outbox"); n != 0 {
			t.Errorf("%d rows of the outbox are left", n)
		}
	}
}

// A running Ledger folds by itself.
func TestLedgerFolds(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	opts := testOptions(t)
	opts.FoldEvery = 1e6
	l := open(t, dsn, opts)
	d := decision(hold("a", cent, 100*cent))
	limit(t, l, d.Holds...)
	if err := l.Permit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	l.CloseOut(closeout(d, cent/4))
	flush(t, l)
	for t.Context().Err() == nil {
		if query[string](t, dsn, statementSums) == query[string](t, dsn, recordSums) {
			return
		}
	}
}

// What is there before migration 012 is folded like what comes after.
func TestStatementsOfOldRecords(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1<<50, "month")
	j := l.journal()
	d, open := admitted(observed(thisMonth("a"), 30)), admitted(observed(thisMonth("a"), 30))
	j.settle(decided(d), decided(open), j.closed(d, ended(d, 20)))
	// As the migration finds them: nothing is added up, and nothing waits. What it does about them is run again.
	l.exec("truncate keel.statements, keel.statement_outbox, keel.statement_provisional")
	migration, err := migrationFiles.ReadFile("migrations/012_statements.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, seed, there := strings.Cut(string(migration), "-- What is there already is folded like what comes.\n")
	seed, _, ends := strings.Cut(seed, "\n---")
	if !there || !ends {
		t.Fatal("migration 012 has no part about what is there already")
	}
	l.exec(seed)
	l.fold()
	if got, want := query[string](t, l.dsn, statementSums), query[string](t, l.dsn, recordSums); got != want || got != "2 0 0 1 0 0 20 20 0" {
		t.Errorf("statements %s, records %s", got, want)
	}
}

// Two lists in order are one, which says of each id where it was.
func TestEitherOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) []uuid.UUID {
			var ids []uuid.UUID
			for _, n := range rapid.SliceOf(rapid.Byte()).Draw(t, name) {
				ids = append(ids, uuid.UUID{n})
			}
			return sortedIDs(ids)
		}
		a, b := some("a"), some("b")
		ids, inA, inB := eitherOf(a, b)
		if want := sortedIDs(slices.Concat(a, b)); !slices.Equal(ids, want) || len(inA) != len(ids) || len(inB) != len(ids) {
			t.Fatalf("%v, want %v", ids, want)
		}
		for i, id := range ids {
			if inA[i] != slices.Contains(a, id) || inB[i] != slices.Contains(b, id) {
				t.Fatalf("%v: %v %v", id, inA[i], inB[i])
			}
		}
	})
}

// A transaction whose only closeout was replaced since is taken, and what it wrote is left to the one that says so.
func TestFoldOfWhatIsReplaced(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.broken = true // there are no such records
	id := uuid.Must(uuid.NewV7())
	var first int64
	if err := l.pool.QueryRow(t.Context(), "insert into keel.statement_outbox (org, closeouts) values ('acme', array[$1::uuid]) returning outbox_id", id).Scan(&first); err != nil {
		t.Fatal(err)
	}
	l.exec("insert into keel.statement_outbox (org, replaced) values ('acme', array[$1::uuid])", id)
	conn, err := l.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if taken, through, err := fold(t.Context(), conn.Conn(), "acme", first); taken != 1 || through != first || err != nil {
		t.Fatalf("%d through %d, want 1 through %d: %v", taken, through, first, err)
	}
	var left int
	if err := conn.QueryRow(t.Context(), "select count(*) from keel.statement_outbox").Scan(&left); left != 1 || err != nil {
		t.Fatalf("%d left, %v", left, err)
	}
}
