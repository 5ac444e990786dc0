package focus

import (
	"encoding/json"
	"maps"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keel/budget/audit/export"
	"keel/budget/audit/publictool"
)

// added is what DuckDB makes of a file.
type added struct {
	Rows    int64
	Sums    map[string]string
	By      [][]string
	Calls   map[string]string
	Periods []string
	Types   map[string]string
}

// The Parquet file, read back by DuckDB, has the rows and sums of the CSV file, its costs sum to the total of the
// manifest and call by call to the records, and its columns have the types that FOCUS asks for.
func TestParquetAddsUpAsCSV(t *testing.T) {
	t.Parallel()
	python := publictool.Python(t, "testdata/duckdb.txt")
	dir, records := exported(t)
	var of [2]added
	for i, kind := range []string{"csv", "parquet"} {
		if err := json.Unmarshal(publictool.Run(t, python, "testdata/duck.py", filepath.Join(dir, "focus."+kind), kind), &of[i]); err != nil {
			t.Fatal(err)
		}
	}
	text, parquet := of[0], of[1]
	if text.Rows != parquet.Rows || text.Rows < 400 || !maps.Equal(text.Sums, parquet.Sums) || !maps.Equal(text.Calls, parquet.Calls) || !slices.Equal(text.Periods, parquet.Periods) ||
		!slices.EqualFunc(text.By, parquet.By, slices.Equal) {
		t.Errorf("CSV: %d rows, %v\n%v\nParquet: %d rows, %v\n%v", text.Rows, text.Sums, text.By, parquet.Rows, parquet.Sums, parquet.By)
	}
	for _, kind := range []string{"csv", "parquet"} {
		var m export.Manifest
		read(t, export.ManifestFile(filepath.Join(dir, "focus."+kind)), &m)
		if number(t, parquet.Sums["EffectiveCost"]).Cmp(number(t, m.Total.USD)) != 0 || m.Rows != parquet.Rows || m.TrueUps.Rows != 4 || m.TrueUps.Sum != m.TrueUps.Ledger {
			t.Errorf("%s: the manifest has %d rows for %s with true-ups %+v, DuckDB %d for %s", kind, m.Rows, m.Total.USD, m.TrueUps, parquet.Rows, parquet.Sums["EffectiveCost"])
		}
	}
	adjusted := new(big.Rat)
	for _, row := range parquet.By {
		if row[0] == "Adjustment" {
			adjusted.Add(adjusted, number(t, row[6]))
		}
	}
	if adjusted.Cmp(number(t, "0.48025")) != 0 {
		t.Errorf("true-ups of %s", adjusted.FloatString(9))
	}
	costly := 0
	for _, r := range records {
		if cost := r["actual_cost_usd"]; r["kind"] == "call" && cost != "" && cost != "0" {
			if costly++; parquet.Calls[r["decision_id"]] == "" || number(t, parquet.Calls[r["decision_id"]]).Cmp(number(t, cost)) != 0 {
				t.Errorf("call %s cost %s, and its rows sum to %s", r["decision_id"], cost, parquet.Calls[r["decision_id"]])
			}
		}
	}
	if costly != len(parquet.Calls) || costly < 100 {
		t.Errorf("%d calls that cost something, %d in the file", costly, len(parquet.Calls))
	}
	for _, c := range Columns {
		want := map[export.Type]string{export.Decimal: "DECIMAL(38,18)", export.Boolean: "BOOLEAN", export.Text: "VARCHAR"}[c.Type]
		got := parquet.Types[c.Name]
		if got == "" || want != "" && got != want || c.Type == export.Instant && !strings.HasPrefix(got, "TIMESTAMP") {
			t.Errorf("column %s, of type %s, is %q", c.Name, c.Type, got)
		}
	}
}
