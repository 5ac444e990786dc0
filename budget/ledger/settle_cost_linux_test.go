package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

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

// cpu is what this process and Postgres used.
type cpu struct{ own, postgres time.Duration }

func (c cpu) since(o cpu) cpu { return cpu{c.own - o.own, c.postgres - o.postgres} }
func (c *cpu) add(o cpu)      { c.own, c.postgres = c.own+o.own, c.postgres+o.postgres }

// used reads the CPU time that was used so far, by the server that a session belongs to.
func used(b *testing.B, server int) (c cpu) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	c.own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", server, server))
	if err != nil {
		b.Fatal(err)
	}
	for _, pid := range strings.Fields(string(children)) {
		line, err := os.ReadFile("/proc/" + pid + "/schedstat")
		if err != nil {
			continue
		}
		run, _, _ := strings.Cut(string(line), " ")
		ns, err := strconv.ParseInt(run, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		c.postgres += time.Duration(ns)
	}
	return c
}

func serverOf(b *testing.B, l *lab) int {
	var session int
	if err := l.pool.QueryRow(b.Context(), "select pg_backend_pid()").Scan(&session); err != nil {
		b.Fatal(err)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", session))
	if err != nil {
		b.Skip("the server is not of this machine")
	}
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	server, err := strconv.Atoi(fields[1])
	if err != nil {
		b.Fatal(err)
	}
	return server
}

// BenchmarkSettleCost measures what settlement costs a call, which is two records, in CPU: here, in Postgres, and in Postgres for
// folding statements afterwards.
func BenchmarkSettleCost(b *testing.B) {
	for _, records := range []int{2, 10, 100, 1000} {
		b.Run(fmt.Sprint("records=", records), func(b *testing.B) {
			l := newLab(b)
			l.broken = true // its witness would be measured, too
			j := l.journal()
			for i := range benchBudgets {
				l.budget(fmt.Sprint("b", i), 1_000_000_000_000_000, "month")
				j.lease(thisMonth(fmt.Sprint("b", i)), 100_000_000_000_000)
			}
			store, server := &Store{l.pool, l.dsn}, serverOf(b, l)
			var settling cpu
			settle := func() {
				batch := usualRecords(j, records)
				at := used(b, server)
				b.StartTimer()
				if _, err := l.Bank.Settle(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				settling.add(used(b, server).since(at))
			}
			b.StopTimer()
			for range 10 { // until statements are prepared and planned for good
				settle()
			}
			if _, err := store.FoldStatements(b.Context()); err != nil {
				b.Fatal(err)
			}
			settling = cpu{}
			b.ResetTimer()
			b.ReportAllocs()
			for range b.N {
				settle()
			}
			at := used(b, server)
			if _, err := store.FoldStatements(b.Context()); err != nil {
				b.Fatal(err)
			}
			folding := used(b, server).since(at)
			calls := float64(b.N * records / 2)
			b.ReportMetric(float64(settling.own.Nanoseconds())/1000/calls, "go-µs/call")
			b.ReportMetric(float64(settling.postgres.Nanoseconds())/1000/calls, "pg-µs/call")
			b.ReportMetric(float64(folding.postgres.Nanoseconds())/1000/calls, "fold-pg-µs/call")
		})
	}
}
