package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"keel/budget/ledger"
)

// documents holds the documents in force against the last version of each.
func (v *verification) documents(ctx context.Context, tx pgx.Tx) error {
	tables := ledger.DocumentTables()
	for _, kind := range slices.Sorted(maps.Keys(tables)) {
		// A column that a later migration added is not in the versions of before.
		rows, err := tx.Query(ctx, fmt.Sprintf(`
select coalesce(t.org, c.org), coalesce(t.name, c.name), case
  when t.name is null then format('version %%s is the last one, and the document is gone', c.version)
  when c.version is null then 'no version tells of it'
  when t.version <> c.version then format('it says version %%s, and the last one is %%s', t.version, c.version)
  else (select format('%%s is %%s, and version %%s says %%s', e.key, t.document->e.key, c.version, e.value) from jsonb_each(c.after) e where t.document->e.key is distinct from e.value limit 1) end
from (select org, name, version, keel.config_document(to_jsonb(d)) as document from keel.%s d) t
full join (
  select * from (select distinct on (org, name) org, name, version, op, after from keel.config_versions where kind = $1 order by org, name, version desc) x where op <> 'delete') c
  on c.org = t.org and c.name = t.name
where ($2 = '' or coalesce(t.org, c.org) = $2) and (t.name is null or c.version is null or t.version <> c.version
  or exists (select from jsonb_each(c.after) e where t.document->e.key is distinct from e.value))`, tables[kind]), string(kind), v.o.Org)
		if err != nil {
			return err
		}
		var org, name, why string
		if _, err := pgx.ForEachRow(rows, []any{&org, &name, &why}, func() error {
			v.findings.add(OutOfForce, Finding{What: fmt.Sprintf("%s %s of org %s", kind, name, org), Org: org, Why: why})
			return nil
		}); err != nil {
			return fmt.Errorf("documents of kind %s: %w", kind, err)
		}
	}
	return nil
}
