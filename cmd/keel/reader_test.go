package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/sample"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/budget/ledger/roles"
)

// A reader is in a folder with what pages say that he has, over a ledger of sample calls.
type reader struct {
	dsn  string
	conn *pgx.Conn
	his  *strings.Replacer // what stands for something of his own
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{dsn: pgserver.ForTest(t)}
	if err := ledger.Migrate(t.Context(), r.dsn, nil); err != nil {
		t.Fatal(err)
	}
	if err := sample.Fill(t.Context(), r.dsn, 40); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KEEL_DATABASE_URL", r.dsn)
	var err error
	if r.conn, err = pgx.Connect(t.Context(), r.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.Close(context.Background()) })
	script, err := os.ReadFile("../../budget/audit/testdata/verify.py")
	if err != nil {
		t.Fatal(err)
	}
	prices, err := os.ReadFile("testdata/prices.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(prices), "\n-- list.json --\n")
	list, _, _ = strings.Cut(list, "\n-- ")
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"verify.py": string(script), "model_prices_and_context_window.json": strings.ReplaceAll(list, `"litellm_provider": "openai"`, `"litellm_provider": "bedrock"`)} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"journal", "worm"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.his = strings.NewReplacer("/mnt/worm/keel", "worm", "/var/lib/keel", "journal", "EPOCH", r.one(t, "select epoch::text from keel.epochs limit 1"), "01988a3e-5f0c-7c31-9d5e-1b2a3c4d5e6f", r.one(t, "select decision_id::text from keel.spend_records limit 1"))
	return r
}

// one is the text that a query gives.
func (r *reader) one(t *testing.T, sql string) (text string) {
	t.Helper()
	if err := r.conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// main runs the program.
func (r *reader) main(t *testing.T, stdin string, args ...string) (code int, out, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	m := Main{Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, Getenv: func(name string) string {
		return map[string]string{"KEEL_DATABASE_URL": r.dsn, "KEEL_ACTOR": "ada"}[name]
	}}
	code = m.Run(t.Context(), args)
	return code, stdout.String(), stderr.String()
}

// word is one of a command line, in quotes or not.
var word = regexp.MustCompile(`"[^"]*"|\S+`)

// mayFind are commands that may end with exit status 1, by what they say then: they found something, or the sample has nothing for them.
var mayFind = map[string]string{
	"prices diff":    "",
	"ledger forfeit": "its processor is alive",
	"audit erase":    "no record has that value",
}

// does runs one line as a reader would.
func (r *reader) does(t *testing.T, line string) {
	t.Helper()
	line, _, _ = strings.Cut(line, "  #")
	line = r.his.Replace(strings.TrimPrefix(strings.TrimSpace(line), ".keel/bin/"))
	command, file := line, ""
	if m := redirected.FindStringSubmatch(line); m != nil {
		command, file = m[1], m[2]
	}
	args := word.FindAllString(command, -1)
	if len(args) == 0 {
		return
	}
	for i := range args {
		args[i] = strings.Trim(args[i], `"`)
	}
	switch args[0] {
	case "keel":
		args = args[1:]
	case "python3":
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		return
	default:
		t.Errorf("who runs %q?", line)
		return
	}
	if dots := slices.Index(args, "…"); dots >= 0 { // what else "keel serve" is told
		parseLine(t, line, append(args[:dots:dots], "--journal", "j"))
		return
	}
	if args[0] == "audit" && args[1] == "keys" && args[2] == "new" {
		if _, err := os.Stat(args[3]); err == nil { // it is there already, and in use
			args[3] = "another-" + args[3]
		}
	}
	code, out, said := r.main(t, "", args...)
	if why, ok := mayFind[strings.Join(args[:2], " ")]; code != exitOK && !(ok && regexp.MustCompile(why).MatchString(said)) {
		t.Errorf("%s: exit status %d\n%s%s", line, code, out, said)
	}
	if file != "" {
		if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if strings.HasPrefix(command, "keel audit keys rotate") { // and the processors are started again
		if err := keepBooks(t.Context(), 1, "next.key", "worm"); err != nil {
			t.Fatal(err)
		}
	}
}

// queries runs SQL, and keeps nothing of it. Roles have the database's name.
func (r *reader) queries(t *testing.T, sql string) {
	t.Helper()
	prefix, err := roles.Prefix(r.dsn)
	if err == nil {
		var names roles.Names
		if names, err = roles.NamesOf(prefix); err == nil {
			_, err = roles.Create(t.Context(), r.dsn, names)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	tx, err := r.conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := tx.Exec(t.Context(), strings.NewReplacer("keel_writer", prefix+"_writer", "keel_editor", prefix+"_editor", "keel_reader", prefix+"_reader").Replace(sql)); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
}
