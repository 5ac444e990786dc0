package export

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/sample"
)

// many makes a ledger of n records out of copies of the sample's, at seconds of their own.
func many(t testing.TB, n int) string {
	t.Helper()
	dsn := filled(t, 98)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(`select keel.ensure_partitions('2026-10-01Z', timestamptz '2026-11-02Z' + $1::bigint * interval '8 seconds')`, n+1000)
	exec(`create temp table copies (old uuid, new uuid, at timestamptz)`)
	exec(`insert into copies select old, (substr(keel.uuid_at(at)::text, 1, 24) || lpad(to_hex(k), 12, '0'))::uuid, at from (
		select d.decision_id as old, k, timestamptz '2026-11-01Z' + k * interval '8 seconds' as at from (
			select decision_id, row_number() over (order by decision_id) as i, count(*) over () as n from keel.decisions where org = 'acme') d
		cross join generate_series(0, $1::bigint / n) g cross join lateral (select g * n + i as k) x) y`, n)
	for table, at := range map[string]string{"decisions": "decided_at", "closeouts": "closed_at"} {
		var columns, values string
		if err := conn.QueryRow(t.Context(), `select string_agg(quote_ident(attname), ', ' order by attnum),
			string_agg(case attname when 'decision_id' then 'c.new' when $2 then 'c.at' else 'x.' || quote_ident(attname) end, ', ' order by attnum)
			from pg_attribute where attrelid = ('keel.' || $1)::regclass and attnum > 0 and not attisdropped`, table, at).Scan(&columns, &values); err != nil {
			t.Fatal(err)
		}
		exec("insert into keel." + table + " (" + columns + ") select " + values + " from copies c join keel." + table + " x on x.org = 'acme' and x.decision_id = c.old")
		exec("analyze keel." + table)
	}
	return dsn
}

// peak is the most memory that the process had, in MB; 0 where the system does not tell.
func peak() int {
	text, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kilobytes, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), " kB"))
	return kilobytes >> 10
}

// An export takes the memory of a few thousand records, however many there are: what is live at the end is
// what was live after 20,000. Cut in the middle and resumed it is the same file. KEEL_EXPORT_RECORDS=1000000 makes it longer.
func TestMemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("50,000 records")
	}
	records := int64(50_000)
	if text := os.Getenv("KEEL_EXPORT_RECORDS"); text != "" {
		var err error
		if records, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	dsn := many(t, int(records))
	for _, format := range []Encoding{CSV, Parquet} {
		var early, late uint64
		o := options(format, filepath.Join(t.TempDir(), "out"))
		o.Progress = func(p Progress) {
			if p.Records%10_000 != 0 {
				return
			}
			runtime.GC()
			runtime.GC() // what a sync.Pool keeps is live until the second
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if p.Records <= 20_000 {
				early = max(early, m.HeapAlloc)
			} else {
				late = max(late, m.HeapAlloc)
			}
		}
		begun := time.Now()
		m := mustRun(t, dsn, o)
		t.Logf("%s: %d records in %.1f s, %.0f a second, %d MB; live heap %d MB early, %d MB at most later, the process %d MB", format, m.Records, time.Since(begun).Seconds(),
			float64(m.Records)/time.Since(begun).Seconds(), m.Bytes>>20, early>>20, late>>20, peak())
		if m.Records < records {
			t.Errorf("%d records of %s", m.Records, sample.Org)
		}
		if late > early+16<<20 {
			t.Errorf("%s: the live heap grew from %d to %d MB", format, early>>20, late>>20)
		}
		if format != CSV {
			continue
		}
		cut := options(CSV, filepath.Join(t.TempDir(), "cut"))
		begun = time.Now()
		cutAfter(t, dsn, cut, records/2, false)
		stopped := time.Since(begun)
		cut.Resume = true
		begun = time.Now()
		again := mustRun(t, dsn, cut)
		t.Logf("%s: cut after %d records and %.1f s, and resumed in %.1f s", format, records/2, stopped.Seconds(), time.Since(begun).Seconds())
		if again.SHA256 != m.SHA256 || again.Total != m.Total || len(again.Snapshots) != 2 {
			t.Errorf("cut and resumed it is another file: %s of %s, and %s of %s", again.SHA256, again.Total.USD, m.SHA256, m.Total.USD)
		}
	}
}
