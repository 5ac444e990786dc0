package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Retire takes away the decisions, closeouts and annotations of the months that
// ended before an instant, and returns these months ("2026_01"). Traffic goes on
// meanwhile. What the closeouts had charged is kept as a sum for each account, so that Check
// still holds. A month with an open decision is left, and so are the later ones.
//
// Nobody else may attach or detach partitions meanwhile. Cut short, it goes on when called again.
func Retire(ctx context.Context, dsn string, before time.Time, progress func(month string)) (months []string, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("ledger: retire: %w", err)
	}
	configureConn(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, explainError("retire: connect", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkSchema(ctx, conn); err != nil {
		return nil, err
	}
	ended, err := endedMonths(ctx, conn, before)
	if err != nil {
		return nil, explainError("retire", err)
	}
	if _, err := foldAll(ctx, conn); err != nil { // statements keep what the months were
		return nil, explainError("retire: fold statements", err)
	}
	for _, m := range ended {
		open, err := m.detach(ctx, conn)
		if err == nil && open {
			break
		}
		if err == nil {
			err = m.drop(ctx, conn)
		}
		if err != nil {
			return months, explainError("retire "+m.name, err)
		}
		if months = append(months, m.name); progress != nil {
			progress(m.name)
		}
	}
	return months, nil
}

// retired are the tables of a month.
type retired struct{ name string }

var partitioned = []string{"annotations", "closeouts", "decisions"}

// endedMonths lists them by name, oldest first, whether they are still attached or not.
func endedMonths(ctx context.Context, conn *pgx.Conn, before time.Time) ([]retired, error) {
	rows, err := conn.Query(ctx, `
select distinct m from (
  select substring(c.relname from '^(?:annotations|closeouts|decisions)_([0-9]{4}_[0-9]{2}(?:_late)*)$') as m
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'keel' and c.relkind = 'r') x
where m is not null and to_date(left(m, 7), 'YYYY_MM') + interval '1 month' <= $1::timestamptz at time zone 'UTC' order by m`, before)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (m retired, err error) { return m, row.Scan(&m.name) })
}

// begin is the first instant of the month.
func (m retired) begin() time.Time {
	t, _ := time.Parse("2006_01", m.name[:7]) // as endedMonths matched it
	return t
}

// errNotInLog keeps records from going before the audit log has them.
var errNotInLog = errors.New("records of the month are not in the audit log yet: a processor (keel serve) takes them there within seconds; try again, or look into its log")

// errNotInStatements keeps records from going before statements have them.
var errNotInStatements = errors.New("records of the month are not in statements yet, another process adds them up: try again in a few seconds")

func partition(parent, month string) string {
	return pgx.Identifier{"keel", parent + "_" + month}.Sanitize()
}

// detach takes the partitions out. The tables stay until drop.
func (m retired) detach(ctx context.Context, conn *pgx.Conn) (open bool, err error) {
	var there bool
	if err := conn.QueryRow(ctx, "select to_regclass($1) is not null", partition("decisions", m.name)).Scan(&there); err != nil {
		return false, err
	}
	if there {
		if err := conn.QueryRow(ctx, "select exists (select from keel.open_decisions o join "+partition("decisions", m.name)+
			" d on d.org = o.org and d.decision_id = o.decision_id where o.opened)").Scan(&open); err != nil || open {
			return open, err
		}
		var pending bool
		if err := conn.QueryRow(ctx, `
select exists (select from keel.outbox o cross join unnest(o.ids) id where o.kind in ('decision', 'closeout') and id >= keel.uuid_at($1) and id < keel.uuid_at($1 + interval '1 month'))`,
			m.begin()).Scan(&pending); err != nil {
			return false, err
		}
		if pending {
			return false, errNotInLog
		}
	}
	var waits bool
	if err := conn.QueryRow(ctx, `
select exists (select from keel.statement_outbox o cross join unnest(o.decisions || o.closeouts || o.replaced) id
  where id >= keel.uuid_at(to_date(left($1, 7), 'YYYY_MM')::timestamp at time zone 'UTC') and id < keel.uuid_at((to_date(left($1, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC'))`,
		m.name).Scan(&waits); err != nil || waits {
		return false, errors.Join(err, errNotInStatements)
	}
	for _, parent := range partitioned {
		var attached bool
		if err := conn.QueryRow(ctx, "select coalesce((select relispartition from pg_class where oid = to_regclass($1)), false)", partition(parent, m.name)).Scan(&attached); err != nil {
			return false, err
		}
		if !attached {
			continue
		}
		if _, err := conn.Exec(ctx, "alter table keel."+parent+" detach partition "+partition(parent, m.name)+" concurrently"); err != nil {
			return false, err
		}
	}
	return false, nil
}

// drop writes down what the closeouts had charged, and drops the tables.
func (m retired) drop(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var there bool
		if err := tx.QueryRow(ctx, "select to_regclass($1) is not null", partition("closeouts", m.name)).Scan(&there); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "delete from keel.statement_provisional where decision_id >= keel.uuid_at(to_date(left($1, 7), 'YYYY_MM')::timestamp at time zone 'UTC') and decision_id < keel.uuid_at((to_date(left($1, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC')", m.name); err != nil {
			return err
		}
		if there {
			if _, err := tx.Exec(ctx, `
with e as (
  insert into keel.entries (org, epoch, kind, budget, account_key, window_start, window_end, amount_n, cause)
  select c.org, '00000000-0000-0000-0000-000000000000', 'retired', x.budget, x.key, x.start, x."end", sum(x.amount)::bigint, jsonb_build_object('why', $1::text, 'month', $2::text)
  from `+partition("closeouts", m.name)+` c cross join lateral jsonb_to_recordset(c.charges) as x(budget text, key text, start timestamptz, "end" timestamptz, amount bigint)
  where c.charges is not null group by c.org, x.budget, x.key, x.start, x."end"
  returning org, entry_id)
insert into keel.outbox (org, kind, ids) select org, 'entry', array_agg(entry_id) from e group by org`, "charges of "+m.name+", whose records were retired", m.name); err != nil {
				return err
			}
		}
		if err := m.tell(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "update keel.db_state set retired = greatest(retired, (to_date(left($1, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC')", m.name); err != nil {
			return err
		}
		for _, parent := range partitioned {
			if _, err := tx.Exec(ctx, "drop table if exists "+partition(parent, m.name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// tell writes, for every org with records in the month, an entry that says that they were retired, and how
// many: what the audit log has leaves of, and nobody has the records of any more, is then known to be no theft.
func (m retired) tell(ctx context.Context, tx pgx.Tx) error {
	var records []string
	for _, parent := range []string{"decisions", "closeouts"} {
		var there bool
		if err := tx.QueryRow(ctx, "select to_regclass($1) is not null", partition(parent, m.name)).Scan(&there); err != nil {
			return err
		}
		if there {
			records = append(records, "select org, '"+parent+"' as of from "+partition(parent, m.name))
		}
	}
	if len(records) > 0 {
		if _, err := tx.Exec(ctx, `
with e as (
  insert into keel.entries (org, epoch, kind, cause)
  select org, '00000000-0000-0000-0000-000000000000', 'retired', jsonb_build_object('why', 'the records of the month were retired', 'month', $1::text,
    'decisions', count(*) filter (where of = 'decisions'), 'closeouts', count(*) filter (where of = 'closeouts'))
  from (`+strings.Join(records, " union all ")+`) r group by org
  returning org, entry_id)
insert into keel.outbox (org, kind, ids) select org, 'entry', array_agg(entry_id) from e group by org`, m.name); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, "delete from keel.superseded_closeouts where decision_id >= keel.uuid_at($1) and decision_id < keel.uuid_at($1 + interval '1 month')", m.begin())
	return err
}
