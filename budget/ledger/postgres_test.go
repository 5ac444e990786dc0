package ledger

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/pgserver"
)

// database makes an empty, migrated database for one test.
func database(t testing.TB) string {
	t.Helper()
	dsn := pgserver.ForTest(t)
	if err := Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	return dsn
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func testOptions() Options {
	return Options{Logger: quiet, MaxConns: 8, SweepEvery: time.Hour, RefreshEvery: 50 * time.Millisecond}
}

// open opens a Ledger that is closed, and whose database is checked, at the end of the test.
func open(t testing.TB, dsn string, opts Options) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
		checkInvariants(t, dsn)
	})
	return l
}

// kill makes l stop as SIGKILL does: what is in memory is lost.
func (l *Ledger) kill() {
	l.outbox.close()
	l.stop()
	l.running.Wait()
	l.closing.Do(func() {})
	l.hot.Close()
	l.back.Close()
}

func query[T any](t testing.TB, dsn, sql string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var v T
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func execute(t testing.TB, dsn, sql string, args ...any) error {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), sql, args...)
	return err
}

// invariants are queries that return a row for everything that is wrong.
var invariants = map[string]string{
	"held_n is the sum of open holds, settled_n of closed ones": `
		select format('%s/%s: settled %s, holds say %s; held %s, holds say %s', budget, account_key, a.settled_n, h.settled, a.held_n, h.held)
		from keel.accounts a full join (
			select org, budget, account_key, window_start, window_end, coalesce(sum(settled_n), 0) settled,
				coalesce(sum(amount_n) filter (where settled_n is null), 0) held
			from keel.holds group by 1, 2, 3, 4, 5) h using (org, budget, account_key, window_start, window_end)
		where coalesce(a.settled_n, 0) <> coalesce(h.settled, 0) or coalesce(a.held_n, 0) <> coalesce(h.held, 0)`,
	"a hold is settled exactly when its decision is closed, at what the closeout says": `
		select format('%s: hold %s settled %s, closeout %s', h.decision_id, h.amount_n, h.settled_n, c.cost_n)
		from keel.holds h left join keel.closeouts c using (org, decision_id)
		where h.settled_n is distinct from case when c.cost_known then c.cost_n when c.decision_id is not null then greatest(h.amount_n, c.cost_n) end`,
	"a decision is open or closed or needs no closeout": `
		select d.decision_id::text from keel.decisions d
		left join keel.closeouts c using (org, decision_id) left join keel.open_decisions o using (org, decision_id)
		where d.action <> 'deny' and not d.unmetered and (c.decision_id is null) = (o.decision_id is null)`,
	"nothing is open that has no decision": `
		select o.decision_id::text from keel.open_decisions o left join keel.decisions d using (org, decision_id) where d.decision_id is null`,
	"holds have a decision": `
		select h.decision_id::text from keel.holds h left join keel.decisions d using (org, decision_id) where d.decision_id is null`,
}

func checkInvariants(t testing.TB, dsn string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Errorf("invariants: %v", err)
		return
	}
	defer conn.Close(context.Background())
	for what, sql := range invariants {
		rows, err := conn.Query(context.Background(), sql)
		if err != nil {
			t.Fatal(err)
		}
		wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wrong {
			t.Errorf("violated: %s: %s", what, w)
		}
	}
}
