package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"keel/budget/audit/publictool"
	"keel/budget/audit/sample"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
)

// shBlock is a block of commands in a page.
var shBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestDocs runs every command of the pages, in their order, in a folder that has testdata/docs, over a ledger of sample
// calls. "keel reconcile" may say that something differs.
func TestDocs(t *testing.T) {
	for _, page := range []string{"exports.md", "reconcile.md"} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
			if err != nil {
				t.Fatal(err)
			}
			dsn := pgserver.ForTest(t)
			if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
				t.Fatal(err)
			}
			if err := sample.Fill(t.Context(), dsn, 220); err != nil {
				t.Fatal(err)
			}
			requirements, err := filepath.Abs("../../budget/audit/export/testdata/duckdb.txt")
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS("testdata/docs")); err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir)
			ran := 0
			for _, block := range shBlock.FindAllStringSubmatch(string(text), -1) {
				for _, line := range strings.Split(strings.TrimSpace(block[1]), "\n") {
					ran++
					if sql, ok := strings.CutPrefix(line, `duckdb -c "`); ok {
						t.Run("duckdb", func(t *testing.T) { runSQL(t, requirements, strings.TrimSuffix(sql, `"`)) })
						continue
					}
					args, ok := strings.CutPrefix(line, ".keel/bin/keel ")
					if !ok {
						t.Errorf("who runs %q?", line)
						continue
					}
					var out, said bytes.Buffer
					m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &said, Getenv: func(name string) string {
						return map[string]string{"KEEL_DATABASE_URL": dsn, "KEEL_ACTOR": "ada"}[name]
					}}
					code := m.Run(t.Context(), strings.Fields(args))
					if code != exitOK && !(code == exitFailed && strings.HasPrefix(args, "reconcile") && said.Len() == 0) || out.Len() == 0 {
						t.Errorf("%s: exit status %d\n%s%s", line, code, out.Bytes(), said.Bytes())
					}
				}
			}
			if ran < 4 {
				t.Errorf("only %d commands", ran)
			}
		})
	}
}

func runSQL(t *testing.T, requirements, sql string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "run.py")
	if err := os.WriteFile(script, []byte("import duckdb, sys\nrows = duckdb.sql(sys.argv[1]).fetchall()\nassert rows and rows[0][-1] is not None, rows\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	publictool.Run(t, publictool.Python(t, requirements), script, sql)
}
