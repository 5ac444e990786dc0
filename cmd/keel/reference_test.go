package main

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/envoy"
)

var update = flag.Bool("update", false, "write the reference pages of docs, and envoy/compose/envoy.yaml, from the code")

// golden compares a page of docs with what the code says, or writes it.
func golden(t *testing.T, page, text string) {
	t.Helper()
	file := "../../docs/" + page
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if was, err := os.ReadFile(file); err != nil || string(was) != text {
		t.Errorf("docs/%s is not what the code says (%v): go test ./cmd/keel -run Reference -update", page, err)
	}
}

// described reads a prometheus.Desc, which keeps what it says to itself.
var described = regexp.MustCompile(`^Desc\{fqName: "(.*?)", help: "(.*)", unit: ".*?", constLabels: \{.*?\}, variableLabels: \{(.*)\}\}$`)

// ofTheProcess are metrics of the Go runtime and the process that the dashboard shows.
var ofTheProcess = []string{"go_goroutines", "process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes"}

// docs/metrics.md has the metrics of a processor that runs.
func TestReferenceMetrics(t *testing.T) {
	dsn := pgserver.ForTest(t)
	if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	sequencer, err := (&auditFlags{}).sequencer(dsn, log)
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcessor(t.Context(), processorOptions{
		GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0", Database: dsn, Journal: t.TempDir(), Audit: sequencer, Log: log,
		Hosts: providerHosts(envoy.DefaultProviders()), Review: reviewFlags{NoReview: true}, Spans: spanFlags{OTLP: "http://127.0.0.1:1"}, // nobody has to be there
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(t.Context())

	described := descriptions(t, p.metrics)
	var b strings.Builder
	b.WriteString("# Metrics\n\nWhat a processor publishes at `/metrics` of its admin port. This page is written from the code: `go test ./cmd/keel -run Reference -update`.\n" +
		"`keel_spans_…` are there with `--otlp`. `keel alerts rules` prints alert rules over these metrics, `keel alerts dashboard` a dashboard. No label has a value that a client can choose.\n\n| metric | labels | |\n|---|---|---|\n")
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range described {
			if strings.HasPrefix(name, "keel_") && !yield(name) {
				return
			}
		}
	}) {
		d := described[name]
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, d[1], d[0])
	}
	b.WriteString("\nAlso those of the [Go client](https://github.com/prometheus/client_golang) for the runtime (`go_…`) and the process (`process_…`), of which the dashboard shows:\n\n| metric | labels | |\n|---|---|---|\n")
	for _, name := range ofTheProcess {
		d, ok := described[name]
		if !ok {
			t.Errorf("there is no %s", name)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, d[1], d[0])
	}
	golden(t, "metrics.md", b.String())
}

// descriptions are help and labels by name.
func descriptions(t *testing.T, r *prometheus.Registry) map[string][2]string {
	all := make(map[string][2]string)
	descs := make(chan *prometheus.Desc)
	go func() {
		r.Describe(descs)
		close(descs)
	}()
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Errorf("%s can't be read", d)
			continue
		}
		labels := ""
		if m[3] != "" {
			labels = "`" + strings.ReplaceAll(m[3], ",", "`, `") + "`"
		}
		all[m[1]] = [2]string{strings.ReplaceAll(m[2], `\"`, `"`), labels}
	}
	return all
}

// docs/cli.md has the help of every command.
func TestReferenceCommands(t *testing.T) {
	var cli commands
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Commands\n\nThe help of every command. This page is written from the code: `go test ./cmd/keel -run Reference -update`.\n\n" +
		"Exit status: 0 when it is done, 1 when it was understood and could not be done or something is wrong, 2 when the command or what it was given to read was not understood or could not be looked at.\n")
	var walk func(n *kong.Node, path []string)
	walk = func(n *kong.Node, path []string) {
		for _, child := range n.Children {
			if child.Type != kong.CommandNode || child.Hidden {
				continue
			}
			at := append(slices.Clone(path), child.Name)
			var out bytes.Buffer
			m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
			if code := m.Run(t.Context(), append(slices.Clone(at), "--help")); code != exitOK {
				t.Errorf("%v: %s", at, &out)
			}
			if len(child.Children) == 0 {
				fmt.Fprintf(&b, "\n## keel %s\n\n```text\n%s\n```\n", strings.Join(at, " "), strings.TrimSpace(out.String()))
			}
			walk(child, at)
		}
	}
	walk(parser.Model.Node, nil)
	golden(t, "cli.md", b.String())
}

// views are those that BI tools and people may read.
var views = []string{"spend_records", "budget_status", "attempts", "statements", "variance"}

// docs/views.md has the columns of the views as a database has them.
func TestReferenceViews(t *testing.T) {
	dsn := pgserver.ForTest(t)
	if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var b strings.Builder
	b.WriteString("# Views\n\nThe columns of what reports read, in schema `keel`. This page is written from the database that `keel migrate` makes: `go test ./cmd/keel -run Reference -update`.\n" +
		"[records.md](records.md) says what they mean.\n")
	for _, view := range views {
		rows, err := conn.Query(t.Context(), `
select a.attname, format_type(a.atttypid, a.atttypmod), coalesce(col_description(a.attrelid, a.attnum), '') from pg_attribute a
where a.attrelid = ('keel.' || $1::text)::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`, view)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n## keel.%s\n\n| column | type | |\n|---|---|---|\n", view)
		var name, kind, comment string
		if _, err := pgx.ForEachRow(rows, []any{&name, &kind, &comment}, func() error {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, kind, comment)
			if comment == "" {
				t.Errorf("keel.%s.%s has no comment: add one to the migration that adds it", view, name)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "views.md", b.String())
}
