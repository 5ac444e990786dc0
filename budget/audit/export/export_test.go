package export

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"keel/budget/audit/publictool"
	"keel/budget/audit/sample"
	"keel/budget/audit/spend"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
)

// filled is a database with n sample calls.
func filled(t testing.TB, n int) string {
	t.Helper()
	dsn := pgserver.ForTest(t)
	if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	if err := sample.Fill(t.Context(), dsn, n); err != nil {
		t.Fatal(err)
	}
	if err := sample.TrueUps(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	return dsn
}

func options(format Encoding, file string) Options {
	return Options{Query: spend.Query{Org: sample.Org}, Table: Records(), Format: format, File: file, Version: "test"}
}

// run exports from a snapshot of its own.
func run(ctx context.Context, t testing.TB, dsn string, o Options) (*Manifest, error) {
	t.Helper()
	r, err := spend.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return Run(ctx, r, o)
}

func mustRun(t testing.TB, dsn string, o Options) *Manifest {
	t.Helper()
	m, err := run(t.Context(), t, dsn, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sums is what a public tool made of a file.
type sums struct {
	Records, Open int64
	Sum           string
	Meters        map[string]string
	Accounts      map[string]string
	TrueUps       map[string]string `json:"true_ups"`
	TrueUpRows    int64             `json:"true_up_rows"`
	Total         string
	Types         map[string]string
	Order         []string
}

// settled is what the accounts of the ledger say.
func settled(t testing.TB, dsn string) map[string]string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), "select budget || '|' || account_key, sum(settled_n)::text from keel.accounts where org = $1 group by 1", sample.Org)
	if err != nil {
		t.Fatal(err)
	}
	accounts := make(map[string]string)
	var name, amount string
	if _, err := pgx.ForEachRow(rows, []any{&name, &amount}, func() error {
		accounts[name] = amount
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return accounts
}

func compare(t *testing.T, said []byte, m *Manifest, accounts map[string]string) sums {
	t.Helper()
	var got sums
	if err := json.Unmarshal(said, &got); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if got.Records != m.Records || got.Open != m.Open || got.Sum != m.Sum.Nano || got.Sum != m.Ledger.Nano {
		t.Errorf("%d records, %d open, %s nano-dollars; the manifest says %d, %d, %s, and the ledger %s", got.Records, got.Open, got.Sum, m.Records, m.Open, m.Sum.Nano, m.Ledger.Nano)
	}
	if len(got.Meters) != len(m.Meters) || len(got.Meters) < 5 {
		t.Errorf("meters %v; the manifest says %v", got.Meters, m.Meters)
	}
	for meter, n := range got.Meters {
		if m.Meters[meter].Nano != n {
			t.Errorf("meter %s: %s; the manifest says %s", meter, n, m.Meters[meter].Nano)
		}
	}
	if got.TrueUpRows != m.TrueUps.Rows || got.Total != m.Total.Nano || m.TrueUps.Sum != m.TrueUps.Ledger || len(got.TrueUps) != len(m.TrueUps.Causes) || m.Rows != m.Records+m.TrueUps.Rows {
		t.Errorf("%d true-ups %v, %s in all; the manifest says %+v, %s in %d rows", got.TrueUpRows, got.TrueUps, got.Total, m.TrueUps, m.Total.Nano, m.Rows)
	}
	for cause, n := range got.TrueUps {
		if m.TrueUps.Causes[cause].Nano != n {
			t.Errorf("true-ups %s: %s; the manifest says %s", cause, n, m.TrueUps.Causes[cause].Nano)
		}
	}
	if m.TrueUps.Rows != 4 || m.TrueUps.Sum.USD != "0.48025" || got.TrueUps["rounding"] != "-1" {
		t.Errorf("true-ups %+v", m.TrueUps)
	}
	if len(accounts) < 4 || fmt.Sprint(got.Accounts) != fmt.Sprint(accounts) {
		t.Errorf("accounts %v; the ledger has %v", got.Accounts, accounts)
	}
	return got
}

// Every number of a manifest, and what the ledger settled in every account, is recomputed from the file by DuckDB.
func TestDuckDBAddsUpWhatTheLedgerHas(t *testing.T) {
	t.Parallel()
	python := publictool.Python(t, "testdata/duckdb.txt")
	dsn := filled(t, 330)
	var orders [][]string
	for _, format := range []Encoding{CSV, JSONLines, Parquet} {
		file := filepath.Join(t.TempDir(), "out."+string(format))
		m := mustRun(t, dsn, options(format, file))
		got := compare(t, publictool.Run(t, python, "testdata/duck.py", file, string(format)), m, settled(t, dsn))
		orders = append(orders, got.Order)
		if format == Parquet && (got.Types["actual_cost_usd"] != "DECIMAL(38,9)" || got.Types["attempts"] != "BIGINT" || !strings.HasPrefix(got.Types["decided_at"], "TIMESTAMP")) {
			t.Errorf("types %v", got.Types)
		}
	}
	if !slices.Equal(orders[0], orders[1]) || !slices.Equal(orders[0], orders[2]) {
		t.Error("the three files have their records in other orders")
	}
}

// The same by what Python ships: sqlite3.
func TestSQLiteAddsUpWhatTheLedgerHas(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 330)
	file := filepath.Join(t.TempDir(), "out.csv")
	m := mustRun(t, dsn, options(CSV, file))
	compare(t, publictool.Run(t, "python3", "testdata/lite.py", file), m, settled(t, dsn))
}

var errStop = errors.New("stop")

// A file that was cut is the same when it is resumed, wherever it was cut: softly after any record, or hard, with
// half a line behind the last checkpoint.
func TestResumeIsByteIdentical(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 220)
	for _, format := range []Encoding{CSV, JSONLines} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			whole := mustRun(t, dsn, options(format, filepath.Join(dir, "whole")))
			want := read(t, filepath.Join(dir, "whole"))
			for _, at := range []int64{0, 1, 7, 64, 219, 221} {
				for _, hard := range []bool{false, true} {
					o := options(format, filepath.Join(dir, fmt.Sprint("cut-", at, hard)))
					o.every = 10
					cutAfter(t, dsn, o, at, hard)
					if hard { // as if the process was killed: what was written after the checkpoint is there, in part
						f, err := os.OpenFile(partial(o.File), os.O_APPEND|os.O_WRONLY, 0)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := f.WriteString(strings.Repeat(`{"half,a "line`, 1+len(want)/10)); err != nil {
							t.Fatal(err)
						}
						f.Close()
					}
					if _, err := run(t.Context(), t, dsn, o); err == nil || !strings.Contains(err.Error(), "--resume") {
						t.Errorf("a cut file was begun anew: %v", err)
					}
					o.Resume = true
					m := mustRun(t, dsn, o)
					if got := read(t, o.File); !bytes.Equal(got, want) {
						t.Fatalf("cut at %d (hard: %v): %d bytes, want %d", at, hard, len(got), len(want))
					}
					if m.SHA256 != whole.SHA256 || m.Sum != whole.Sum || fmt.Sprint(m.Meters) != fmt.Sprint(whole.Meters) || m.Rows != whole.Rows || len(m.Snapshots) != 2 {
						t.Errorf("cut at %d (hard: %v): %d rows, %s, %d snapshots", at, hard, m.Rows, m.Sum, len(m.Snapshots))
					}
				}
			}
			left, _ := filepath.Glob(filepath.Join(dir, "*.partial*"))
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// cutAfter runs an export that ends after some records: hard within the next one, else as Ctrl-C does.
func cutAfter(t *testing.T, dsn string, o Options, records int64, hard bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rows, n := o.Table.Rows, int64(0)
	o.Table.Rows = func(r *spend.Record, emit func([]Cell) error) error {
		if hard && n == records {
			return errStop
		}
		if n++; !hard && n >= records {
			cancel()
		}
		return rows(r, emit)
	}
	if _, err := run(ctx, t, dsn, o); !errors.Is(err, ErrCut) || !(errors.Is(err, errStop) || errors.Is(err, context.Canceled)) {
		t.Fatalf("not cut: %v", err)
	}
}

// A Parquet file that was cut has the same rows when it is resumed.
func TestResumeParquet(t *testing.T) {
	t.Parallel()
	python := publictool.Python(t, "testdata/duckdb.txt")
	dsn := filled(t, 220)
	dir := t.TempDir()
	mustRun(t, dsn, options(Parquet, filepath.Join(dir, "whole")))
	o := options(Parquet, filepath.Join(dir, "cut"))
	o.every, o.part = 10, 50
	for i, at := range []int64{120, 30, 60} {
		cutAfter(t, dsn, o, at, i == 1)
		o.Resume = true
	}
	m := mustRun(t, dsn, o)
	if len(m.Snapshots) != 3 { // what the hard cut had written did not count
		t.Errorf("snapshots %v", m.Snapshots)
	}
	whole := publictool.Run(t, python, "testdata/duck.py", filepath.Join(dir, "whole"), "parquet")
	cut := publictool.Run(t, python, "testdata/duck.py", filepath.Join(dir, "cut"), "parquet")
	if !bytes.Equal(whole, cut) {
		t.Errorf("resumed:\n%s\nwhole:\n%s", cut, whole)
	}
	compare(t, cut, m, settled(t, dsn))
}

// An error in the middle of a record leaves no half of it.
func TestCutWithinARecord(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 44)
	o := options(CSV, filepath.Join(t.TempDir(), "cut"))
	twice := o.Table.Rows
	n := 0
	o.Table.Rows = func(r *spend.Record, emit func([]Cell) error) error {
		if n++; n == 30 {
			if err := twice(r, emit); err != nil {
				return err
			}
			return errStop
		}
		return twice(r, emit)
	}
	if _, err := run(t.Context(), t, dsn, o); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	o = options(CSV, o.File)
	o.Resume = true
	if m := mustRun(t, dsn, o); m.Rows != 50 || bytes.Count(read(t, o.File), []byte("\n")) != 51 {
		t.Errorf("%d rows", m.Rows)
	}
}

func TestResumeRefuses(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 44)
	o := options(CSV, filepath.Join(t.TempDir(), "cut"))
	cutAfter(t, dsn, o, 20, false)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"another format": {change: func(o *Options) { o.Format = JSONLines }, want: "it is records as csv"},
		"another org":    {change: func(o *Options) { o.Query.Org = "x" }, want: "it is of org acme"},
		"another range":  {change: func(o *Options) { o.Query.Since = sample.Begin }, want: "it is of 0001"},
		"other columns":  {change: func(o *Options) { o.Table.Columns = o.Table.Columns[1:] }, want: "other columns"},
	} {
		again := o
		again.Resume = true
		c.change(&again)
		if _, err := run(t.Context(), t, dsn, again); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := conn.Exec(t.Context(), "update keel.closeouts set cost_n = cost_n + 1 where decision_id = (select decision_id from keel.closeouts order by 1 limit 1)"); err != nil {
		t.Fatal(err)
	}
	o.Resume = true
	if _, err := run(t.Context(), t, dsn, o); err == nil || !strings.Contains(err.Error(), "have changed since") {
		t.Errorf("a changed cost: %v", err)
	}
	if err := os.Truncate(partial(o.File), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "update keel.closeouts set cost_n = cost_n - 1 where decision_id = (select decision_id from keel.closeouts order by 1 limit 1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), t, dsn, o); err == nil || !strings.Contains(err.Error(), "has 10 bytes") {
		t.Errorf("a short file: %v", err)
	}
}

// A file whose sum is not the ledger's does not get its name.
func TestSumsAreComparedWithTheLedger(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 22)
	o := options(CSV, filepath.Join(t.TempDir(), "out.csv"))
	cutAfter(t, dsn, o, 0, true)
	side := sidecar(o.File)
	if err := os.WriteFile(side, bytes.Replace(read(t, side), []byte(`"nano_usd":0`), []byte(`"nano_usd":5`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Resume = true
	if _, err := run(t.Context(), t, dsn, o); err == nil || !strings.Contains(err.Error(), "does not add up") {
		t.Errorf("another sum: %v", err)
	}
	if there, _ := exists(o.File); there {
		t.Error("it has its name")
	}
	// Nor do lines that say more than the cost.
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `update keel.closeouts set lines = jsonb_set(lines, '{0,amount_usd}', '"5"') where decision_id = (select decision_id from keel.closeouts order by 1 limit 1)`); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), t, dsn, options(CSV, filepath.Join(t.TempDir(), "out.csv"))); err == nil || !strings.Contains(err.Error(), "more than its cost") {
		t.Errorf("lines above a cost: %v", err)
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 22)
	private, public, err := note.GenerateKey(rand.Reader, "finance")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	o := options(CSV, filepath.Join(t.TempDir(), "out.csv"))
	o.Seal = Seal{Signer: signer, Checkpoint: func(_ context.Context, org string) (json.RawMessage, error) {
		return json.RawMessage(fmt.Sprintf(`{"note":"keel/%s\n22\n"}`, org)), nil
	}}
	mustRun(t, dsn, o)
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Open(read(t, NoteFile(o.File)), note.VerifierList(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if signed.Text != string(read(t, ManifestFile(o.File))) {
		t.Error("the note signs another text than the manifest's")
	}
	var m Manifest
	if err := json.Unmarshal([]byte(signed.Text), &m); err != nil || m.Checkpoint == nil || !strings.Contains(string(*m.Checkpoint), `keel/acme`) || !strings.HasPrefix(m.Key, "finance+") {
		t.Errorf("%v, manifest %s", err, signed.Text)
	}
	forged := bytes.Replace(read(t, NoteFile(o.File)), []byte(`"rows": 28`), []byte(`"rows": 27`), 1)
	if _, err := note.Open(forged, note.VerifierList(verifier)); err == nil {
		t.Error("a forged manifest is taken for signed")
	}
}

// Ranges are by the time of the decision: those that touch have every call once.
func TestRangesTouch(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 110)
	middle := sample.Begin.Add(7 * 40 * 60e9)
	total, ups := int64(0), int64(0)
	for i, q := range []spend.Query{{Org: sample.Org, Until: middle}, {Org: sample.Org, Since: middle}} {
		o := options(JSONLines, filepath.Join(t.TempDir(), "out"))
		o.Query = q
		m := mustRun(t, dsn, o)
		ups += m.TrueUps.Rows
		if total += m.Records; i == 0 && (m.Records != 40 || m.TrueUps.Rows != 2) {
			t.Errorf("%d calls and %d true-ups before the 41st call", m.Records, m.TrueUps.Rows)
		}
	}
	if total != 112 || ups != 4 {
		t.Errorf("%d calls and %d true-ups in all", total, ups)
	}
}

// A cut among the true-ups leaves none, and none is there twice.
func TestCutAmongTrueUps(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 44)
	for _, format := range []Encoding{CSV, JSONLines, Parquet} {
		dir := t.TempDir()
		whole := mustRun(t, dsn, options(format, filepath.Join(dir, "whole")))
		o := options(format, filepath.Join(dir, "cut"))
		row, n := o.Table.Adjustment, 0
		ctx, cancel := context.WithCancel(t.Context())
		o.Table.Adjustment = func(a *spend.Adjustment) []Cell {
			if n++; n == 3 {
				cancel()
			}
			return row(a)
		}
		if _, err := run(ctx, t, dsn, o); !errors.Is(err, ErrCut) {
			t.Fatalf("%s: not cut: %v", format, err)
		}
		o = options(format, o.File)
		o.Resume = true
		m := mustRun(t, dsn, o)
		if m.Rows != whole.Rows || m.Total != whole.Total || format != Parquet && m.SHA256 != whole.SHA256 {
			t.Errorf("%s: %d rows for %s, and whole %d for %s", format, m.Rows, m.Total.USD, whole.Rows, whole.Total.USD)
		}
	}
}
