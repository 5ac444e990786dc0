package pages

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// trueUps are what was accepted of bills beyond what the records say: a line of its own, in no call and no budget.
type trueUps struct {
	Rows  []trueUpRow
	Count int64
	Sum   usd
	Total usd // with what the calls cost
}

type trueUpRow struct {
	Provider, Model, Cause string // Model is "" where the bill does not tell
	Count                  int64
	Amount                 usd
}

// readTrueUps adds up the adjustments of days, as keel audit export lists them; nil where there are none.
func readTrueUps(ctx context.Context, tx pgx.Tx, org string, days []time.Time, calls usd) (*trueUps, error) {
	rows, err := tx.Query(ctx, `
select provider, model, cause, count(*), sum(amount_n)::text from keel.adjustments
where org = $1 and source = 'reconcile' and day = any($2) group by 1, 2, 3 order by abs(sum(amount_n)) desc, 1, 2, 3`, org, days)
	if err != nil {
		return nil, err
	}
	u := &trueUps{Sum: orZero(usd{})}
	if u.Rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r trueUpRow, err error) {
		err = row.Scan(&r.Provider, &r.Model, &r.Cause, &r.Count, &r.Amount)
		return r, err
	}); err != nil || len(u.Rows) == 0 {
		return nil, err
	}
	for i := range u.Rows {
		u.Count += u.Rows[i].Count
		u.Sum = u.Sum.plus(u.Rows[i].Amount)
	}
	u.Total = calls.plus(u.Sum)
	return u, nil
}
