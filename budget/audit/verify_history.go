package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// What follows is about records that belong together: each of them may be what its leaf says, and one be missing that never had one.

// revisions finds changes of the configuration that are missing: they are numbered without gap in every org.
func (v *verification) revisions(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
select c.org, c.made, c.there, coalesce(g.missing, '{}') from (
  select coalesce(r.org, n.org) as org, greatest(coalesce(r.revision, 0), coalesce(n.last, 0)) as made, coalesce(n.there, 0) as there
  from keel.config_revisions r full join (select org, max(revision) as last, count(*) as there from keel.config_versions group by org) n on n.org = r.org) c
left join lateral (select array_agg(i order by i) as missing from generate_series(1, c.made) i
  where c.made > c.there and not exists (select from keel.config_versions x where x.org = c.org and x.revision = i)) g on true
where c.made > c.there and ($1 = '' or c.org = $1)`, v.o.Org)
	if err != nil {
		return fmt.Errorf("revisions: %w", err)
	}
	var org string
	var made, there int64
	var missing []int64
	_, err = pgx.ForEachRow(rows, []any{&org, &made, &there, &missing}, func() error {
		numbers := make([]uint64, len(missing))
		for i, n := range missing {
			numbers[i] = uint64(n)
		}
		v.findings.add(Gap, Finding{What: "configuration of org " + org, Org: org, Why: fmt.Sprintf("%d of %d changes are missing: %s", made-there, made, ranges(numbers))})
		return nil
	})
	return err
}

// replaced finds closeouts that took the place of another one without an entry that says so. Those whose charges alone
// follow from what came later, an extension or the decision, need none.
func (v *verification) replaced(ctx context.Context, tx pgx.Tx) error {
	var names []string
	for _, c := range closeouts.columns {
		switch c.Name {
		case "version", "lease", "charges":
		default:
			names = append(names, c.Name)
		}
	}
	differ := "(s." + strings.Join(names, ", s.") + ") is distinct from (n." + strings.Join(names, ", n.") + ")"
	list := strings.Join(names, ", ") + ", version"
	rows, err := tx.Query(ctx, `
select s.org, s.decision_id, n.version from keel.superseded_closeouts s cross join lateral (
  select `+list+` from keel.closeouts c where c.org = s.org and c.decision_id = s.decision_id and c.version = s.version + 1
  union all select `+list+` from keel.superseded_closeouts c where c.org = s.org and c.decision_id = s.decision_id and c.version = s.version + 1) n
where ($1 = '' or s.org = $1) and `+differ+` and not exists (
  select from keel.entries e where e.org = s.org and e.decision_id = s.decision_id and e.kind = 'superseded' and coalesce(e.cause->>'version', s.version::text) = s.version::text)`, v.o.Org)
	if err != nil {
		return fmt.Errorf("replaced closeouts: %w", err)
	}
	var org string
	var id uuid.UUID
	var version int32
	_, err = pgx.ForEachRow(rows, []any{&org, &id, &version}, func() error {
		v.findings.add(Inserted, Finding{What: fmt.Sprintf("closeout %s version %d of org %s", id, version, org), Org: org, ID: id.String(),
			Why: fmt.Sprintf("it took the place of version %d, and no entry says that a closeout was replaced", version-1)})
		return nil
	})
	return err
}

// early finds entries that say that a month was retired which was not over: nobody can retire that.
func (v *verification) early(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
select org, entry_id, cause->>'month', at from keel.entries where kind = 'retired' and budget is null and cause ? 'month' and ($1 = '' or org = $1)
and at < (to_date(left(cause->>'month', 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC'`, v.o.Org)
	if err != nil {
		return err
	}
	var r retirement
	var id uuid.UUID
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&r.org, &id, &r.month, &at}, func() error {
		r.month = r.month[:min(7, len(r.month))]
		delete(v.retired, r)
		v.findings.add(Inserted, Finding{What: fmt.Sprintf("entry %s of org %s", id, r.org), Org: r.org, ID: id.String(),
			Why: fmt.Sprintf("it says that the records of %s were retired, at %s, when that month was not over", r.month, at.UTC().Format("2006-01-02 15:04:05Z"))})
		return nil
	})
	return err
}
