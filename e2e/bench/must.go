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
	figure  func(*report) float64 // NaN: not measured
	beside  func(*report) float64 // the same beside a processor without the access log service; nil: there is no such figure
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

func cpuRatio(cell, above, below string) func(*report) float64 {
	return func(r *report) float64 { return ratio(r.results.of(cell, above), r.results.of(cell, below), cpuOf) }
}

func p50Added(cell, above, below, base string) func(*report) float64 {
	return func(r *report) float64 {
		return addedRatio(r.results.of(cell, above), r.results.of(cell, below), r.results.of(cell, base), p50Of)
	}
}

func cpuAdded(cell, above, below, base string) func(*report) float64 {
	return func(r *report) float64 {
		return addedRatio(r.results.of(cell, above), r.results.of(cell, below), r.results.of(cell, base), cpuOf)
	}
}

// openMemory judges only the number of streams that the limit is of.
func openMemory(r *report) float64 {
	if r.streams == nil || r.streams.open < limitStreams {
		return math.NaN()
	}
	return float64(r.streams.most) / 1e6
}

// budgetSpread is by how many percent the throughput with more budgets differs from
// that with one, at most.
func budgetSpread(r *report) float64 {
	spread := 0.0
	for _, name := range budgeted[1:] {
		q := ratio(r.results.of(budgetCell, name), r.results.of(budgetCell, budgeted[0]), figures.perSecond)
		if math.IsNaN(q) {
			return q
		}
		spread = max(spread, 100*math.Abs(q-1))
	}
	return spread
}

// verdict is a line of the table.
func (m must) verdict(r *report) (figure, beside, limit, verdict string) {
	show := func(n float64) string {
		if math.IsNaN(n) {
			return "not measured"
		}
		return fmt.Sprintf("%.2f%s", n, m.unit)
	}
	n := m.figure(r)
	figure, limit, verdict = show(n), fmt.Sprintf("≤ %g%s", m.limit, m.unit), "MISS"
	if m.atLeast {
		limit = fmt.Sprintf("≥ %g%s", m.limit, m.unit)
	}
	switch {
	case math.IsNaN(n):
		verdict = "not measured"
	case m.atLeast && n >= m.limit, !m.atLeast && n <= m.limit:
		verdict = "PASS"
	}
	if m.beside != nil && !math.IsNaN(m.beside(r)) {
		beside = show(m.beside(r))
	}
	return figure, beside, limit, verdict
}

var mustHead = [5]string{"must reach", "figure", "without its access log", "limit", "verdict"}

// writeMusts ends a run, for people.
func writeMusts(w io.Writer, r *report) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", mustHead[0], mustHead[1], mustHead[2], mustHead[3], mustHead[4])
	for _, m := range musts {
		figure, beside, limit, verdict := m.verdict(r)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", m.what, figure, beside, limit, verdict)
	}
	t.Flush()
}
