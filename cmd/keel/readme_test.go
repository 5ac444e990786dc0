package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/sample"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
)

// readmeFiles are those that the README's reader has, by where a copy of them is.
var readmeFiles = map[string][2]string{
	"request.json":                         {"estimate.txtar", "chat.json"},
	"exchanges.jsonl":                      {"meter.txtar", "exchanges.jsonl"},
	"model_prices_and_context_window.json": {"prices.txtar", "list.json"},
	"contract-2027.yaml":                   {"rerate.txtar", "proposed.yaml"},
}

var yamlBlock = regexp.MustCompile("(?s)```(?:yaml|sql)\n(.*?)```")

// Every command of the README, one after the other, over a ledger of sample calls. What "make run" starts, e2e runs; what attaches Keel,
// TestEnvoyPage runs, too.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllSubmatch(readme, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of YAML and SQL, want a budget and its change", len(blocks))
	}
	files := map[string][]byte{"budgets.yaml": blocks[0][1], "proposed.yaml": blocks[0][1]}
	for name, from := range readmeFiles {
		archive, err := os.ReadFile("testdata/" + from[0])
		if err != nil {
			t.Fatal(err)
		}
		_, text, ok := strings.Cut(string(archive), "\n-- "+from[1]+" --\n")
		if !ok {
			t.Fatalf("no %s in %s", from[1], from[0])
		}
		text, _, _ = strings.Cut(text, "\n-- ")
		files[name] = []byte(strings.TrimSuffix(text, "\n") + "\n")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/docs")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for name, text := range files {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dsn := pgserver.ForTest(t)
	if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	if err := sample.Fill(t.Context(), dsn, 220); err != nil {
		t.Fatal(err)
	}
	run := func(line string) (code int, out, said string) {
		command, file, _ := strings.Cut(line, " < ")
		stdin, err := os.ReadFile(file)
		if file != "" && err != nil {
			t.Fatal(err)
		}
		command, to, _ := strings.Cut(command, " > ")
		var stdout, stderr bytes.Buffer
		m := Main{Stdin: bytes.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, Getenv: func(name string) string {
			return map[string]string{"KEEL_DATABASE_URL": dsn, "KEEL_ACTOR": "ada"}[name]
		}}
		code = m.Run(t.Context(), strings.Fields(command))
		if to != "" {
			if err := os.WriteFile(to, stdout.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return code, stdout.String(), stderr.String()
	}
	// "keel dev" has signed and anchored the log before.
	if err := os.Mkdir(".keel", 0o755); err != nil {
		t.Fatal(err)
	}
	if code, _, said := run("audit keys new .keel/audit.key --origin keel.example.com/audit"); code != exitOK {
		t.Fatal(said)
	}
	t.Setenv("KEEL_DATABASE_URL", dsn)
	if err := keepBooks(t.Context(), 1, ".keel/audit.key", ".keel/audit-anchor"); err != nil {
		t.Fatal(err)
	}
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	var decision string
	if err := db.QueryRow(t.Context(), "select decision_id::text from keel.spend_records limit 1").Scan(&decision); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range shBlock.FindAllSubmatch(readme, -1) {
		for line := range strings.Lines(string(block[1])) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
			line = strings.TrimSpace(strings.ReplaceAll(line, "DECISION_ID", decision))
			if target, ok := strings.CutPrefix(line, "make "); ok {
				if !bytes.Contains(makefile, []byte("\n"+target+":")) {
					t.Errorf("%s: there is no such target", line)
				}
				continue
			}
			args, ok := strings.CutPrefix(line, ".keel/bin/keel ")
			if !ok {
				t.Errorf("who runs %q?", line)
				continue
			}
			ran++
			if strings.HasPrefix(args, "dev ") {
				parseLine(t, line, strings.Fields(args))
				continue
			}
			code, out, said := run(args)
			differs := code == exitFailed && out != "" && (strings.HasPrefix(args, "reconcile") || strings.HasPrefix(args, "prices diff"))
			if _, written, ok := strings.Cut(args, " --out "); ok {
				if _, err := os.Stat(written); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
			if code != exitOK && !differs || out+said == "" && !strings.Contains(args, " --out ") && !strings.Contains(args, " > ") {
				t.Errorf("%s: exit status %d\n%s%s", line, code, out, said)
			}
		}
	}
	if ran < 15 {
		t.Errorf("only %d commands", ran)
	}
	if tag, err := db.Exec(t.Context(), string(blocks[1][1])); err != nil || tag.RowsAffected() == 0 {
		t.Errorf("%s: %v rows, %v", blocks[1][1], tag.RowsAffected(), err)
	}
}
