package pages

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget/ledger"
)

// generated are n records of a month of one org: 50 teams, 12 models, three meters each, one call in fifty denied.
const generated = `
with x as (
  select i, timestamptz '2026-03-01Z' + (i % 30) * interval '1 day' + (i % 86400) * interval '1 second' as at from generate_series($1::bigint, $2::bigint) i),
x2 as (
  select i, at, (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '7000' || '8000' || lpad(to_hex(i), 12, '0'))::uuid as id,
    'team-' || (i / 30 % 50) as team, 'model-' || (i / 1500 % 12) as model from x),
d as (
  insert into keel.decisions (org, epoch, decision_id, decided_at, subject, api, provider, model, path, stream, max_output_tokens, choices, service_tier, prompt, action, reason, route,
    routed_provider, routed_model, output_cap, input_tokens, input_tokens_bound, output_tokens, output_tokens_bound, expected_n, bound_n, bound_kind, method, unpriced, held_n, rules, price_version, unmetered, debt)
  select 'acme', '01900000-0000-7000-8000-000000000001', id, at, jsonb_build_object('team', team), 'openai-chat', 'openai', model, '/v1/chat/completions', false, 0, 1, '', '{}',
    case when i % 50 = 0 then 'deny' else 'allow' end, 'fits', '', 'openai', model, 0, 10, 20, 100, 200, 5000, 9000, 'provable', 'bytes/1', '', null, '[]', 'v', false, false from x2)
insert into keel.closeouts (org, decision_id, closed_at, outcome, metered, presumed, cost_n, cost_known, lines, unpriced, attempts, http_status, model, detail)
select 'acme', id, at, 'complete', 'provider', false, 3000 + i % 1000, true,
  jsonb_build_array(jsonb_build_object('meter', 'input', 'quantity', 10, 'amount_usd', '0.000001'), jsonb_build_object('meter', 'cached_input', 'quantity', 5, 'amount_usd', '0.0000005'),
    jsonb_build_object('meter', 'output', 'quantity', 40, 'amount_usd', keel.usd(1500 + i % 1000)::text)), '{}', 1, 200, model, ''
from x2 where i % 50 <> 0`

// Statements and lists stay fast however many records there are: KEEL_SCALE says how many, and the log how long each page took.
func TestPagesAtScale(t *testing.T) {
	records := int64(2_000)
	if text := os.Getenv("KEEL_SCALE"); text != "" {
		var err error
		if records, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	dsn := database(t)
	exec(t, dsn, `insert into keel.budgets (org, name, limit_usd) values ('acme', 'month', 100)`)
	exec(t, dsn, "select keel.ensure_partitions('2026-03-01Z', '2026-03-31Z')")
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	const part = 100_000
	began := time.Now()
	for from := int64(1); from <= records; from += part {
		if _, err := pool.Exec(t.Context(), generated, from, min(records, from+part-1)); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, dsn, `insert into keel.statement_outbox (org, decisions, closeouts)
		select 'acme', array_agg(decision_id), array_agg(decision_id) from (select decision_id, (row_number() over (order by decision_id) - 1) / 5000 as part from keel.decisions) x group by part`)
	exec(t, dsn, "analyze")
	t.Logf("%d records generated in %s", records, time.Since(began).Round(time.Second))
	began = time.Now()
	store, err := ledger.OpenStore(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.FoldStatements(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("folded in %s, %s of tables, %d rows of statements", time.Since(began).Round(time.Second), query[string](t, dsn, "select pg_size_pretty(pg_database_size(current_database()))"),
		query[int](t, dsn, "select count(*) from keel.statements"))
	if got := query[int64](t, dsn, "select sum(calls)::bigint from keel.statements"); got != records {
		t.Errorf("%d calls of %d are in statements", got, records)
	}
	exec(t, dsn, "analyze keel.statements")
	s := server(t, dsn, everybody)
	for _, address := range []string{"statement?org=acme&month=2026-03", "statement?org=acme&month=2026-03&team=team-7", "decisions?org=acme", "decisions?org=acme&team=team-7", "decisions?org=acme&action=deny&until=2026-03-15", "budgets?org=acme"} {
		var times []time.Duration
		for range 9 {
			at := time.Now()
			if status, body := get(t, s, Root+address); status != http.StatusOK {
				t.Fatalf("%s: status %d\n%s", address, status, body)
			}
			times = append(times, time.Since(at))
		}
		slices.Sort(times)
		t.Logf("%s: best %s, median %s, worst %s", address, times[0].Round(100*time.Microsecond), times[4].Round(100*time.Microsecond), times[8].Round(100*time.Microsecond))
	}
}
