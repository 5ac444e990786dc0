package pages

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// reconciliation is what the providers' own figures say against ours.
type reconciliation struct {
	Runs   []reconcileRun // of keel reconcile, the newest first
	Causes []causeRow     // of the one that is shown
	Shown  *reconcileRun
	Stated []statedRow // where providers state the cost of a call in its answer
	Since  time.Time   // of Stated
}

// reconcileRun is one comparison of a provider's statement with the records.
type reconcileRun struct {
	ID                 uuid.UUID
	At, Since, Until   time.Time
	Actor, File        string
	Provider, Timezone string
	Recorded, Stated   usd
	Variance, Accepted usd // stated − recorded; what the books took in as adjustments
	Cells              int64
}

// causeRow is a cause of the variance of one run.
type causeRow struct {
	Cause    string
	Cells    int64
	Variance usd
}

// statedRow is what one provider said that calls cost, in their answers, and what was charged.
type statedRow struct {
	Provider, Model string
	Calls           int64
	Stated          string // dollars, as many decimals as the provider states
	Ours            usd
	Difference      string // ours − stated
}

const (
	// statedFor is how far back answers are looked at.
	statedFor = 7 * 24 * time.Hour
	// runsListed is how many comparisons a page lists.
	runsListed = 50
)

func readReconciliation(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	r := &reconciliation{Since: q.now.Add(-statedFor)}
	if err := r.readRuns(ctx, tx, q); err != nil {
		return nil, err
	}
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

// readRuns reads the comparisons, and the causes of the one that the address names, else of the newest. A cell whose
// statement has no amount is in no sum.
func (r *reconciliation) readRuns(ctx context.Context, tx pgx.Tx, q *request) error {
	rows, err := tx.Query(ctx, `
select r.reconciliation_id, r.at, r.since, r.until, r.actor, r.file, r.provider, r.timezone, c.recorded::text, c.stated::text, (c.stated - c.recorded)::text, c.n,
  (select coalesce(sum(a.amount_n), 0)::text from keel.adjustments a where a.org = r.org and a.reconciliation_id = r.reconciliation_id)
from keel.reconciliations r
cross join lateral (select coalesce(sum(x.recorded_n), 0) as recorded, coalesce(sum(x.stated_n), 0) as stated, count(*) as n
  from keel.reconciled x where x.org = r.org and x.reconciliation_id = r.reconciliation_id and x.stated_n is not null) c
where r.org = $1 order by r.at desc, r.reconciliation_id limit $2`, q.org, runsListed)
	if err != nil {
		return err
	}
	if r.Runs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (x reconcileRun, err error) {
		return x, row.Scan(&x.ID, &x.At, &x.Since, &x.Until, &x.Actor, &x.File, &x.Provider, &x.Timezone, &x.Recorded, &x.Stated, &x.Variance, &x.Cells, &x.Accepted)
	}); err != nil || len(r.Runs) == 0 {
		return err
	}
	r.Shown = &r.Runs[0]
	if run := q.query.Get("run"); run != "" {
		i := slices.IndexFunc(r.Runs, func(x reconcileRun) bool { return x.ID.String() == run })
		if i < 0 {
			return errNotThere
		}
		r.Shown = &r.Runs[i]
	}
	rows, err = tx.Query(ctx, `
select c->>'cause', count(*), (sum((c->>'usd')::numeric) * 1000000000)::numeric(38)::text
from keel.reconciled x cross join lateral jsonb_array_elements(x.causes) c
where x.org = $1 and x.reconciliation_id = $2 and x.stated_n is not null
group by 1 order by abs(sum((c->>'usd')::numeric)) desc, 1`, q.org, r.Shown.ID)
	if err != nil {
		return err
	}
	r.Causes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c causeRow, err error) {
		return c, row.Scan(&c.Cause, &c.Cells, &c.Variance)
	})
	return err
}
