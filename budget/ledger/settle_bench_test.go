package ledger

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
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

// usualCall is a call as most are, in mode full: an organisation's six budgets, the policies that looked at it, one answer with usage.
func usualCall(j *testJournal) (escrow.Record, escrow.Record) {
	var holds []budget.Hold
	d := admitted()
	for i := range benchBudgets {
		holds = append(holds, enforced(thisMonth(fmt.Sprint("b", i)), 8_412_500))
		d.Rules = append(d.Rules, budget.Rule{Kind: budget.KindBudget, Name: fmt.Sprint("b", i), Version: 3, Effect: "held 0.0084125 USD", Saw: "0.3%"})
	}
	d.Holds = holds
	d.Rules = append(d.Rules, budget.Rule{Kind: budget.KindPolicy, Name: "policy-01", Version: 1, Effect: "tagged size=some"},
		budget.Rule{Kind: budget.KindPolicy, Name: "policy-02", Version: 1, Effect: "warned: budget-1 is in use"})
	d.Subject = budget.Subject{"team": "research", "user": "ada", "app": "ide"}
	d.Estimate.Input = tokens.Input{Expected: 260, Bound: 1042, Kind: tokens.Provable, Method: "bytes/1", Key: tokens.Key{Provider: "openai", Family: "gpt-5", Class: "chat"}}
	d.Estimate.Output = tokens.Output{Expected: 300, P50: 200, P90: 900, P99: 3000, Bound: 4096, Kind: tokens.Provable, Method: "classes/1", Key: tokens.Key{Provider: "openai", Family: "gpt-5", Class: "chat"}, Choices: 1}
	end := ended(d, 3_275_000)
	end.RawUsage = json.RawMessage(`{"prompt_tokens":260,"completion_tokens":295,"total_tokens":555,"prompt_tokens_details":{"cached_tokens":128,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":64,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`)
	end.ResponseID = "chatcmpl-" + d.ID.String()
	end.Cost.Lines = []pricing.Line{{Meter: meter.Input, Quantity: 132, Rate: 1_250_000, Amount: 165_000, Price: "openai/gpt-5"},
		{Meter: meter.CachedInput, Quantity: 128, Rate: 125_000, Amount: 16_000, Price: "openai/gpt-5"}, {Meter: meter.Output, Quantity: 295, Rate: 10_000_000, Amount: 2_950_000, Price: "openai/gpt-5"}}
	end.Bills = []budget.Bill{{Provider: "openai", Model: "gpt-5-2025-08-07", Sent: "gpt-5", At: end.At, ServiceTier: "default", Usage: *end.Usage, Cost: 3_275_000}}
	return decided(d), j.closed(d, end)
}

// usualRecords are the next records of a journal, so many.
func usualRecords(j *testJournal, records int) escrow.Batch {
	all := make([]escrow.Record, 0, records)
	for range records / 2 {
		d, end := usualCall(j)
		all = append(all, d, end)
	}
	return j.batch(all...)
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
