package ledger

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

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
