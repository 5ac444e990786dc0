package sample

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// trueUps are two comparisons and what of them is accepted: above and below the records, with and without a model, of a month
// that was over and of one that was not.
const trueUps = `
with r as (
  insert into keel.reconciliations (org, reconciliation_id, at, actor, provider, file, sha256, timezone, since, until) values
    ('acme', '00000000-0000-4000-8000-000000000001', '2026-11-03 09:00Z', 'ada', 'openai', 'october.json', '', 'UTC', '2026-10-01Z', '2026-11-01Z'),
    ('acme', '00000000-0000-4000-8000-000000000002', '2026-10-20 09:00Z', 'ada', 'anthropic', 'cost.csv', '', 'UTC', '2026-10-01Z', '2026-10-03Z')),
cells (run, n, day, model, account, meter, recorded, stated, cause) as (values
  (1, 0, date '2026-10-01', 'gpt-5-2025-08-07', 'proj_abc', 'output', 5000000, 5250001, 'estimated'),
  (1, 1, date '2026-10-01', 'gpt-nobody-has', 'proj_abc', 'input', 0, 500000000, 'unknown_model'),
  (1, 2, date '2026-10-02', '', '', '', 7000000, 6999999, 'rounding'),
  (2, 0, date '2026-10-02', 'claude-sonnet-4-5-20250929', '', 'web_search', 30000000, 10000000, 'missing_at_provider')),
c as (
  insert into keel.reconciled (org, reconciliation_id, n, day, model, account, meter, recorded_n, stated_n, causes)
  select 'acme', ('00000000-0000-4000-8000-00000000000' || run)::uuid, n, day, model, account, meter, recorded, stated,
    jsonb_build_array(jsonb_build_object('cause', cause, 'usd', ((stated - recorded) * 0.000000001)::text)) from cells)
insert into keel.adjustments (org, adjustment_id, at, actor, source, reconciliation_id, cell, provider, model, account, meter, day, amount_n, cause)
select 'acme', ('00000000-0000-4000-8000-0000000000' || run || n)::uuid, case run when 1 then timestamptz '2026-11-03 09:00Z' else '2026-10-20 09:00Z' end, 'ada', 'reconcile',
  ('00000000-0000-4000-8000-00000000000' || run)::uuid, n, case run when 1 then 'openai' else 'anthropic' end, model, account, meter, day, stated - recorded, cause from cells`

// TrueUps accepts four differences from bills of October, of -0.000000001 to 0.5 dollars and 0.480250000 in all.
func TrueUps(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		_, err = conn.Exec(ctx, trueUps)
	}
	if err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	return nil
}
