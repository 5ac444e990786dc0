package pages

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit"
)

// verification is how far the audit log has come, as this database says. Who must not trust it runs keel audit verify.
type verification struct {
	Checkpoints []checkpointRow
	Leaves      int64
	Waiting     int64 // transactions of the org that are not in the log yet
	WaitingAt   *time.Time
	Missing     int64 // records that were gone before the log could take them
	Keys        []keyRow
	Breaks      []audit.Continuation
}

type checkpointRow struct {
	Size int64
	At   time.Time
	Note string
}

type keyRow struct {
	Key   string
	Added time.Time
}

// checkpointsListed is how many checkpoints a page shows.
const checkpointsListed = 10

func readVerification(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	v := &verification{}
	if err := tx.QueryRow(ctx, `
select coalesce((select max(index) + 1 from keel.leaves), 0), count(*), min(at), count(missing_since) from keel.outbox where org = $1`, q.org).
		Scan(&v.Leaves, &v.Waiting, &v.WaitingAt, &v.Missing); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, "select size, at, note from keel.checkpoints order by size desc limit $1", checkpointsListed)
	if err != nil {
		return nil, err
	}
	if v.Checkpoints, err = pgx.CollectRows(rows, pgx.RowToStructByPos[checkpointRow]); err != nil {
		return nil, err
	}
	if rows, err = tx.Query(ctx, "select vkey, added_at from keel.audit_keys order by added_at desc"); err != nil {
		return nil, err
	}
	if v.Keys, err = pgx.CollectRows(rows, pgx.RowToStructByPos[keyRow]); err != nil {
		return nil, err
	}
	v.Breaks, err = audit.Continuations(ctx, tx)
	return v, err
}
