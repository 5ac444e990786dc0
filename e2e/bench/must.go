package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// must is a line of what Keel has to reach.
type must struct {
	what    string
	atLeast bool // else at most
	limit   float64
	unit    string
	figure  func(*report) estimate // NaN: not measured
	beside  func(*report) estimate // the same beside a processor without the access log service; nil: there is no such figure
}

// musts are the limits, a line each. Where Keel is compared, both have the access log
// service on: the same configuration with the processor swapped.
var musts = []must{
	{"CPU per request, full ÷ does nothing, 1 KB, c=64", false, 1.15, "", cpuRatio("1k-unique-unary-c64", "full", "nothing-log"), cpuRatio("1k-unique-unary-c64", "full", "nothing")},
	{"p50 added over Envoy alone, full ÷ does nothing, 1 KB, c=1", false, 1.15, "", p50Added("1k-unique-unary-c1", "full", "nothing-log", "envoy-log"), p50Added("1k-unique-unary-c1", "full", "nothing", "envoy")},
	{"p50 added over Envoy alone, full ÷ does nothing, 1 KB, c=16", false, 1.15, "", p50Added("1k-unique-unary-c16", "full", "nothing-log", "envoy-log"), p50Added("1k-unique-unary-c16", "full", "nothing", "envoy")},
	{"the same, 32 KB, wholly unique, c=1", false, 1.3, "", p50Added("32k-unique-unary-c1", "full", "nothing-log", "envoy-log"), nil},
	{"the same, 32 KB, wholly unique, c=16", false, 1.3, "", p50Added("32k-unique-unary-c16", "full", "nothing-log", "envoy-log"), nil},
	{"the same, 32 KB, unique tail, c=1", false, 1.3, "", p50Added("32k-tail-unary-c1", "full", "nothing-log", "envoy-log"), nil},
	{"the same, 32 KB, unique tail, c=16", false, 1.3, "", p50Added("32k-tail-unary-c16", "full", "nothing-log", "envoy-log"), nil},
	{"SSE, CPU per chunk, full ÷ does nothing", false, 1.15, "", cpuRatio(streamCell, "full", "nothing-log"), cpuRatio(streamCell, "full", "nothing")},
	{"light, CPU per request ÷ request-only ext_proc that does nothing, 1 KB, c=64", false, 1.15, "", cpuRatio("1k-unique-unary-c64", "light", "nothing-request-log"), cpuRatio("1k-unique-unary-c64", "light", "nothing-request")},
	{"fast, p50 added over Envoy alone ÷ the same of a full ext_proc that does nothing, 1 KB, c=1", false, 0.75, "", p50Added("1k-unique-unary-c1", "fast", "nothing-log", "envoy-log"), nil},
	{"fast, CPU added over Envoy alone ÷ the same of a full ext_proc that does nothing, 1 KB, c=64", false, 0.75, "", cpuAdded("1k-unique-unary-c64", "fast", "nothing-log", "envoy-log"), nil},
	{"fast, SSE, CPU per chunk ÷ Envoy alone with its usage filter", false, 1.05, "", cpuRatio(streamCell, "fast", "envoy-usage-log"), nil},
	{"CPU per request, LiteLLM with budgets ÷ full, 1 KB", true, 30, "", cpuRatio("1k-unique-unary-c64", "litellm", "full"), nil},
	{"memory of a replica at 5,000 open SSE calls", false, 150, " MB", openMemory, nil},
	{"throughput with 1, 100 and 100,000 budgets, greatest difference", false, 5, " %", budgetSpread, nil},
}

func cpuOf(f figures) float64 { return float64(f.cpu()) }
func p50Of(f figures) float64 { return float64(f.P50) }

func cpuRatio(cell, above, below string) func(*report) estimate {
	return func(r *report) estimate {
		return estimated(ratios(r.results.of(cell, above), r.results.of(cell, below), cpuOf))
	}
}

func p50Added(cell, above, below, base string) func(*report) estimate {
	return addedBy(p50Of, cell, above, below, base)
}

func cpuAdded(cell, above, below, base string) func(*report) estimate {
	return addedBy(cpuOf, cell, above, below, base)
}

func addedBy(of func(figures) float64, cell, above, below, base string) func(*report) estimate {
	return func(r *report) estimate {
		return estimated(addedRatios(r.results.of(cell, above), r.results.of(cell, below), r.results.of(cell, base), of))
	}
}

// openMemory judges only the number of streams that the limit is of. It is one figure, of no rounds.
func openMemory(r *report) estimate {
	e := estimate{math.NaN(), math.NaN(), math.NaN()}
	if r.streams != nil && r.streams.open >= limitStreams {
		e.figure = float64(r.streams.most) / 1e6
	}
	return e
}

// budgetSpread is by how many percent the throughput with more budgets differs from
// that with one, at most.
func budgetSpread(r *report) (spread estimate) {
	for _, name := range budgeted[1:] {
		q := estimated(ratios(r.results.of(budgetCell, name), r.results.of(budgetCell, budgeted[0]), figures.perSecond))
		least := math.Max(0, math.Max(q.low-1, 1-q.high)) // 0 where they may be the same
		spread.figure = math.Max(spread.figure, 100*math.Abs(q.figure-1))
		spread.low = math.Max(spread.low, 100*least)
		spread.high = math.Max(spread.high, 100*math.Max(math.Abs(q.low-1), math.Abs(q.high-1)))
	}
	return spread
}

// verdict is what a line of the table says.
type verdict struct{ figure, between, beside, limit, word string }

func (m must) verdict(r *report) verdict {
	show := func(n float64) string { return fmt.Sprintf("%.2f%s", n, m.unit) }
	e := m.figure(r)
	v := verdict{limit: fmt.Sprintf("≤ %g%s", m.limit, m.unit), word: "MISS"}
	if m.atLeast {
		v.limit = fmt.Sprintf("≥ %g%s", m.limit, m.unit)
	}
	switch {
	case math.IsNaN(e.figure):
		v.figure, v.word = "not measured", "not measured"
		return v
	case m.atLeast && e.figure >= m.limit, !m.atLeast && e.figure <= m.limit:
		v.word = "PASS"
	}
	v.figure = show(e.figure)
	if !math.IsNaN(e.low) && !math.IsNaN(e.high) {
		v.between = fmt.Sprintf("%.2f to %s", e.low, show(e.high))
	}
	if m.beside != nil {
		if n := m.beside(r).figure; !math.IsNaN(n) {
			v.beside = show(n)
		}
	}
	return v
}

// writeMusts ends a run, for people.
func writeMusts(w io.Writer, r *report) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "must reach\tfigure\tnine times in ten\twithout its access log\tlimit\tverdict")
	for _, m := range musts {
		v := m.verdict(r)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", m.what, v.figure, v.between, v.beside, v.limit, v.word)
	}
	t.Flush()
}
