// Package keel holds no code: it checks the shape of the tree.
package keel

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// importers says which packages may import what. A pattern ending in "/..." is
// the package and all below it.
var importers = []struct {
	imported string
	allowed  []string
	why      string
}{
	{"github.com/envoyproxy/go-control-plane/...", []string{"keel/filter", "keel/filter/frame", "keel/envoy", "keel/envoy/lint", "keel/e2e/..."}, "Envoy stays at the edge"},
	{"github.com/jackc/pgx/v5/...", []string{"keel/budget/ledger/...", "keel/budget/audit/...", "keel/e2e/bench"}, "Postgres stays behind the ledger"},
	{"cel.dev/cel-go/...", []string{"keel/budget/policy"}, "one policy language, in one place"},
	{"github.com/coreos/go-oidc/v3/...", []string{"keel/budget/audit/pages/signin"}, "people sign in in one place"},
	{"go.opentelemetry.io/...", []string{"keel/filter/spans"}, "spans are sent in one place"},
	{"golang.org/x/oauth2/...", []string{"keel/budget/audit/pages/signin"}, "people sign in in one place"},
	{"google.golang.org/grpc/...", []string{"keel/filter", "keel/filter/frame", "keel/envoy", "keel/e2e/..."}, "only Envoy is spoken to by gRPC"},
	{"github.com/parquet-go/parquet-go/...", []string{"keel/budget/audit/export"}, "files are written in one place"},
	{"github.com/dgraph-io/ristretto/v2/...", []string{"keel/pricing/..."}, "caches hold what can be recomputed, never budget state"},

	// Dependencies point down the path of a call.
	{"keel/cmd/...", nil, "nothing is above the binary"},
	{"keel/e2e/...", nil, "tests are not imported"},
	{"keel/filter", []string{"keel/cmd/..."}, "filter is the top of the path"},
	{"keel/filter/wire/...", []string{"keel/filter/...", "keel/cmd/keel"}, "wire formats are the filter's business"},
	{"keel/envoy", []string{"keel/cmd/...", "keel/envoy/lint", "keel/e2e/bench"}, "budgets and prices know no Envoy"},
	{"keel/envoy/program", []string{"keel/cmd/...", "keel/envoy", "keel/budget/ledger/pgserver", "keel/e2e/bench"}, "only development stacks start programs"},
	{"keel/budget", []string{"keel/cmd/...", "keel/filter", "keel/filter/spans", "keel/budget/ledger/...", "keel/budget/audit/..."}, "prices and wire formats know no budgets"},
	{"keel/budget/ledger", []string{"keel/cmd/...", "keel/budget/audit/..."}, "decisions are made without a database"},
}

// pure packages import nothing of ours but what is listed.
var pure = map[string][]string{
	"keel/pricing/meter":      nil,
	"keel/pricing/tokens":     {"keel/pricing/tokens/bpe"},
	"keel/pricing/tokens/bpe": nil,
	"keel/pricing/source":     {"keel/pricing", "keel/pricing/meter"},
	"keel/pricing":            {"keel/pricing/meter"},
	"keel/budget/policy":      {"keel/pricing"},
	"keel/envoy":              {"keel/envoy/program"},
	"keel/envoy/lint":         {"keel/envoy"},
	"keel/envoy/program":      nil,
}

var topFolders = []string{"cmd", "filter", "budget", "pricing", "envoy", "e2e", "docs"}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			for _, rule := range importers {
				if within(rule.imported, imported) && !within(rule.imported, p.ImportPath) && !slices.ContainsFunc(rule.allowed, func(pattern string) bool { return within(pattern, p.ImportPath) }) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imported, rule.why)
				}
			}
			allowed, isPure := pure[p.ImportPath]
			if isPure && strings.HasPrefix(imported, "keel/") && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s; it may import of ours only %v", p.ImportPath, imported, allowed)
			}
		}
	}
}

func TestFolders(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(topFolders, e.Name()) {
			t.Errorf("top-level folder %s: the layout in ARCHITECTURE.md has no such place", e.Name())
		}
	}
	vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "models", "types", "pkg"}
	for _, p := range packages(t) {
		if slices.Contains(vague, path.Base(p.ImportPath)) {
			t.Errorf("package %s: what is it really about?", p.ImportPath)
		}
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("package %s has no package comment", p.ImportPath)
		}
	}
}

type listed struct {
	ImportPath, Doc  string
	GoFiles, Imports []string
}

func packages(t *testing.T) []listed {
	command := exec.Command("go", "list", "-json=ImportPath,Doc,GoFiles,Imports", "./...")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list names %d packages", len(all))
	}
	return all
}

// within reports whether name is matched by pattern.
func within(pattern, name string) bool {
	base, deep := strings.CutSuffix(pattern, "/...")
	return name == base || deep && strings.HasPrefix(name, base+"/")
}
