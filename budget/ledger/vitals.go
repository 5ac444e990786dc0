package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/roles"
)

// Vitals tell whether the database of a ledger is well: what an operator is woken for. Every age is by the database's clock.
type Vitals struct {
	Version     string // of the server
	Standby     bool   // it takes no writes
	Connections int    // in use, of all clients
	MaxConns    int

	Roles      []Role
	Processors []Processor

	Unswept    int64 // calls that nobody will close and that no sweep has closed, past the time by which one should have
	UnsweptFor time.Duration

	Outbox     Waiting // records that the audit log has not taken in
	Missing    int64   // of them: those whose records are gone
	Statements Waiting // records that statements lack

	Leaves       int64 // of the audit log
	Keys         int64 // that it was ever signed with
	Signed       int64 // leaves under the newest checkpoint
	SignedBefore time.Duration

	Traffic []Traffic
}

// Role is a database role that a processor connects with, or the one that asks where none is to be seen.
type Role struct {
	Name      string
	Asks      bool // it is the one that asks
	Superuser bool
	Lacks     []string // privileges that a processor needs, as in "insert on keel.decisions"
}

// Processor is one that did not say goodbye, and was heard of in the last day or keeps something set aside.
type Processor struct {
	Epoch       uuid.UUID
	Host        string
	Silent      time.Duration // since its last heartbeat
	ClockOffset time.Duration // its clock less the database's
}

// Waiting is a queue.
type Waiting struct {
	Rows   int64
	Oldest time.Duration
}

// Traffic is a provider's of yesterday and today (UTC), in calls.
type Traffic struct {
	Provider                                             string
	Calls, Denied, Unmetered, Closed, Estimated, Unknown int64
}

// Late is how long after its time something has to be overdue before ReadVitals counts it.
const late = time.Minute

// ReadVitals looks at the database of dsn. It returns an error that says what to do where that can't be reached, or has not the schema
// that this binary needs; it changes nothing.
func ReadVitals(ctx context.Context, dsn string) (v Vitals, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return v, fmt.Errorf("ledger: database address: %w", err)
	}
	config.RuntimeParams["application_name"] = "keel doctor"
	config.RuntimeParams["statement_timeout"] = "10000"
	configureConn(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return v, explainError("connect", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkSchema(ctx, conn); err != nil {
		return v, err
	}
	err = pgx.BeginTxFunc(ctx, conn, snapshot, func(tx pgx.Tx) error { return v.read(ctx, tx) })
	return v, explainError("look at the database", err)
}

func (v *Vitals) read(ctx context.Context, tx pgx.Tx) error {
	var unswept, outbox, statements, signed int64 // microseconds
	batch := &pgx.Batch{}
	batch.Queue(`
select current_setting('server_version'), pg_is_in_recovery(), current_setting('max_connections')::int,
  (select count(*) from pg_stat_activity where backend_type = 'client backend')`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&v.Version, &v.Standby, &v.MaxConns, &v.Connections)
	})
	batch.Queue(`
select epoch, host, keel.micros(now()) - keel.micros(heartbeat_at), coalesce(clock_offset_us, 0) from keel.replicas
where closed_at is null and finished_at is null and (heartbeat_at > now() - interval '1 day' or exists (
  select from keel.epochs e join keel.leases l on l.org = e.org and l.epoch = e.epoch
  where e.epoch = replicas.epoch and l.granted_n > l.consumed_n + l.returned_n + l.forfeited_n)) order by heartbeat_at desc`).Query(func(rows pgx.Rows) error {
		var p Processor
		var silent, offset int64
		_, err := pgx.ForEachRow(rows, []any{&p.Epoch, &p.Host, &silent, &offset}, func() error {
			p.Silent, p.ClockOffset = micros(silent), micros(offset)
			v.Processors = append(v.Processors, p)
			return nil
		})
		return err
	})
	batch.Queue(`
select count(*), coalesce(max(keel.micros(now()) - keel.micros(o.opened_at)), 0) from keel.open_decisions o
left join keel.replicas r on r.epoch = o.epoch
left join keel.annotations a on a.org = o.org and a.decision_id = o.decision_id
where o.opened and (coalesce(r.heartbeat_at, o.opened_at) < now() - interval '30 s' - $1::interval or o.opened_at < now() - interval '1 day' - $1::interval
  or a.stored_at < now() - interval '10 s' - $1::interval)`, late).QueryRow(func(row pgx.Row) error {
		return row.Scan(&v.Unswept, &unswept)
	})
	batch.Queue(`
select count(*), coalesce(keel.micros(now()) - keel.micros(min(at)), 0), count(missing_since) from keel.outbox`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&v.Outbox.Rows, &outbox, &v.Missing)
	})
	batch.Queue(`select count(*), coalesce(keel.micros(now()) - keel.micros(min(at)), 0) from keel.statement_outbox`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&v.Statements.Rows, &statements)
	})
	batch.Queue(`
select coalesce((select max(index) + 1 from keel.leaves), 0), (select count(*) from keel.audit_keys), coalesce(c.size, 0), coalesce(keel.micros(now()) - keel.micros(c.at), 0)
from (select) x left join (select size, at from keel.checkpoints order by size desc limit 1) c on true`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&v.Leaves, &v.Keys, &v.Signed, &signed)
	})
	batch.Queue(`
select provider, sum(calls)::bigint, sum(denied)::bigint, sum(unmetered)::bigint, sum(closed)::bigint, sum(estimated)::bigint, sum(unknown)::bigint
from keel.statements where day >= (now() at time zone 'UTC')::date - 1 group by provider having sum(calls) > 0 or sum(closed) > 0 order by provider`).Query(func(rows pgx.Rows) (err error) {
		v.Traffic, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Traffic])
		return err
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	v.UnsweptFor, v.Outbox.Oldest, v.Statements.Oldest, v.SignedBefore = micros(unswept), micros(outbox), micros(statements), micros(signed)
	return v.readRoles(ctx, tx)
}

// readRoles asks by privilege and not by name: who set the database up may have named its roles otherwise. A grant on some columns counts.
func (v *Vitals) readRoles(ctx context.Context, tx pgx.Tx) error {
	privileges, tables := roles.Needed()
	rows, err := tx.Query(ctx, `
with seen as (select distinct usename as name, false as asks from pg_stat_activity
  where datname = current_database() and application_name = 'keel' and pid <> pg_backend_pid() and usename is not null),
roles as (select name, asks from seen union all select current_user, true where not exists (select from seen))
select r.name, r.asks, u.rolsuper,
  coalesce(array_agg(n.privilege || ' on keel.' || n.relation order by n.n) filter (where not coalesce(case when n.privilege = 'delete' then has_table_privilege(u.oid, c.oid, n.privilege)
    else has_any_column_privilege(u.oid, c.oid, n.privilege) end, false)), '{}')
  || case when has_schema_privilege(u.oid, 'keel', 'usage') then '{}' else array['usage on schema keel'] end
from roles r join pg_roles u on u.rolname = r.name
cross join unnest($1::text[], $2::text[]) with ordinality n (privilege, relation, n)
left join pg_class c on c.relname = n.relation and c.relnamespace = 'keel'::regnamespace
group by r.name, r.asks, u.oid, u.rolsuper order by r.name`, privileges, tables)
	if err != nil {
		return err
	}
	v.Roles, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Role])
	return err
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
