package audit

import (
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

// usual is a call as most are: an organisation's six budgets, the policies that looked at it, one answer with usage.
func usual(user string) (*budget.Decision, budget.Closeout) {
	d := call(user)
	d.Holds = nil
	for i := range 6 {
		d.Holds = append(d.Holds, budget.Hold{Account: month(fmt.Sprint("b", i), ""), Amount: 8_412_500, Ceiling: -1, Limit: 1 << 50, Mode: budget.Observe, Version: 3})
		d.Rules = append(d.Rules, budget.Rule{Kind: budget.KindBudget, Name: fmt.Sprint("b", i), Version: 3, Effect: "held 0.0084125 USD", Saw: "0.3%"})
	}
	d.Rules = append(d.Rules, budget.Rule{Kind: budget.KindPolicy, Name: "policy-01", Version: 1, Effect: "tagged size=some"},
		budget.Rule{Kind: budget.KindPolicy, Name: "policy-02", Version: 1, Effect: "warned: budget-1 is in use"})
	d.Subject["app"] = "ide"
	d.Estimate.Input = tokens.Input{Expected: 260, Bound: 1042, Kind: tokens.Provable, Method: "bytes/1", Key: tokens.Key{Provider: "openai", Family: "gpt-5", Class: "chat"}}
	d.Estimate.Output = tokens.Output{Expected: 300, P50: 200, P90: 900, P99: 3000, Bound: 4096, Kind: tokens.Provable, Method: "classes/1", Key: tokens.Key{Provider: "openai", Family: "gpt-5", Class: "chat"}, Choices: 1}
	c := end(d, 3_275_000)
	c.ProviderCost, c.ResponseID = "", "chatcmpl-"+d.ID.String()
	c.RawUsage = json.RawMessage(`{"prompt_tokens":260,"completion_tokens":295,"total_tokens":555,"prompt_tokens_details":{"cached_tokens":128,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":64,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`)
	c.Cost.Lines = []pricing.Line{{Meter: meter.Input, Quantity: 132, Rate: 1_250_000, Amount: 165_000, Price: "openai/gpt-5"},
		{Meter: meter.CachedInput, Quantity: 128, Rate: 125_000, Amount: 16_000, Price: "openai/gpt-5"}, {Meter: meter.Output, Quantity: 295, Rate: 10_000_000, Amount: 2_950_000, Price: "openai/gpt-5"}}
	c.Bills = []budget.Bill{{Provider: "openai", Model: "gpt-5-2025-08-07", Sent: "gpt-5", At: c.At, ServiceTier: "default", Usage: *c.Usage, Cost: 3_275_000}}
	return d, c
}

// usualCalls settles so many of them at once.
func (b *books) usualCalls(n int) {
	b.l.t.Helper()
	var records []escrow.Record
	for i := range n {
		d, c := usual(fmt.Sprint("user-", i%4))
		records = append(records, escrow.Record{Decision: d}, closed(d, c))
	}
	b.settle(records...)
}

// cpu is what this process and its sessions with Postgres used.
type cpu struct{ own, postgres time.Duration }

func (c *cpu) add(from, to cpu) {
	c.own, c.postgres = c.own+to.own-from.own, c.postgres+to.postgres-from.postgres
}

// used reads the CPU time that was used so far. What a server does for itself, as vacuuming, is left out.
func (l *lab) used(sessions []int) (c cpu) {
	l.t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		l.t.Fatal(err)
	}
	c.own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	for _, pid := range sessions {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err != nil {
			l.t.Skip("the server is not of this machine")
		}
		run, _, _ := strings.Cut(string(line), " ")
		ns, err := strconv.ParseInt(run, 10, 64)
		if err != nil {
			l.t.Fatal(err)
		}
		c.postgres += time.Duration(ns)
	}
	return c
}

// BenchmarkSequenceCost measures what a call, which is two records, costs in CPU, here and in Postgres: its settlement, twenty calls at
// once, and then the sequencer, which comes after so many settlements.
func BenchmarkSequenceCost(b *testing.B) {
	for _, settlements := range []int{1, 10, 40} {
		b.Run(fmt.Sprint("settlements=", settlements), func(b *testing.B) {
			const atOnce = 20
			l := newLab(b)
			books := l.books()
			conn, err := connect(b.Context(), l.dsn, "keel audit log")
			if err != nil {
				b.Fatal(err)
			}
			defer closeConn(conn)
			w := &writer{o: &l.sequencer().o, conn: conn, labels: newSalts()}
			if err := w.begin(b.Context()); err != nil {
				b.Fatal(err)
			}
			var settling, sequencing cpu
			var sessions []int
			round := func() {
				at := l.used(sessions)
				for range settlements {
					books.usualCalls(atOnce)
				}
				settled := l.used(sessions)
				settling.add(at, settled)
				for more := true; more; {
					if more, err = w.step(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				sequencing.add(settled, l.used(sessions))
			}
			for range 10 {
				round()
			}
			sessions = query[[]int](l, "select array_agg(pid) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'")
			settling, sequencing = cpu{}, cpu{}
			for b.Loop() {
				round()
			}
			calls := float64(b.N * settlements * atOnce)
			for name, d := range map[string]time.Duration{"settle-go": settling.own, "settle-pg": settling.postgres, "sequence-go": sequencing.own, "sequence-pg": sequencing.postgres} {
				b.ReportMetric(float64(d.Nanoseconds())/1000/calls, name+"-µs/call")
			}
			if n := query[int64](l, "select count(*) from keel.outbox"); n != 0 {
				b.Errorf("%d rows are left in the outbox", n)
			}
		})
	}
}
