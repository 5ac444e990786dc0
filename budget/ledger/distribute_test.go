package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestDistributeNeedsCitus(t *testing.T) {
	t.Parallel()
	if err := Distribute(t.Context(), database(t)); !errors.Is(err, errNoCitus) {
		t.Error(err)
	}
}

// Citus takes a table with a unique key only if that has the distribution column,
// and finds rows fast only if it comes first.
func TestOrgIsFirstInEveryKey(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	keys := query[[]string](t, dsn, `
select array_agg(concat_ws(' ', c.relname, i.indisprimary, (select attname from pg_attribute a where a.attrelid = i.indrelid and a.attnum = i.indkey[0])))
from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'keel' and i.indisunique and not c.relispartition and c.relname = any($1)`, distributed)
	for _, table := range distributed {
		if !slices.Contains(keys, table+" t org") {
			t.Errorf("keel.%s has no primary key that begins with org", table)
		}
	}
	for _, k := range keys {
		if !strings.HasSuffix(k, " org") {
			t.Errorf("a unique index of keel.%s begins with another column", k)
		}
	}
	// Every table with money or decisions is in the list, but corrections: they keep triggers that forbid to change them.
	rest := query[[]string](t, dsn, `
select array_agg(c.relname::text) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'keel' and c.relkind in ('r', 'p') and not c.relispartition and not c.relname = any($1)`, append(distributed, referenced...))
	slices.Sort(rest)
	want := []string{"adjustments", "alert_marks", "alerts", "audit_keys", "budgets", "calibrations", "checkpoints", "config_revisions", "config_versions", "exchange_rates", "lost_checkpoints", "migrations", "policies", "prices",
		"reconciled", "reconciliations", "routes", "settings", "subjects", "target_health", "tiles"}
	if !slices.Equal(rest, want) {
		t.Errorf("not distributed: %v, want %v", rest, want)
	}
}
