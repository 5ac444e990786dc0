package pages

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// reconciliation is what the providers' own figures say against ours.
type reconciliation struct {
	Reconciled bool           // keel reconcile was run for the org
	Stated     []statedRow    // where providers state the cost of a call in its answer
	Since      time.Time      // of Stated
	Runs       []reconcileRow // the newest first
}

// statedRow is what one provider said that calls cost, in their answers, and what was charged.
type statedRow struct {
	Provider, Model string
	Calls           int64
	Stated          string // dollars, as many decimals as the provider states
	Ours            usd
	Difference      string // ours − stated
}

// reconcileRow is one run of keel reconcile.
type reconcileRow struct {
	At       time.Time
	Text     string
	Variance string
}

// statedFor is how far back answers are looked at.
const statedFor = 7 * 24 * time.Hour

func readReconciliation(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	r := &reconciliation{Since: q.now.Add(-statedFor)}
	rows, err := tx.Query(ctx, `
select provider, model_routed, count(*), trim_scale(sum(provider_cost_usd))::text, (sum(actual_cost_usd) * 1000000000)::numeric(38)::text, trim_scale(sum(cost_difference_usd))::text
from keel.spend_records
where org = $1 and closed_at >= $2 and decision_id >= keel.uuid_at($2::timestamptz - interval '1 day') and cost_difference_usd is not null
group by 1, 2 order by abs(sum(cost_difference_usd)) desc, 1, 2`, q.org, r.Since)
	if err != nil {
		return nil, err
	}
	r.Stated, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s statedRow, err error) {
		return s, row.Scan(&s.Provider, &s.Model, &s.Calls, &s.Stated, &s.Ours, &s.Difference)
	})
	return r, err
}
