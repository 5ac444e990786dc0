package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit"
	"keel/budget/audit/sample"
	"keel/budget/ledger/pgserver"
	"keel/budget/ledger/roles"
)

const mayNotSay = "docs/security.md says which one this command wants"

// TestCommandsByRole runs every command that asks the database as each role: those that are named can do it, the others are
// refused and told so.
func TestCommandsByRole(t *testing.T) {
	owner := pgserver.ForTest(t)
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "budget.yaml", "kind: Budget\nname: research\norg: acme\nlimit: 5 USD\nwindow: month\nmode: enforce\n")
	write(t, "mini.yaml", "kind: Price\nname: mini\nprovider: openai\nmodel: gpt-4o-mini\nper_million: {input: 0.30, output: 1.20 USD}\n")
	write(t, "same.yaml", "kind: Settings\nname: default\norg: acme\n")
	write(t, "costs.json", `{"object":"page","data":[{"object":"bucket","start_time":1790812800,"end_time":1790899200,"results":[
{"object":"organization.costs.result","amount":{"value":0.5,"currency":"usd"},"line_item":"gpt-nobody-has, input"}]}],"has_more":false}`)
	must(t, owner, "migrate")
	if err := sample.Fill(t.Context(), owner, 40); err != nil {
		t.Fatal(err)
	}
	must(t, owner, "audit", "keys", "new", "audit.key", "--origin", "keel.example.com/audit")
	must(t, owner, "audit", "keys", "new", "other.key", "--origin", "keel.example.com/audit")
	key, err := audit.ReadPrivateKey("audit.key")
	if err != nil {
		t.Fatal(err)
	}
	// The log is kept and signed by the writer.
	prefix, _ := roles.Prefix(owner)
	names, err := roles.NamesOf(prefix)
	if err != nil {
		t.Fatal(err)
	}
	as := map[string]string{"owner": owner}
	for role, group := range map[string]string{"writer": names.Writer, "editor": names.Editor, "reader": names.Reader, "editor and reader": names.Editor + ", " + names.Reader} {
		as[role] = pgserver.LoginForTest(t, owner, "in role "+group)
	}
	if _, err := audit.NewSequencer(audit.SequencerOptions{Database: as["writer"], Key: key}).SequenceOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, owner, "audit", "checkpoint", "--anchor", "anchors")
	must(t, owner, "audit", "keys", "new", "second.key", "--origin", "keel.example.com/audit/2")
	decision := lookUp(t, owner, "select decision_id::text from keel.decisions where org = 'acme' and action = 'allow' order by decision_id limit 1")
	const epoch = "01a20cf0-1ec9-7d01-a4ee-2789ef60cc9d" // of a processor that is gone with what it had leased
	run(t, owner, `
insert into keel.replicas (epoch, host, heartbeat_at) values ('`+epoch+`', 'gone', now() - interval '1 hour');
insert into keel.epochs (org, epoch) values ('acme', '`+epoch+`');
insert into keel.accounts (org, budget, account_key, window_start, window_end, leased_n, high_n) values ('acme', 'lost', '', '-infinity', 'infinity', 5, 5);
insert into keel.leases (org, budget, account_key, window_start, window_end, epoch, granted_n) values ('acme', 'lost', '', '-infinity', 'infinity', '`+epoch+`', 5);`)

	user := lookUp(t, owner, "select subject->>'user' from keel.decisions where org = 'acme' and subject ? 'user' limit 1")

	all := []string{"owner", "writer", "editor", "reader", "editor and reader"}
	reads := []string{"owner", "writer", "reader", "editor and reader"}
	edits := []string{"owner", "editor", "editor and reader"}
	owns := []string{"owner"}
	n := 0
	for _, c := range []struct {
		may  []string
		code int // other than 0 that is no refusal
		args string
	}{
		{all, 0, "get prices -o yaml"},
		{edits, 0, "apply -f budget.yaml"},
		{edits, 0, "apply -f mini.yaml --dry-run"},
		{edits, 0, "delete budget research --org acme"},
		{reads, 0, "explain " + decision},
		{reads, 0, "pressure"},
		{reads, 0, "alerts list"},
		{reads, 0, "ledger check"},
		{reads, 0, "audit verify"},
		{reads, 0, "audit verify --key audit.key.pub -o json"},
		{reads, 0, "audit prove " + decision},
		{reads, 0, "audit checkpoint"},
		{reads, 0, "audit tiles tiles%d"},
		{reads, 0, "audit keys list"},
		{reads, 0, "audit export --org acme --out export%d.csv"},
		{reads, 0, "replay --org acme --config same.yaml --since 2026-10-01"},
		{reads, 0, "rerate --org acme --prices current --since 2026-10-01"},
		{[]string{"owner", "editor and reader"}, 0, "rerate --org acme --prices mini.yaml --since 2026-10-01 --book"},
		{reads, 1, "reconcile --provider openai --org acme --file costs.json"},
		{[]string{"owner", "editor and reader"}, 0, "reconcile --provider openai --org acme --file costs.json --accept"},
		{[]string{"owner", "writer"}, 0, "ledger forfeit " + epoch},
		{owns, 0, "audit erase --org acme --label user=" + user},
		{owns, 0, "ledger retire 2026-12-01"},
		{owns, 0, "migrate"},
		{[]string{"owner", "writer"}, 0, "audit keys rotate --from audit.key --to other.key"},
		{owns, 0, "audit continue --key second.key --anchor anchors --by Ada --why failover --yes"},
	} {
		order := slices.DeleteFunc(slices.Clone(all), func(r string) bool { return slices.Contains(c.may, r) }) // who is refused, on what nobody has changed yet
		for _, role := range append(order, c.may...) {
			n++
			args := c.args
			if strings.Contains(args, "%d") {
				args = fmt.Sprintf(args, n)
			}
			code, said := ask(as[role], strings.Fields(args)...)
			refused := strings.Contains(said, "42501") || strings.Contains(said, mayNotSay)
			if may := slices.Contains(c.may, role); may == refused {
				t.Errorf("keel %s, as the %s: exit status %d\n%s", args, role, code, said)
			} else if refused && (code == exitOK || !strings.Contains(said, mayNotSay)) {
				t.Errorf("keel %s, as the %s, is refused with exit status %d and without saying what to do\n%s", args, role, code, said)
			} else if may && code != exitOK && code != c.code && !isDone(said) {
				t.Errorf("keel %s, as the %s: exit status %d\n%s", args, role, code, said)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d commands", n)
	}
}

// isDone reports whether a command finds that another role did it before.
func isDone(said string) bool {
	return strings.Contains(said, "no epoch") || strings.Contains(said, "not found") || strings.Contains(said, "the key is not the one that the log is signed with")
}

// Where who migrates may not make roles, nothing happens until somebody says how to go on.
func TestMigrateWithoutTheRightToMakeRoles(t *testing.T) {
	admin := pgserver.ForTest(t)
	owner := pgserver.LoginForTest(t, admin, "")
	own(t, admin, owner)
	code, said := ask(owner, "migrate")
	if code != exitFailed || !strings.Contains(said, "may not create roles") || !strings.Contains(said, "nologin;") || !strings.Contains(said, "--no-roles") {
		t.Errorf("exit status %d: %s", code, said)
	}
	if got := lookUp(t, admin, "select count(*)::text from pg_namespace where nspname = 'keel'"); got != "0" {
		t.Error("it changed something all the same")
	}
	must(t, owner, "migrate", "--no-roles")
	must(t, owner, "get", "budgets")
}

func own(t *testing.T, admin, owner string) {
	t.Helper()
	user := strings.Split(strings.TrimPrefix(owner, "postgres://"), ":")[0]
	user = strings.TrimPrefix(user, "postgresql://")
	run(t, admin, "do $$ begin execute format('alter database %I owner to "+user+"', current_database()); end $$")
}

func ask(dsn string, args ...string) (code int, said string) {
	var out bytes.Buffer
	m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(name string) string {
		return map[string]string{"KEEL_DATABASE_URL": dsn, "KEEL_ACTOR": "ada"}[name]
	}}
	code = m.Run(context.Background(), args)
	return code, out.String()
}

func must(t *testing.T, dsn string, args ...string) {
	t.Helper()
	if code, said := ask(dsn, args...); code != exitOK {
		t.Fatalf("keel %s: exit status %d\n%s", strings.Join(args, " "), code, said)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Clean(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func lookUp(t *testing.T, dsn, sql string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}
