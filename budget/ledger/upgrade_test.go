package ledger

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"

	"keel/budget/ledger/pgserver"
)

// A database of 004 with rows of every kind goes on as it was: every record reads
// the same, every account has its money, and what was open is closed by a sweep.
func TestMigrateFrom004(t *testing.T) {
	t.Parallel()
	l := &lab{t: t, dsn: pgserver.ForTest(t)}
	var err error
	if l.pool, err = newPool(l.dsn, 8); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.pool.Close() })
	l.Bank = NewBank(l.pool, BankOptions{Logger: slog.New(slog.DiscardHandler)})
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	l.exec("create schema keel")
	l.exec("create table keel.migrations (id integer primary key, name text not null, hash text not null, applied_at timestamptz not null default now())")
	for _, m := range all[:4] {
		l.exec(m.sql)
		l.exec("insert into keel.migrations (id, name, hash) values ($1, $2, $3)", m.id, m.name, m.hash)
	}
	l.exec(`insert into keel.budgets (org, name, limit_usd, tiers) values ('acme', 'a', 0.000001, '[{"at": "90%", "do": "deny"}]')`)
	epoch := uuid.Must(uuid.NewV7())
	l.exec("insert into keel.replicas (epoch, host, heartbeat_at) values ($1, 'old', now() - interval '1 hour')", epoch)
	a := thisMonth("a")
	ids := map[string]uuid.UUID{"closed": uuid.Must(uuid.NewV7()), "open": uuid.Must(uuid.NewV7()), "denied": uuid.Must(uuid.NewV7()), "ancient": uuid.New()}
	for name, id := range ids {
		action := "allow"
		if name == "denied" {
			action = "deny"
		}
		l.exec(`insert into keel.decisions values ('acme', $1, now(), now(), $2, '{"team": "x"}', 'openai-chat', 'openai', 'gpt-5', '/v1', false, 0, 1, '', '{}', $3, 'fits', '',
			'openai', 'gpt-5', 0, 1, 2, 3, 4, 5, 6, 'provable', 'bytes/1', '', 30, '[]', 'v', null, false, false)`, id, epoch, action)
		if action == "deny" {
			continue
		}
		l.exec("insert into keel.holds values ('acme', $1, 0, 'a', '', $2, $3, 30, null, 900, 1000, 'enforce', 1), ('acme', $1, 1, 'life', 'user=ada', '-infinity', 'infinity', 30, null, -1, 1000, 'observe', 1)", id, a.WindowStart, a.WindowEnd)
		if name == "open" {
			l.exec("insert into keel.open_decisions (org, decision_id, epoch) values ('acme', $1, $2)", id, epoch)
			continue
		}
		l.exec(`insert into keel.closeouts (org, decision_id, closed_at, outcome, metered, presumed, cost_n, cost_known, lines, unpriced, attempts, http_status, model, detail)
			values ('acme', $1, now(), 'complete', 'provider', false, 12, true, '[]', '{}', 1, 200, 'gpt-5', '')`, id)
		l.exec("update keel.holds set settled_n = 12 where decision_id = $1", id)
		l.exec("insert into keel.annotations values ('acme', $1, now(), now(), 200, 2, '-', '', 5)", id)
	}
	l.exec("insert into keel.accounts select org, budget, account_key, window_start, window_end, coalesce(sum(settled_n), 0), coalesce(sum(amount_n) filter (where settled_n is null), 0) from keel.holds group by 1, 2, 3, 4, 5")
	// A closeout whose decision never came.
	l.exec(`insert into keel.closeouts (org, decision_id, closed_at, outcome, metered, presumed, cost_n, cost_known, lines, unpriced, attempts, http_status, model, detail)
		values ('acme', $1, now(), 'complete', 'provider', false, 7, true, '[]', '{}', 1, 200, 'gpt-5', '')`, uuid.Must(uuid.NewV7()))
	const records = "select jsonb_agg(to_jsonb(r) order by r.decision_id)::text from keel.spend_records r"
	const status = "select jsonb_agg(to_jsonb(s) order by s.budget)::text from keel.budget_status s"
	wantRecords, wantStatus := query[string](t, l.dsn, records), query[string](t, l.dsn, status)
	wantColumns := query[string](t, l.dsn, viewColumns)

	if err := Migrate(t.Context(), l.dsn, nil); err != nil {
		t.Fatal(err)
	}
	l.sound()
	// What came later is a column at the end, null for what is older.
	if got := strings.NewReplacer(`"envelope_usd": null, `, "", `"extended_usd": null, `, "").Replace(query[string](t, l.dsn, records)); got != wantRecords {
		t.Errorf("spend_records:\n%s, want\n%s", got, wantRecords)
	}
	if got := strings.TrimSuffix(query[string](t, l.dsn, viewColumns), ", spend_records envelope_usd numeric, spend_records extended_usd numeric"); got != wantColumns {
		t.Errorf("columns of the views:\n%s, want\n%s", got, wantColumns)
	}
	if got := query[string](t, l.dsn, "select string_agg(x, ' ' order by x) from (select concat_ws('/', budget, settled_usd, held_usd, leased_usd + 0, remaining_usd) x from keel.budget_status) y"); got != "a/0.000000024/0.000000030/0.000000000/0.000000946" {
		t.Errorf("budget_status: %s, was %s", got, wantStatus)
	}
	l.want("a", sums{settled: 24, held: 30, forced: 24})
	l.inForce("a", "1 900 0 f")
	e, err := (&Store{pool: l.pool, dsn: l.dsn}).Explain(t.Context(), ids["closed"])
	if err != nil || len(e.Holds) != 2 || e.Holds[0].Amount != 30 || *e.Holds[0].Settled != 12 || e.Holds[1].WindowEnd != nil || e.Holds[1].Key != "user=ada" || !e.Holds[0].WindowEnd.Equal(a.WindowEnd) {
		t.Errorf("explain: %+v, %v", e, err)
	}
	if n, err := l.Sweep(context.Background()); err != nil || n != 1 {
		t.Errorf("swept %d, %v", n, err)
	}
	l.want("a", sums{settled: 54, forced: 54})
	l.sound()
	j := l.journal()
	if got := j.lease(a, 846); got.Given != 846 || got.Settled != 54 {
		t.Errorf("what the limit leaves: %+v", got)
	}
	late := admitted(observed(a, 30), observed(a, 30))
	late.ID = ids["open"]
	j.settle(unknown(ended(late, 5)), back(a, 846)) // the replica of before closes it after all
	l.want("a", sums{settled: 29, forced: 54})
	l.sound()
}

const viewColumns = `select string_agg(concat_ws(' ', table_name, column_name, data_type), ', ' order by table_name, ordinal_position)
from information_schema.columns where table_schema = 'keel' and table_name in ('spend_records', 'budget_status')`
