package roles_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/budget/ledger/roles"
)

// migrated is a database with its roles, and the address of a login in each of them.
func migrated(t *testing.T) (owner string, names roles.Names, as map[string]string) {
	t.Helper()
	owner = pgserver.ForTest(t)
	prefix, err := roles.Prefix(owner)
	if err != nil {
		t.Fatal(err)
	}
	if names, err = roles.NamesOf(prefix); err != nil {
		t.Fatal(err)
	}
	if _, err := roles.Create(t.Context(), owner, names); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Migrate(t.Context(), owner, nil); err != nil {
		t.Fatal(err)
	}
	if err := roles.Grant(t.Context(), owner, names); err != nil {
		t.Fatal(err)
	}
	as = map[string]string{"owner": owner}
	for role, group := range map[string]string{"writer": names.Writer, "editor": names.Editor, "reader": names.Reader} {
		as[role] = pgserver.LoginForTest(t, owner, "in role "+group)
	}
	return owner, names, as
}

func try(dsn, sql string) error {
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), sql)
	return err
}

func do(t *testing.T, dsn, sql string) {
	t.Helper()
	if err := try(dsn, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func ask(t *testing.T, dsn, sql string, args ...any) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// What a migration adds has to be decided before anybody can migrate with it.
func TestEveryObjectHasADecision(t *testing.T) {
	owner, names, _ := migrated(t)
	for _, c := range []struct{ add, drop, want string }{
		{"create table keel.later (n int)", "drop table keel.later", "keel.later has none"},
		{"create view keel.later_view as select 1 as one", "drop view keel.later_view", "keel.later_view has none"},
		{"create function keel.later(n int) returns int language sql as 'select 1'", "drop function keel.later", "keel.later(n integer) has none"},
		{"alter table keel.tiles rename to shingles", "alter table keel.shingles rename to tiles", "keel.tiles is not there"},
		{"alter function keel.usd rename to dollars", "alter function keel.dollars rename to usd", "function keel.usd is not there"},
	} {
		do(t, owner, c.add)
		if err := roles.Grant(t.Context(), owner, names); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.add, err, c.want)
		}
		do(t, owner, c.drop)
		if err := roles.Grant(t.Context(), owner, names); err != nil {
			t.Error(err)
		}
	}
	// A month that is being retired is no new object.
	do(t, owner, "alter table keel.decisions detach partition keel.decisions_before_2020")
	if err := roles.Grant(t.Context(), owner, names); err != nil {
		t.Error(err)
	}
}

// Nobody has a right in the schema but its owner and the three roles: no right of PUBLIC, none on partitions or sequences.
func TestNobodyElseHasRights(t *testing.T) {
	owner, names, _ := migrated(t)
	const grantees = `
select coalesce(string_agg(distinct who, ', ' order by who), '') from (
  select coalesce(nullif(a.grantee::regrole::text, '-'), 'PUBLIC') || ' on ' || c.relname as who from pg_class c cross join aclexplode(c.relacl) a
    where c.relnamespace = 'keel'::regnamespace and a.grantee <> c.relowner and (a.grantee::regrole::text <> all($1) or c.relispartition or c.relkind = 'S')
  union all
  select coalesce(nullif(a.grantee::regrole::text, '-'), 'PUBLIC') || ' on ' || p.proname from pg_proc p cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    where p.pronamespace = 'keel'::regnamespace and a.grantee <> p.proowner and a.grantee::regrole::text <> all($1)
  union all
  select coalesce(nullif(a.grantee::regrole::text, '-'), 'PUBLIC') || ' on the schema' from pg_namespace n cross join aclexplode(n.nspacl) a
    where n.nspname = 'keel' and a.grantee <> n.nspowner and a.grantee::regrole::text <> all($1)
  union all
  select 'to create, ' || a.grantee::regrole::text from pg_namespace n cross join aclexplode(n.nspacl) a where n.nspname = 'keel' and a.grantee <> n.nspowner and a.privilege_type = 'CREATE') x`
	if got := ask(t, owner, grantees, names.All()); got != "" {
		t.Error(got)
	}
	// What somebody granted by hand to a role of ours is taken back; a function of a later migration is not everybody's.
	do(t, owner, "grant delete on keel.entries to "+names.Writer+"; grant update (hash) on keel.leaves to "+names.Editor+"; grant execute on function keel.recall to public")
	if got := ask(t, owner, grantees, names.All()); got != "PUBLIC on recall" {
		t.Errorf("the check finds %q", got)
	}
	if err := roles.Grant(t.Context(), owner, names); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, owner, grantees, names.All()); got != "" {
		t.Error(got)
	}
	if got := ask(t, owner, "select concat_ws(' ', has_table_privilege($1, 'keel.entries', 'delete'), has_any_column_privilege($2, 'keel.leaves', 'update'))", names.Writer, names.Editor); got != "f f" {
		t.Error("rights given by hand are still there:", got)
	}
}

// Every function that acts for the owner has a search path that its caller can't bend.
func TestFunctionsOfTheOwner(t *testing.T) {
	owner, _, _ := migrated(t)
	if got := ask(t, owner, `select string_agg(proname || coalesce(' ' || array_to_string(proconfig, ','), ' without search_path'), '; ' order by proname) from pg_proc where pronamespace = 'keel'::regnamespace and prosecdef`); got !=
		"config_after search_path=pg_catalog, pg_temp; ensure_partitions search_path=pg_catalog, pg_temp; hold_revision search_path=pg_catalog, pg_temp; "+
			"limit_follows search_path=pg_catalog, pg_temp; settle_pending_cuts search_path=pg_catalog, pg_temp; supersede_closeout search_path=pg_catalog, pg_temp; "+
			"thin_checkpoints search_path=pg_catalog, pg_temp" {
		t.Error(got)
	}
}

// evidence is what nobody but the owner may delete, and the columns that nobody else may change.
var evidence = map[string]string{
	"decisions": "reason", "closeouts": "cost_n", "superseded_closeouts": "cost_n", "entries": "amount_n", "leaves": "hash", "tiles": "level",
	"checkpoints": "note", "audit_keys": "vkey", "label_values": "salt", "config_versions": "after", "adjustments": "amount_n",
	"reconciliations": "sha256", "reconciled": "causes", "annotations": "", "limits": "ceiling_n", "cuts": "ceiling_n", "accounts": "", "leases": "", "epochs": "", "migrations": "hash",
}

func TestEvidenceIsTheOwners(t *testing.T) {
	_, _, as := migrated(t)
	for _, role := range []string{"writer", "editor", "reader"} {
		for table, column := range evidence {
			statements := []string{"delete from keel." + table, "truncate keel." + table, "drop table keel." + table, "alter table keel." + table + " disable trigger all"}
			if column != "" {
				statements = append(statements, "update keel."+table+" set "+column+" = null")
			}
			for _, sql := range statements {
				refused(t, role, as[role], sql)
			}
		}
		for _, sql := range []string{
			"delete from keel.decisions_before_2020", "select from keel.decisions_before_2020", "create table keel.mine (n int)", "drop schema keel cascade",
			"alter function keel.limit_follows() security invoker", "set session_replication_role = replica",
		} {
			refused(t, role, as[role], sql)
		}
	}
}

func refused(t *testing.T, role, dsn, sql string) {
	t.Helper()
	err := try(dsn, sql)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42501" {
		t.Errorf("%s: %s: %v, want: permission denied", role, sql, err)
	}
}

func TestRolesMayNot(t *testing.T) {
	_, _, as := migrated(t)
	do(t, as["owner"], "insert into keel.budgets (name, limit_usd) values ('research', 5)")
	for role, statements := range map[string][]string{
		"writer": {
			"update keel.budgets set limit_usd = 1e6", "insert into keel.budgets (name, limit_usd) values ('mine', 1)", "delete from keel.budgets",
			"update keel.prices set rates = '[]'", "delete from keel.policies", "insert into keel.routes (name, models, targets) values ('x', '{x}', '[]')",
			"update keel.settings set unknown = 'pass'", "update keel.subjects set label = 'x'", "update keel.exchange_rates set rate = 1",
			"update keel.limits set limit_n = 1, ceiling_n = 1", "insert into keel.limits select * from keel.limits", "update keel.cuts set bound_n = 0",
			"insert into keel.config_versions select * from keel.config_versions", "update keel.config_revisions set revision = 0", "select keel.hold_revision('default')",
			"update keel.db_state set retired = now()", "update keel.db_state set erasures = 7", "insert into keel.adjustments select * from keel.adjustments",
			"update keel.closeouts set outcome = 'complete'", "update keel.decisions set subject = '{}'",
		},
		"editor": {
			"insert into keel.entries (org, epoch, kind) values ('default', gen_random_uuid(), 'return')", "insert into keel.decisions select * from keel.decisions",
			"insert into keel.closeouts select * from keel.closeouts", "update keel.accounts set settled_n = 0", "update keel.limits set changed_at = now()", "insert into keel.limits select * from keel.limits",
			"insert into keel.leaves select * from keel.leaves", "delete from keel.outbox", "select keel.supersede_closeout('default', gen_random_uuid())",
			"select keel.ensure_partitions(now(), now())", "select keel.settle_pending_cuts()", "insert into keel.config_versions select * from keel.config_versions",
			"update keel.config_revisions set revision = 0", "select from keel.decisions", "select from keel.spend_records", "select from keel.label_values", "select keel.recall('', '', 0, 0)",
		},
		"reader": {
			"update keel.budgets set limit_usd = 1e6", "insert into keel.budgets (name, limit_usd) values ('mine', 1)", "insert into keel.entries (org, epoch, kind) values ('default', gen_random_uuid(), 'return')",
			"insert into keel.alerts (org, key, kind, text, facts) values ('', '', 'tier', '', '{}')", "delete from keel.outbox", "select keel.hold_revision('default')", "select keel.supersede_closeout('default', gen_random_uuid())",
			"select keel.settle_pending_cuts()", "select from keel.limits for share", "update keel.annotations set flags = ''",
		},
	} {
		for _, sql := range statements {
			refused(t, role, as[role], sql)
		}
	}
	if got := ask(t, as["owner"], "select limit_usd::text from keel.budgets"); got != "5" {
		t.Error("the budget is now", got)
	}
}

// A table or view that the reader could write, found by asking Postgres for each and not by a list.
func TestReaderWritesNothing(t *testing.T) {
	owner, names, _ := migrated(t)
	if got := ask(t, owner, `
select coalesce(string_agg(relname, ', '), '') from pg_class where relnamespace = 'keel'::regnamespace and relkind in ('r', 'p', 'v')
  and (has_table_privilege($1, oid, 'insert, update, delete, truncate, references, trigger') or has_any_column_privilege($1, oid, 'insert, update'))`, names.Reader); got != "" {
		t.Error(got)
	}
	if got := ask(t, owner, `
select coalesce(string_agg(relname, ', '), '') from pg_class where relnamespace = 'keel'::regnamespace and relkind in ('r', 'p', 'v') and not relispartition
  and not (has_table_privilege($1, oid, 'select') and has_table_privilege($2, oid, 'select'))`, names.Reader, names.Writer); got != "" {
		t.Errorf("the reader or the writer can't read %s", got)
	}
}

// An edit by SQL is versioned, changes the limit in force, and says who made it.
func TestEditorEdits(t *testing.T) {
	owner, _, as := migrated(t)
	do(t, as["editor"], "insert into keel.budgets (name, limit_usd) values ('research', 5)")
	do(t, as["editor"], "update keel.budgets set limit_usd = 4 where name = 'research'")
	u, _ := url.Parse(as["editor"])
	if got, want := ask(t, owner, "select concat_ws(' ', limit_n, version, (select string_agg(op || ' by ' || split_part(changed_by, ' ', 1), ', ' order by version) from keel.config_versions)) from keel.limits"),
		"4000000000 2 create by "+u.User.Username()+", update by "+u.User.Username(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	do(t, as["editor"], "delete from keel.budgets")
	if got := ask(t, owner, "select count(*)::text from keel.limits"); got != "0" {
		t.Error("a limit is left of a budget that was deleted")
	}
}

// A closeout that is not presumed can't be taken away, and one that is, is kept.
func TestSupersedeKeepsTheCloseout(t *testing.T) {
	owner, _, as := migrated(t)
	const id, closeout = "01988a3e-5f0c-7c31-9d5e-1b2a3c4d5e6f", `insert into keel.closeouts (org, decision_id, closed_at, outcome, metered, presumed, cost_n, cost_known, lines, unpriced, attempts, http_status, model, detail)
		values ('acme', '01988a3e-5f0c-7c31-9d5e-1b2a3c4d5e6f', now(), 'complete', 'provider', %, 12, true, '[]', '{}', 1, 200, 'gpt-5', '')`
	do(t, as["writer"], "select keel.ensure_partitions('2025-08-01Z', '2025-08-01Z')")
	do(t, as["writer"], strings.Replace(closeout, "%", "false", 1))
	if got := ask(t, as["writer"], "select keel.supersede_closeout('acme', '"+id+"')::text"); got != "false" {
		t.Error("a closeout that is final was taken away")
	}
	do(t, owner, "delete from keel.closeouts")
	do(t, as["writer"], strings.Replace(closeout, "%", "true", 1))
	if got := ask(t, as["writer"], "select keel.supersede_closeout('acme', '"+id+"')::text"); got != "true" {
		t.Error("a presumed closeout stays")
	}
	if got := ask(t, owner, "select concat_ws(' ', (select count(*) from keel.closeouts), (select count(*) from keel.superseded_closeouts where decision_id = '"+id+"' and cost_n = 12))"); got != "0 1" {
		t.Error(got)
	}
}

// The owner of the database need not be an administrator of the server.
func TestOwnerWhoMayNotCreateRoles(t *testing.T) {
	admin := pgserver.ForTest(t)
	owner := pgserver.LoginForTest(t, admin, "")
	u, _ := url.Parse(owner)
	do(t, admin, `do $$ begin execute format('alter database %I owner to `+u.User.Username()+`', current_database()); end $$`)
	prefix, err := roles.Prefix(owner)
	if err != nil {
		t.Fatal(err)
	}
	names, err := roles.NamesOf(prefix)
	if err != nil {
		t.Fatal(err)
	}
	_, err = roles.Create(t.Context(), owner, names)
	if !errors.Is(err, roles.ErrMayNotCreate) || !strings.Contains(err.Error(), "create role "+`"`+names.Editor+`"`+" nologin;") && !strings.Contains(err.Error(), "create role "+names.Editor+" nologin;") {
		t.Fatal(err)
	}
	for _, line := range strings.Split(err.Error(), "\n")[1:] { // what it says helps
		do(t, admin, line)
	}
	if made, err := roles.Create(t.Context(), owner, names); err != nil || len(made) > 0 {
		t.Fatal(made, err)
	}
	if err := ledger.Migrate(t.Context(), owner, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := roles.Grant(t.Context(), owner, names); err != nil {
			t.Fatal(err)
		}
	}
	reader := pgserver.LoginForTest(t, admin, "in role "+names.Reader)
	if got := ask(t, reader, "select count(*)::text from keel.budgets"); got != "0" {
		t.Error(got)
	}
}

func TestARoleThatMayAnythingIsRefused(t *testing.T) {
	owner := pgserver.ForTest(t)
	prefix, _ := roles.Prefix(owner)
	names, err := roles.NamesOf(prefix)
	if err != nil {
		t.Fatal(err)
	}
	do(t, owner, "create role "+names.Reader+" superuser")
	if _, err := roles.Create(t.Context(), owner, names); err == nil || !strings.Contains(err.Error(), "is a superuser") {
		t.Error(err)
	}
	if got := ask(t, owner, "select count(*)::text from pg_roles where rolname = $1", names.Writer); got != "0" {
		t.Error("other roles were made all the same")
	}
}

func TestNames(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://localhost/keel": "keel", "postgres://localhost/keel_eu": "keel_eu", "postgres://localhost/LLM-spend": "keel_llm_spend",
		"postgres://localhost/" + strings.Repeat("x", 63): "keel_" + strings.Repeat("x", 51),
	} {
		got, err := roles.Prefix(dsn)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v", dsn, got, err)
		}
		if _, err := roles.NamesOf(got); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "a-b", "A", "pg_x", "1a", `a"; drop`, strings.Repeat("x", 57)} {
		if n, err := roles.NamesOf(bad); err == nil {
			t.Errorf("%q: %v", bad, n)
		}
	}
}

// keel doctor finds nothing that the writer lacks, and says what the others would.
func TestDoctorAgrees(t *testing.T) {
	_, _, as := migrated(t)
	for role, lacks := range map[string]bool{"owner": false, "writer": false, "reader": true} {
		v, err := ledger.ReadVitals(t.Context(), as[role])
		if err != nil {
			t.Errorf("%s: %v", role, err)
		} else if len(v.Roles) != 1 || (len(v.Roles[0].Lacks) > 0) != lacks {
			t.Errorf("%s: %+v", role, v.Roles)
		}
	}
}
