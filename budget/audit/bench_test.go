package audit

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"keel/budget/ledger/record"
)

// grow makes n calls more of the first one: rows as the ledger writes them, with numbers, digests and sums that fit.
func (x *books) grow(n int) {
	l := x.l
	l.t.Helper()
	x.calls(1, "ada")
	for _, table := range []string{"decisions", "closeouts"} {
		columns := query[[]string](l, "select array_agg(column_name::text order by ordinal_position) from information_schema.columns where table_schema = 'keel' and table_name = $1", table)
		var values []string
		for _, c := range columns {
			switch c {
			case "decision_id":
				values = append(values, "(left(keel.uuid_at(r.stored_at + n * interval '1 millisecond')::text, 24) || lpad(to_hex(n), 12, '0'))::uuid")
			case "seq":
				values = append(values, fmt.Sprintf("%d + 2 * n - %d", x.seq, map[string]int{"decisions": 1, "closeouts": 0}[table]))
			default:
				values = append(values, "r."+c)
			}
		}
		l.exec(fmt.Sprintf("insert into keel.%s (%s) select %s from generate_series(1, %d) n cross join (select * from keel.%s limit 1) r", table, strings.Join(columns, ", "), strings.Join(values, ", "), n, table))
		l.exec(fmt.Sprintf(`insert into keel.outbox (org, kind, ids)
select org, '%s', array_agg(decision_id order by decision_id) from (
  select org, decision_id, row_number() over (order by decision_id) / 2500 as part from keel.%s r where r.seq > 2) x group by org, part order by part`, strings.TrimSuffix(table, "s"), table))
		l.exec("analyze keel." + table)
	}
	digests := map[uint64]record.Digest{}
	head := record.ChainStart(x.epoch, "acme")
	for seq := uint64(1); seq <= 2; seq++ {
		digests[seq] = record.DigestOf(record.KindDecision, fmt.Append(nil, x.epoch, seq))
	}
	for seq := uint64(1); seq <= 2+2*uint64(n); seq++ {
		head = record.ChainNext(head, seq, digests[1+(seq-1)%2])
	}
	x.seq += 2 * uint64(n)
	l.exec("update keel.epochs set applied_seq = $1, chain = $2 where epoch = $3", int64(x.seq), head[:], x.epoch)
	l.exec("update keel.accounts set settled_n = settled_n * $1, forced_n = forced_n * $1", 1+n)
}

// BenchmarkVerify sequences and verifies KEEL_BENCH_CALLS calls, 20,000 if that is not set; each is two records.
func BenchmarkVerify(b *testing.B) {
	calls := 20_000
	if s := os.Getenv("KEEL_BENCH_CALLS"); s != "" {
		calls, _ = strconv.Atoi(s)
	}
	l := newLab(b)
	l.books().grow(calls)
	at := time.Now()
	size := l.sequence()
	sequencing := time.Since(at)
	l.exec("vacuum analyze keel.leaves")
	b.ResetTimer()
	for b.Loop() {
		report := l.verify(b)
		if report.Records != size || len(report.Findings) > 0 {
			b.Fatalf("%d records of %d, %v", report.Records, size, report.Findings)
		}
	}
	b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "verified/s")
	b.ReportMetric(float64(size)/sequencing.Seconds(), "sequenced/s")
}
