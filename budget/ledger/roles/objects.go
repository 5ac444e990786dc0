package roles

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// objects are what schema keel has. Partitions are not among them: nobody has rights on them but through their table.
type objects struct {
	tables    []string // and views
	functions []function
}

type function struct{ name, signature string }

func listObjects(ctx context.Context, tx pgx.Tx) (o objects, err error) {
	rows, err := tx.Query(ctx, `
select relname from pg_class where relnamespace = 'keel'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f') and not relispartition
  and relname !~ '^(decisions|closeouts|annotations)_([0-9]{4}_[0-9]{2}(_late)*|before_2020|from_2100)$' -- detached, and not dropped yet
order by relname`)
	if err == nil {
		o.tables, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return o, err
	}
	rows, err = tx.Query(ctx, "select proname, format('keel.%I(%s)', proname, pg_get_function_identity_arguments(oid)) from pg_proc where pronamespace = 'keel'::regnamespace and prokind = 'f' order by 2")
	if err == nil {
		o.functions, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (f function, err error) { return f, row.Scan(&f.name, &f.signature) })
	}
	return o, err
}

// decided names what there is no decision for, and decisions for what is not there.
func (o *objects) decided() error {
	var wrong []string
	names := make(map[string]bool)
	for _, t := range o.tables {
		names[t] = true
		if _, ok := tables[t]; !ok {
			wrong = append(wrong, "keel."+t+" has none")
		}
	}
	for t := range tables {
		if !names[t] {
			wrong = append(wrong, "keel."+t+" is not there")
		}
	}
	called := make(map[string]bool)
	for _, f := range o.functions {
		called[f.name] = true
		if _, ok := functions[f.name]; !ok {
			wrong = append(wrong, f.signature+" has none")
		}
	}
	for f := range functions {
		if !called[f] {
			wrong = append(wrong, "function keel."+f+" is not there")
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return fmt.Errorf("what roles may do with each object is decided in budget/ledger/roles/grants.go: %s", strings.Join(wrong, "; "))
	}
	return nil
}
