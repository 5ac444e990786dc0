package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"
)

// report is all that a run has to say.
type report struct {
	results results
	streams *streamFigures // nil: not measured
	machine []string
	window  time.Duration
	began   time.Time
	took    time.Duration
	loads   [2]string // of the machine, before and after
	command string
}

const reportName = "performance.md"

// save writes the page.
func (r *report) save(root string) (string, error) {
	var page bytes.Buffer
	r.write(&page)
	file := filepath.Join(root, "docs", reportName)
	return file, os.WriteFile(file, page.Bytes(), 0o644)
}

const intro = `# Performance

What Keel costs beside Envoy alone, and beside an external processor that does nothing. Written by ` + "`make bench`" + `; do not edit it.

`

const method = `
## How it was measured

` + "```sh" + `
make bench                                     # this page, in about thirteen minutes
BENCH_FULL=1 make bench                        # the whole matrix, which takes hours
BENCH_PEERS=1 make bench                       # and LiteLLM and Portkey, installed below .keel
go run ./e2e/bench --cells 1k-unique-unary-c16 --variants envoy-log,nothing-log,full
make profile                                   # CPU, heap, mutex and trace of Keel under this load
` + "```" + `

- One machine, loopback, everything at once on its CPUs: the load generator and the provider too, whose CPU is not counted but is missing to the others.
- A closed loop: each of N clients (c=N) has a connection, sends a chat completion, reads the answer to its end, and sends again. ` + "`1k-unique-unary-c64`" + ` is a request of 1 KB, 64 clients, one JSON body in
  return. ` + "`unique`" + `: no text was ever sent before. ` + "`tail`" + `: all but the last message is a history that all requests share, as in a long conversation. ` + "`sse`" + `: the answer is 100 chunks, 5 ms apart.
- Interleaved: in each round every variant has the machine for a window, one after the other, in an order that rotates. Ratios are of two variants in the same round; the table has the median over the rounds. What limits stand on has more rounds than what the tables show besides.
- Percentiles are exact, over all calls of a window; the table has the median over the rounds. A call that fails ends the run: there are no errors in these figures.
- CPU is user and system time of the process from /proc/PID/stat, from before the first call until nothing is left to settle in Postgres, divided by calls. Postgres' own is apart. Messages are those that Envoy sent to external processors, a call; "waited" are calls whose hold had to ask Postgres for a slice.
- Keel is the real ` + "`keel serve`" + `: six budgets that enforce and match each call, twenty policies of which two match, Postgres settling (fsync on), the journal on.
- "Does nothing" is an ext_proc and access log server of the same grpc-go and go-control-plane, with Keel's server options, that answers each message with an empty one. Envoy's configuration is the one that Keel generates, with the processor swapped.
`

func (r *report) write(w io.Writer) {
	fmt.Fprint(w, intro)
	fmt.Fprintln(w, "| what must be reached | figure | nine times in ten | beside a processor without access log | limit | verdict |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for _, m := range musts {
		v := m.verdict(r)
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", m.what, v.figure, v.between, v.beside, v.limit, v.word)
	}
	fmt.Fprint(w, "\nA figure is the median of rounds, and a round is good to a fifth: the machine is not the same for two windows. \"Nine times in ten\" is between what it lies, by the rounds themselves. A limit in there is met, or missed, by chance.\n")
	r.writeChunks(w)
	fmt.Fprintf(w, "\nMeasured %s, in %s, by `%s`:\n\n", r.began.UTC().Format("2006-01-02 15:04 MST"), r.took.Round(time.Second), r.command)
	for _, line := range r.machine {
		fmt.Fprintf(w, "- %s\n", line)
	}
	fmt.Fprintf(w, "- Load average of the machine before the run %s, after it %s: above 1 before it, others were at work, and absolute figures are too high.\n", r.loads[0], r.loads[1])
	fmt.Fprint(w, method)
	fmt.Fprintf(w, "\nA window is %v. The variants:\n\n| variant | what it is |\n|---|---|\n", r.window)
	for _, v := range variants {
		if r.has(v.name) {
			fmt.Fprintf(w, "| `%s` | %s |\n", v.name, v.about)
		}
	}
	fmt.Fprint(w, "\n## Ratios\n\nTo the variant that does nothing in the same configuration, its floor. \"p50 added\" is over `envoy-log`.\n\n")
	r.writeRatios(w)
	if s := r.streams; s != nil {
		fmt.Fprintf(w, "\n## Open streams\n\n%d SSE calls open at once on one replica, a chunk each %v: %d MB resident at most, %d MB before, %.1f kB a call; Envoy %d MB. They were opened in %s, by 16 clients; while all were open, the replica took %.0f %% of a CPU.\n",
			s.open, streamGap, s.most/1e6, s.before/1e6, float64(s.perCall())/1e3, s.gateway/1e6, s.opening.Round(100*time.Millisecond), 100*s.heldCPU.Seconds()/s.held.Seconds())
	}
	fmt.Fprint(w, "\n## Cells\n")
	for _, m := range r.results {
		m.write(w)
	}
}

func (r *report) has(variant string) bool {
	for _, m := range r.results {
		if m.rounds[variant] != nil {
			return true
		}
	}
	return false
}

func (r *report) writeRatios(w io.Writer) {
	fmt.Fprintln(w, "| cell | variant | floor | CPU | p50 | p50 added | p99 | requests/s |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|")
	show := func(n float64) string {
		if math.IsNaN(n) {
			return "–"
		}
		return fmt.Sprintf("%.2f", n)
	}
	for _, m := range r.results {
		for _, name := range m.order {
			v := variantOf(name)
			if v == nil || v.floor == "" || m.rounds[v.floor] == nil {
				continue
			}
			above, floor := m.rounds[name], m.rounds[v.floor]
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", m.cell, name, v.floor,
				show(median(ratios(above, floor, cpuOf))), show(median(ratios(above, floor, p50Of))),
				show(median(addedRatios(above, floor, m.rounds["envoy-log"], p50Of))),
				show(median(ratios(above, floor, func(f figures) float64 { return float64(f.P99) }))),
				show(median(ratios(above, floor, figures.perSecond))))
		}
	}
}
