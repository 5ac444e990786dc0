package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Scope says which records a statement is compared with.
type Scope struct {
	Org      string
	Provider string
	Since    time.Time // days of the statement; nothing outside is compared
	Until    time.Time
	Label    string // of the subject, that is the provider's account; "" where accounts are not compared
}

// Recorded are the records of a quarter of an hour, so that they can be added up to days of any zone.
type Recorded struct {
	At        time.Time
	Model     string // as the provider reported it, else as routed
	Account   string
	Meter     string // "unmetered" for what was charged as bound or hold
	Estimated bool   // by a closeout that is not the provider's own
	Quantity  int64
	Nano      int64 // nano-dollars
	Calls     int64
	Unmetered int64 // calls that passed without being read
	Unpriced  int64 // calls whose cost is what was held, because a rate is missing
}

// a day at either end, so that a statement whose days are of another zone is recognised
const margin = 24 * time.Hour

// ReadRecorded adds the records of a scope up.
func ReadRecorded(ctx context.Context, tx pgx.Tx, s Scope) ([]Recorded, error) {
	rows, err := tx.Query(ctx, `
with calls as (
  select date_bin('15 minutes', coalesce(r.decided_at, r.closed_at), 'epoch') as at, coalesce(nullif(c.model, ''), r.model_routed, '') as model,
    case when $4 = '' then '' else coalesce(r.subject->>$4, '') end as account, r.metered <> 'provider' as estimated,
    case when r.outcome = 'denied' then '[]' else coalesce(c.lines, '[]') end as lines, coalesce(r.actual_cost_usd * 1000000000, 0)::bigint as cost_n,
    r.outcome = 'unmetered' as unmetered, c.decision_id is not null and not c.cost_known as unpriced
  from keel.spend_records r left join keel.closeouts c on c.org = r.org and c.decision_id = r.decision_id
  where r.org = $1 and r.provider = $2 and r.action <> 'deny' and r.decided_at >= $3::timestamptz and r.decided_at < $5::timestamptz)
select at, model, account, x.meter, estimated, sum(x.quantity)::bigint, sum(x.nano)::bigint, sum(x.calls)::bigint,
  sum(case when unmetered then x.calls else 0 end)::bigint, sum(case when unpriced then x.calls else 0 end)::bigint
from calls cross join lateral (
  select l.meter, l.quantity, (l.amount_usd * 1000000000)::bigint as nano, 0 as calls from jsonb_to_recordset(lines) as l(meter text, quantity bigint, amount_usd numeric)
  union all
  select 'unmetered', 0, cost_n - coalesce((select sum(l.amount_usd) * 1000000000 from jsonb_to_recordset(lines) as l(amount_usd numeric)), 0)::bigint, 1) x
group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5`, s.Org, s.Provider, s.Since.Add(-margin), s.Label, s.Until.Add(margin))
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	recorded, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Recorded])
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	return recorded, nil
}
