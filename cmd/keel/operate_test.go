package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/sample"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
)

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// Every command of docs/operate.md runs, and those of the README that run Keel for years, in order, over a ledger of sample calls; what asks an Envoy or a processor says that none is there.
func TestOperatePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dsn, restored := pgserver.ForTest(t), pgserver.ForTest(t)
	if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	if err := sample.Fill(t.Context(), dsn, 40); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"KEEL_DATABASE_URL": dsn, "KEEL_RESTORED_URL": restored, "KEEL_ACTOR": "ada"}
	t.Chdir(t.TempDir())
	budgets := "kind: Budget\nname: research-month\nselector: {team: research}\nlimit: 900 USD\nwindow: month\nmode: enforce\n"
	if err := os.WriteFile("budgets.yaml", []byte(budgets), 0o644); err != nil {
		t.Fatal(err)
	}
	_, ours, _ := bytes.Cut(readme, []byte("## Run it for years"))
	ours, _, _ = bytes.Cut(ours, []byte("docs/operate.md"))
	for _, m := range regexp.MustCompile(`(?m)^\.keel/bin/(keel .*?) +#.*$`).FindAllSubmatch(ours, -1) {
		page = append(page, "\n```sh\n"+string(m[1])+"\n```\n"...)
	}
	ran := 0
	for _, block := range shellBlock.FindAllSubmatch(page, -1) {
		for line := range strings.Lines(string(block[1])) {
			ran++
			runLine(t, strings.TrimSpace(line), env)
		}
	}
	if ran < 22 {
		t.Errorf("%d commands", ran)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, block := range sqlBlock.FindAllSubmatch(page, -1) {
		for statement := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(string(block[1])), ";"), ";\n") {
			if tag, err := conn.Exec(t.Context(), statement); err != nil || tag.Update() && tag.RowsAffected() != 1 {
				t.Errorf("%s: %v, %v", statement, tag, err)
			}
		}
	}
}

// mayBeWrong are commands that say by their exit status what they found: there is no Envoy here, and no processor.
var mayBeWrong = map[string]string{"keel doctor": "keel: "}

func runLine(t *testing.T, line string, env map[string]string) {
	t.Helper()
	command, file := line, ""
	if m := redirected.FindStringSubmatch(line); m != nil {
		command, file = m[1], m[2]
	}
	for name, value := range env {
		command = strings.ReplaceAll(command, `"$`+name+`"`, value)
	}
	words := strings.Fields(command)
	var stdout, stderr bytes.Buffer
	switch words[0] {
	case "keel":
		if i := slices.Index(words, "…"); i >= 0 { // what else "keel serve" is told
			parseLine(t, line, append(words[1:i:i], "--journal", "j"))
			return
		}
		m := Main{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(name string) string { return env[name] }}
		said, mayFail := mayBeWrong[strings.Join(words[:2], " ")]
		if code := m.Run(t.Context(), words[1:]); code != exitOK && !(mayFail && strings.Contains(stderr.String(), said)) {
			t.Errorf("%s: exit status %d: %s%s", line, code, &stdout, &stderr)
		}
	case "pg_dump", "pg_restore":
		if _, err := exec.LookPath(words[0]); err != nil {
			t.Skipf("%s was skipped from here on: no %s on this machine (Debian has it in the package postgresql-client)", t.Name(), words[0])
		}
		for i, w := range words { // --dbname="$NAME" is one word
			words[i] = strings.ReplaceAll(w, `"`, "")
		}
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, out)
		}
	default:
		t.Errorf("who runs %q?", line)
	}
	if file != "" {
		if err := os.WriteFile(file, stdout.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// docs/errors.md has every code that a denial can have in the code, and no other.
func TestReferenceErrors(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = true
	}
	if made := codes(t, "../../filter", "../../budget"); !maps.Equal(told, made) {
		t.Errorf("docs/errors.md has %v, the code has %v", slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(made)))
	}
}

// codes are the strings that become the field Code of something: written there, or by the name of a constant or variable that they are given to.
func codes(t *testing.T, dirs ...string) map[string]bool {
	t.Helper()
	named, values, found := make(map[string]bool), make(map[string][]string), make(map[string]bool)
	text := func(e ast.Expr) string {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			s, _ := strconv.Unquote(l.Value)
			return s
		}
		return ""
	}
	for _, dir := range dirs {
		files, err := fs.Glob(os.DirFS(dir), "*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.KeyValueExpr:
					if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
						if s := text(n.Value); s != "" {
							found[s] = true
						}
						if id, ok := n.Value.(*ast.Ident); ok {
							named[id.Name] = true
						}
					}
				case *ast.ValueSpec:
					for i, v := range n.Values {
						values[n.Names[i].Name] = append(values[n.Names[i].Name], text(v))
					}
				case *ast.AssignStmt:
					for i, v := range n.Rhs {
						if id, ok := n.Lhs[i%len(n.Lhs)].(*ast.Ident); ok {
							values[id.Name] = append(values[id.Name], text(v))
						}
					}
				}
				return true
			})
		}
	}
	for name := range named {
		for _, s := range values[name] {
			if s != "" {
				found[s] = true
			}
		}
	}
	return found
}
