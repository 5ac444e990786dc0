package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// touched is what a transaction wrote that statements add up. It says so in
// keel.statement_outbox, and what folds statements takes it from there when it is committed.
type touched struct{ decisions, closeouts, replaced []uuid.UUID }

const insertTouched = `
insert into keel.statement_outbox (org, decisions, closeouts, replaced) values ($1, coalesce($2::uuid[], '{}'), coalesce($3::uuid[], '{}'), coalesce($4::uuid[], '{}'))`

func (t *touched) queue(batch *pgx.Batch, org string) {
	if len(t.decisions)+len(t.closeouts)+len(t.replaced) > 0 {
		batch.Queue(insertTouched, org, t.decisions, t.closeouts, t.replaced)
	}
}

// statementLock is the class of the advisory locks under which one process at a time folds, one an org.
const statementLock = 0x73746174 // "stat" in ASCII

// LockStatements keeps statements of an org from being folded until tx ends: what changes records in place changes them too.
func LockStatements(ctx context.Context, tx pgx.Tx, org string) error {
	_, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1, hashtext($2))", statementLock, org)
	return err
}

// foldRows bounds what one transaction takes: rows of the outbox, each of a transaction of settlement or
// of 5000 records that were there before migration 012.
const foldRows = 8

// FoldStatements adds what was settled until now to keel.statements, and returns how many transactions it
// took in. An org that another process folds is left to it.
func (s *Store) FoldStatements(ctx context.Context) (taken int, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return 0, explainError("fold statements", err)
	}
	defer conn.Release()
	taken, err = foldAll(ctx, conn.Conn())
	return taken, explainError("fold statements", err)
}

func foldAll(ctx context.Context, conn *pgx.Conn) (taken int, err error) {
	rows, err := conn.Query(ctx, "select distinct org from keel.statement_outbox")
	if err != nil {
		return 0, err
	}
	orgs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, err
	}
	for _, org := range orgs {
		n, err := foldOrg(ctx, conn, org)
		taken += n
		if err != nil {
			return taken, fmt.Errorf("org %s: %w", org, err)
		}
	}
	return taken, nil
}

// foldOrg folds what waits of one org. The lock is taken before the snapshot of any transaction, so each
// sees what the one before it did.
func foldOrg(ctx context.Context, conn *pgx.Conn, org string) (taken int, err error) {
	var mine bool
	if err := conn.QueryRow(ctx, "select pg_try_advisory_lock($1, hashtext($2))", statementLock, org).Scan(&mine); err != nil || !mine {
		return 0, err
	}
	defer func() {
		if _, unlock := conn.Exec(context.WithoutCancel(ctx), "select pg_advisory_unlock($1, hashtext($2))", statementLock, org); unlock != nil {
			_ = conn.Close(context.WithoutCancel(ctx)) // the lock goes with the session
			err = errors.Join(err, unlock)
		}
	}()
	var last *int64 // what comes later is for another time, or there would be no end while calls are settled
	if err := conn.QueryRow(ctx, "select max(outbox_id) from keel.statement_outbox where org = $1", org).Scan(&last); err != nil || last == nil {
		return 0, err
	}
	for {
		n, err := fold(ctx, conn, org, *last)
		taken += n
		if err != nil || n < foldRows {
			return taken, err
		}
	}
}

// fold takes some rows of the outbox. It is one snapshot, so what is added for a closeout is what it was
// when its row of the outbox was written, unless it was replaced since: then the row that says so is in the snapshot too,
// and the closeout is left to it.
func fold(ctx context.Context, conn *pgx.Conn, org string, last int64) (taken int, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
delete from keel.statement_outbox where org = $1 and outbox_id in (
  select outbox_id from keel.statement_outbox where org = $1 and outbox_id <= $3 order by outbox_id limit $2)
returning decisions, closeouts || replaced`, org, foldRows, last)
		if err != nil {
			return err
		}
		var decisions, closeouts, some, more []uuid.UUID
		if _, err := pgx.ForEachRow(rows, []any{&some, &more}, func() error {
			taken++
			decisions, closeouts = append(decisions, some...), append(closeouts, more...)
			return nil
		}); err != nil || taken == 0 {
			return err
		}
		rows, err = tx.Query(ctx, "select distinct id from keel.statement_outbox cross join unnest(replaced) id where org = $1 and replaced <> '{}' and id = any($2)", org, closeouts)
		if err != nil {
			return err
		}
		later, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		closeouts = slices.DeleteFunc(closeouts, func(id uuid.UUID) bool { return slices.Contains(later, id) })
		// A decision whose closeout was there before it, and a closeout that replaces one.
		rows, err = tx.Query(ctx, "select distinct decision_id from keel.statement_provisional where org = $1 and decision_id = any($2)", org, slices.Concat(decisions, closeouts))
		if err != nil {
			return err
		}
		again, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		closeouts = append(closeouts, again...)
		batch := &pgx.Batch{}
		// Each record by its key: what waits is little of a month, however the planner guesses.
		batch.Queue("set local enable_hashjoin = off")
		batch.Queue("set local enable_mergejoin = off")
		batch.Queue("set local enable_seqscan = off")
		batch.Queue(addStatements, org, decisions, closeouts)
		batch.Queue("delete from keel.statement_provisional where org = $1 and decision_id = any($2)", org, again)
		batch.Queue(addProvisional, org, closeouts)
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return 0, err
	}
	return taken, nil
}

// addStatements adds what decisions and closeouts say, less what was added for the closeouts before. An id that
// is named twice counts once.
const addStatements = `
insert into keel.statements as s (org, day, team, provider, model, meter, quantity, amount_n, calls, denied, unmetered, closed, estimated, unknown, estimated_n)
select org, day, team, provider, model, meter, sum(quantity), sum(amount_n), sum(calls), sum(denied), sum(unmetered), sum(closed), sum(estimated), sum(unknown), sum(estimated_n)
from (
  select org, day, team, provider, model, '' as meter, 0 as quantity, 0 as amount_n, 1 as calls, denied, unmetered, 0 as closed, 0 as estimated, 0 as unknown, 0 as estimated_n
  from keel.statement_decisions where org = $1 and decision_id = any($2)
  union all
  select org, day, team, provider, model, meter, quantity, amount_n, 0, 0, 0, closed, estimated, unknown, estimated_n
  from keel.statement_closeouts where org = $1 and decision_id = any($3)
  union all
  select org, day, team, provider, model, meter, -quantity, -amount_n, 0, 0, 0, -closed, -estimated, -unknown, -estimated_n
  from keel.statement_provisional where org = $1 and decision_id = any($3)) x
group by org, day, team, provider, model, meter
order by day, team, provider, model, meter
on conflict (org, day, team, provider, model, meter) do update set quantity = s.quantity + excluded.quantity, amount_n = s.amount_n + excluded.amount_n,
  calls = s.calls + excluded.calls, denied = s.denied + excluded.denied, unmetered = s.unmetered + excluded.unmetered,
  closed = s.closed + excluded.closed, estimated = s.estimated + excluded.estimated, unknown = s.unknown + excluded.unknown, estimated_n = s.estimated_n + excluded.estimated_n`

const addProvisional = `
insert into keel.statement_provisional (org, decision_id, day, team, provider, model, meter, quantity, amount_n, closed, estimated, unknown, estimated_n)
select org, decision_id, day, team, provider, model, meter, sum(quantity), sum(amount_n), sum(closed), sum(estimated), sum(unknown), sum(estimated_n)
from keel.statement_closeouts where org = $1 and decision_id = any($2) and not final
group by org, decision_id, day, team, provider, model, meter`

// foldLoop folds statements every so often until ctx ends.
func (l *Ledger) foldLoop(ctx context.Context) {
	for sleep(ctx, l.opts.FoldEvery) {
		if ok, _ := l.Healthy(); !ok {
			continue
		}
		if _, err := l.FoldStatements(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("ledger: statements are behind, will go on trying", "error", err)
		}
	}
}
