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
		batch.Queue(insertTouched, org, idList(t.decisions), idList(t.closeouts), idList(t.replaced))
	}
}

// statementLock is the class of the advisory locks under which one process at a time folds, one an org.
const statementLock = 0x73746174 // "stat" in ASCII

// LockStatements keeps statements of an org from being folded until tx ends: what changes records in place changes them too.
func LockStatements(ctx context.Context, tx pgx.Tx, org string) error {
	_, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1, hashtext($2))", statementLock, org)
	return err
}

// foldIDs bounds the records that one transaction takes in, beyond those of the first row of the outbox, and
// foldRows the rows, each of which is of one transaction of settlement.
const (
	foldIDs  = 20_000
	foldRows = 1000
)

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
		n, through, err := fold(ctx, conn, org, *last)
		taken += n
		if err != nil || n == 0 || through >= *last {
			return taken, err
		}
	}
}

// fold takes some rows of the outbox, up to one that it names. It is one snapshot, so what is added for a closeout is what it was
// when its row of the outbox was written, unless it was replaced since: then the row that says so is in the snapshot too,
// and the closeout is left to it.
func fold(ctx context.Context, conn *pgx.Conn, org string, last int64) (taken int, through int64, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
delete from keel.statement_outbox where org = $1 and outbox_id in (
  select outbox_id from (
    select outbox_id, row_number() over w as n, sum(cardinality(decisions) + cardinality(closeouts) + cardinality(replaced)) over w as ids
    from (select * from keel.statement_outbox where org = $1 and outbox_id <= $2 order by outbox_id limit $3) o window w as (order by outbox_id)) o
  where n = 1 or ids <= $4)
returning outbox_id, decisions, closeouts || replaced`, org, last, foldRows, foldIDs)
		if err != nil {
			return err
		}
		var decisions, closeouts, some, more []uuid.UUID
		var id int64
		if _, err := pgx.ForEachRow(rows, []any{&id, &some, &more}, func() error {
			taken, through = taken+1, max(through, id)
			decisions, closeouts = append(decisions, some...), append(closeouts, more...)
			return nil
		}); err != nil || taken == 0 {
			return err
		}
		rows, err = tx.Query(ctx, "select distinct id from keel.statement_outbox cross join unnest(replaced) id where org = $1 and replaced <> '{}' and id = any($2)", org, idList(closeouts))
		if err != nil {
			return err
		}
		later, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		if len(later) > 0 {
			closeouts = slices.DeleteFunc(closeouts, func(id uuid.UUID) bool { return slices.Contains(later, id) })
		}
		// A decision whose closeout was there before it, and a closeout that replaces one.
		rows, err = tx.Query(ctx, "select distinct decision_id from keel.statement_provisional where org = $1 and decision_id = any($2)", org, idList(slices.Concat(decisions, closeouts)))
		if err != nil {
			return err
		}
		again, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		ids, decided, closed := eitherOf(sortedIDs(decisions), sortedIDs(append(closeouts, again...)))
		if len(ids) == 0 {
			return nil // all of it is left to what comes later
		}
		batch := &pgx.Batch{}
		// Each record by its key: what waits is little of a month, however the planner guesses. It has to guess anew every
		// time, because it knows then which months it is about; and what it fears, it would compile for longer than it takes.
		batch.Queue("set local enable_seqscan = off")
		batch.Queue("set local plan_cache_mode = force_custom_plan")
		batch.Queue("set local jit = off")
		batch.Queue("set local enable_memoize = off") // no two calls are alike
		batch.Queue("set local work_mem = '64MB'")    // it fears as many groups as rows, and would sort them all
		if len(again) > 0 {
			batch.Queue(takeBack, org, idList(sortedIDs(again)))
		}
		batch.Queue(addStatements, org, idList(ids), decided, closed, ids[0], ids[len(ids)-1])
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return 0, 0, err
	}
	return taken, through, nil
}

// sortedIDs are the ids in order, each once: what is named twice counts once.
func sortedIDs(ids []uuid.UUID) []uuid.UUID {
	slices.SortFunc(ids, compareIDs)
	return slices.Compact(ids)
}

// eitherOf merges two lists of ids that are in order, and says of each id which of them had it.
func eitherOf(a, b []uuid.UUID) (ids []uuid.UUID, inA, inB []bool) {
	for len(a)+len(b) > 0 {
		order := 0
		switch {
		case len(b) == 0:
			order = -1
		case len(a) == 0:
			order = 1
		default:
			order = compareIDs(a[0], b[0])
		}
		inA, inB = append(inA, order <= 0), append(inB, order >= 0)
		if order <= 0 {
			ids, a = append(ids, a[0]), a[1:]
		}
		if order > 0 {
			ids = append(ids, b[0])
		}
		if order >= 0 {
			b = b[1:]
		}
	}
	return ids, inA, inB
}

const addToStatements = `
insert into keel.statements as s (org, day, team, provider, model, meter, quantity, amount_n, calls, denied, unmetered, closed, estimated, unknown, estimated_n)
select $1, day, team, provider, model, meter, sum(quantity), sum(amount_n), sum(calls), sum(denied), sum(unmetered), sum(closed), sum(estimated), sum(unknown), sum(estimated_n)
from x
group by day, team, provider, model, meter
order by day, team, provider, model, meter
on conflict (org, day, team, provider, model, meter) do update set quantity = s.quantity + excluded.quantity, amount_n = s.amount_n + excluded.amount_n,
  calls = s.calls + excluded.calls, denied = s.denied + excluded.denied, unmetered = s.unmetered + excluded.unmetered,
  closed = s.closed + excluded.closed, estimated = s.estimated + excluded.estimated, unknown = s.unknown + excluded.unknown, estimated_n = s.estimated_n + excluded.estimated_n`

// takeBack takes away what was added for closeouts that are added anew.
const takeBack = `
with gone as (
  delete from keel.statement_provisional where org = $1 and decision_id = any($2)
  returning day, team, provider, model, meter, quantity, amount_n, closed, estimated, unknown, estimated_n),
x as (
  select day, team, provider, model, meter, -quantity as quantity, -amount_n as amount_n, 0 as calls, 0 as denied, 0 as unmetered,
    -closed as closed, -estimated as estimated, -unknown as unknown, -estimated_n as estimated_n from gone)` + addToStatements

// addStatements adds what decisions and closeouts say, and notes what it added for closeouts that may be replaced.
//
// A call is one row here, whichever of its two records came, so that each of them is read once.
//
// It says what keel.statement_decisions and keel.statement_closeouts say of all records, for some, each looked up by
// its key: a planner that does not know yet how large a new month is reads all of it for each record of those views.
// Invariant I13 and TestStatementsAddUp compare the two. The bounds of the ids, $5 and $6, leave out the other months.
const addStatements = `
with r as materialized (
  select i.id as decision_id, (coalesce(d.decided_at, c.closed_at) at time zone 'UTC')::date as day, coalesce(d.team, '') collate "C" as team,
    coalesce(d.provider, '') collate "C" as provider, coalesce(d.model, c.model) collate "C" as model,
    m.meter collate "C" as meter, m.quantity, m.amount_n, m.calls, m.denied, m.unmetered, m.closed, m.estimated, m.unknown, m.estimated_n,
    c.decision_id is null or d.decided_at is not null and not c.presumed as final
  from unnest($2::uuid[], $3::boolean[], $4::boolean[]) i (id, decided, closed)
  left join lateral (
    select d.decided_at, d.subject->>'team' as team, coalesce(nullif(d.routed_provider, ''), d.provider) as provider,
      coalesce(nullif(d.routed_model, ''), d.model) as model, d.action, d.held_n, d.bound_n, d.unmetered, d.unpriced = '' and not d.unmetered as priced
    from keel.decisions d where d.org = $1 and d.decision_id = i.id and d.decision_id between $5 and $6 limit 1) d on true
  left join lateral (
    select c.decision_id, c.closed_at, c.model, c.presumed, c.metered, c.cost_known, c.cost_n, c.lines, c.charges
    from keel.closeouts c where i.closed and c.org = $1 and c.decision_id = i.id and c.decision_id between $5 and $6 limit 1) c on true
  cross join lateral (
    select keel.usd(case
        when d.action = 'deny' then 0
        when c.cost_known then c.cost_n
        when d.held_n is not null then greatest((select max((h->>'held')::bigint) from jsonb_array_elements(c.charges) h), d.held_n, c.cost_n)
        when d.priced then greatest(d.bound_n, c.cost_n)
      end) * 1000000000 as cost_n,
      c.decision_id is not null as closed, c.metered = 'estimated' and d.action is distinct from 'deny' as estimated, i.decided and d.decided_at is not null as decided
    offset 0) k
  cross join lateral (
    with l as materialized (
      select l.meter, l.quantity, l.amount_usd * 1000000000 as amount_n from jsonb_to_recordset(c.lines) as l (meter text, quantity numeric, amount_usd numeric))
    select '' as meter, 0::numeric as quantity, case when k.closed then coalesce(k.cost_n, 0) else 0 end as amount_n,
      k.decided::int as calls, (k.decided and d.action = 'deny')::int as denied, (k.decided and d.unmetered and d.action <> 'deny')::int as unmetered,
      k.closed::int as closed, (k.closed and k.estimated)::int as estimated, (k.closed and k.cost_n is null)::int as unknown,
      case when k.closed and k.estimated then coalesce(k.cost_n, 0) else 0 end as estimated_n
    where k.decided or k.closed
    union all
    select l.meter, l.quantity, l.amount_n, 0, 0, 0, 0, 0, 0, 0 from l
    union all
    select 'without_usage', 0, rest.n, 0, 0, 0, 0, 0, 0, 0
    from (select coalesce(k.cost_n, 0) - coalesce((select sum(l.amount_n) from l), 0) as n offset 0) rest
    where k.closed and rest.n <> 0) m),
provisional as (
  insert into keel.statement_provisional (org, decision_id, day, team, provider, model, meter, quantity, amount_n, closed, estimated, unknown, estimated_n)
  select $1, decision_id, day, team, provider, model, meter, sum(quantity), sum(amount_n), sum(closed), sum(estimated), sum(unknown), sum(estimated_n)
  from r where not final
  group by decision_id, day, team, provider, model, meter),
x as (select * from r)` + addToStatements

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
