package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/ledger/escrow"
)

const (
	benchBudgets = 6
	benchBatch   = 500 // records: decisions and their closeouts
)

// benchRecords are the next records of a journal: calls that hold in six budgets, and their ends.
func benchRecords(j *testJournal) escrow.Batch {
	records := make([]escrow.Record, 0, benchBatch)
	for range benchBatch / 2 {
		var holds []budget.Hold
		for i := range benchBudgets {
			holds = append(holds, enforced(thisMonth(fmt.Sprint("b", i)), 10))
		}
		d := admitted(holds...)
		records = append(records, decided(d), j.closed(d, ended(d, 7)))
	}
	return j.batch(records...)
}

// plainInsert writes the same rows of decisions and closeouts, and nothing else.
func plainInsert(b *testing.B, l *lab, batch *escrow.Batch) {
	var decisions decisionColumns
	var closeouts closeoutColumns
	for i := range batch.Records {
		if r := &batch.Records[i]; r.Decision != nil {
			decisions.add(r.Seq, &r.Digest, r.Decision)
		} else {
			closeouts.add(r.Seq, &r.Digest, r.Closeout, false)
		}
	}
	p := &pgx.Batch{}
	p.Queue(insertDecisions, decisions.args(batch.Org, batch.Epoch)...)
	p.Queue(strings.Replace(insertCloseouts, "on conflict (org, decision_id) do nothing", "", 1), closeouts.args(batch.Org, batch.Epoch)...)
	if err := l.pool.SendBatch(b.Context(), p).Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSettle measures settlement and, turn by turn in the same run, a plain
// batched INSERT of the same rows without dedupe and accounts. ratio is the rate of
// the one by that of the other.
func BenchmarkSettle(b *testing.B) {
	l := newLab(b)
	l.broken = true // rows without accounts
	for i := range benchBudgets {
		l.budget(fmt.Sprint("b", i), 1_000_000_000_000, "month")
	}
	j, plain := l.journal(), l.journal()
	for i := range benchBudgets {
		j.lease(thisMonth(fmt.Sprint("b", i)), 100_000_000_000)
	}
	var settling, inserting time.Duration
	for b.Loop() {
		settled, inserted := benchRecords(j), benchRecords(plain)
		at := time.Now()
		if _, err := l.Settle(b.Context(), settled); err != nil {
			b.Fatal(err)
		}
		settling += time.Since(at)
		at = time.Now()
		plainInsert(b, l, &inserted)
		inserting += time.Since(at)
	}
	records := float64(b.N * benchBatch)
	b.ReportMetric(records/settling.Seconds(), "settled/s")
	b.ReportMetric(records/inserting.Seconds(), "inserted/s")
	b.ReportMetric(inserting.Seconds()/settling.Seconds(), "ratio")
}

func BenchmarkLease(b *testing.B) {
	l := newLab(b)
	l.budget("a", 1<<60, "month")
	b.RunParallel(func(pb *testing.PB) {
		j := l.journal()
		for pb.Next() {
			j.lease(thisMonth("a"), 10)
		}
	})
}
