package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// ranBy are the tests that run, apply or read what stands between fences: by page and language.
var ranBy = map[string]string{
	"README.md sh": "cmd/keel.TestReadme", "README.md yaml": "cmd/keel.TestReadme", "README.md sql": "cmd/keel.TestReadme",
	"audit.md sh":           "cmd/keel.TestPages",
	"configuration.md sh":   "cmd/keel.TestPages",
	"configuration.md yaml": "cmd/keel.TestPages",
	"envoy.md sh":           "cmd/keel.TestEnvoyPage",
	"envoy.md yaml":         "e2e.TestPageSnippets",
	"exports.md sh":         "cmd/keel.TestDocs",
	"ledger.md sh":          "cmd/keel.TestPages",
	"operate.md sh":         "cmd/keel.TestOperatePage",
	"operate.md bash":       "e2e.TestRestore",
	"operate.md sql":        "cmd/keel.TestOperatePage",
	"performance.md sh":     "cmd/keel.TestPages",
	"prices.md sh":          "cmd/keel.TestPages",
	"reconcile.md sh":       "cmd/keel.TestDocs",
	"reconcile.md yaml":     "cmd/keel.TestPages",
	"records.md sql":        "cmd/keel.TestPages",
	"review.md sh":          "cmd/keel.TestPages",
	"review.md yaml":        "budget/audit/pages/signin.TestDocumentedFiles",
	"review.md sql":         "cmd/keel.TestPages",
	"review.md json":        "budget/audit/alert.TestWebhookPage",
	"routing.md sh":         "cmd/keel.TestPages",
	"routing.md yaml":       "cmd/keel.TestPages",
	"security.md sql":       "cmd/keel.TestPages",
}

// Nothing that a reader could paste stands on a page without a test that does something with it.
func TestEveryFence(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 15 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	seen := map[string]bool{}
	for _, page := range append(pages, "../../README.md", "../../ARCHITECTURE.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
			where := filepath.Base(page) + " " + block[1]
			if block[1] == "" || block[1] == "text" { // what programs print
				if command := regexp.MustCompile(`(?m)^(?:\.keel/bin/)?(?:keel|make|kubectl|docker|psql) .*$`).FindString(block[2]); command != "" && filepath.Base(page) != "cli.md" {
					t.Errorf("%s has a command that no test can find: %s", where, command)
				}
				continue
			}
			seen[where] = true
			dir, test, ok := strings.Cut(ranBy[where], ".Test")
			if !ok || !hasTest(t, filepath.Join("../..", dir), "Test"+test) {
				t.Errorf("%s: which test reads this?\n%s", where, block[2])
			}
		}
	}
	for where := range ranBy {
		if !seen[where] {
			t.Errorf("%s: there is none", where)
		}
	}
}

// Every command, query and document of the pages that no other test runs (see ranBy), each page in its order, as whoever reads it would.
func TestPages(t *testing.T) {
	pages := map[string]int{}
	for where, test := range ranBy {
		if page, _, _ := strings.Cut(where, " "); test == "cmd/keel.TestPages" {
			pages[page]++
		}
	}
	for page, languages := range pages {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(page, func(t *testing.T) {
			if page == "performance.md" {
				measures(t, string(text))
				return
			}
			mapping, err := os.ReadFile("testdata/docs/mapping.yaml")
			if err != nil {
				t.Fatal(err)
			}
			r := newReader(t)
			if page == "audit.md" {
				r.does(t, "keel audit keys new audit.key --origin keel.example.com/audit")
				public, err := os.ReadFile("audit.key.pub")
				if err == nil {
					err = errors.Join(os.WriteFile("keel-audit.key.pub", public, 0o644), keepBooks(t.Context(), 3, "audit.key", "worm"))
				}
				if err != nil {
					t.Fatal(err)
				}
				r.does(t, "keel audit keys pseudonym pseudonym.key")
			}
			ran := map[string]bool{}
			for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
				if ranBy[page+" "+block[1]] != "cmd/keel.TestPages" {
					continue
				}
				ran[block[1]] = true
				switch block[1] {
				case "sh":
					for line := range strings.Lines(block[2]) {
						r.does(t, line)
					}
				case "sql":
					r.queries(t, block[2])
				case "yaml":
					if page == "reconcile.md" { // TestDocs gives it to the program
						if block[2] != string(mapping) {
							t.Errorf("testdata/docs/mapping.yaml is not what the page has:\n%s", block[2])
						}
						continue
					}
					if code, out, said := r.main(t, block[2], "apply", "-f", "-"); code != exitOK {
						t.Errorf("%s%s%s", block[2], out, said)
					}
				}
			}
			if len(ran) != languages {
				t.Errorf("only %v", ran)
			}
		})
	}
}

// measures holds commands that take minutes to what there is: targets of make, and cells and variants of the benchmark.
func measures(t *testing.T, page string) {
	t.Helper()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	list, err := exec.Command("go", "run", "keel/e2e/bench", "--list").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	for _, block := range fence.FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[2]) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
			words := strings.Fields(line)
			if name, _, ok := strings.Cut(words[0], "="); ok {
				words = words[1:]
				if bench, err := os.ReadFile("../../e2e/bench/main.go"); err != nil || !strings.Contains(string(bench), name) {
					t.Errorf("%s: nobody reads %s (%v)", line, name, err)
				}
			}
			switch {
			case block[1] != "sh":
			case words[0] == "make":
				if !strings.Contains(string(makefile), "\n"+words[1]+":") {
					t.Errorf("%s: there is no such target", line)
				}
			case strings.HasPrefix(line, "go run ./e2e/bench "):
				for _, given := range regexp.MustCompile(`--(?:cells|variants) (\S+)`).FindAllStringSubmatch(line, -1) {
					for name := range strings.SplitSeq(given[1], ",") {
						if !strings.Contains(string(list), name) {
							t.Errorf("%s: the benchmark has no %s", line, name)
						}
					}
				}
			default:
				t.Errorf("who runs %q?", line)
			}
		}
	}
}
