// Command bench measures what Keel costs beside Envoy alone and beside an external
// processor that does nothing, on the real Envoy and a real Postgres, and writes
// docs/performance.md.
//
//	go run ./e2e/bench --help
//
// Load and provider are in this process, whose CPU is not counted. Everything it
// starts is on loopback and ends with it. It refuses to judge a run in which a call
// failed, and it compares what was measured in the same round only: absolute figures
// are of the machine, ratios of the programs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	debug.SetGCPercent(400) // of the load generator, which is to stay out of the way
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type options struct {
	Cells    []string      `help:"Cells to measure instead of the usual ones, such as 1k-unique-unary-c16." placeholder:"CELL"`
	Variants []string      `help:"Variants to measure instead of those of each cell; --list has them." placeholder:"NAME"`
	Rounds   int           `help:"Rounds of each cell instead of its own number." placeholder:"N"`
	Window   time.Duration `help:"How long each variant is under load in a round." default:"800ms"`
	Peers    bool          `help:"Also LiteLLM and Portkey, installed with pip and npm below .keel: minutes more." env:"BENCH_PEERS"`
	Limit    time.Duration `help:"Leave out rounds that do not fit into this time. Default: 12m, none with --full; open streams come on top." placeholder:"TIME"`
	Streams  int           `help:"Open so many SSE calls at once and look at the memory. Default: 5000, none with --cells." placeholder:"N"`
	Out      bool          `help:"Write docs/performance.md also when --cells, --variants or --rounds pick a part."`
	Full     bool          `help:"The whole matrix, which takes hours." env:"BENCH_FULL"`
	Profile  string        `help:"Instead of measuring, take CPU, heap, allocation and mutex profiles and a trace of each Keel under the load of each cell, or with --streams under so many open calls, into this folder." placeholder:"DIR"`
	List     bool          `help:"List variants and cells, and end."`
}

func (o *options) Help() string {
	return `Without flags it measures what docs/performance.md has, in about thirteen minutes.

A cell is SIZEk-unique|tail-unary|sse-cCLIENTS: the size of the request; whether its whole
text is new or only its last message; whether the answer is one JSON body or a stream of
100 chunks; how many clients wait for answers.

Examples:
  go run ./e2e/bench
  go run ./e2e/bench --cells 1k-unique-unary-c16 --variants envoy,nothing-log,full
  go run ./e2e/bench --cells 32k-tail-unary-c1 --variants envoy-log,nothing-log,full --rounds 3 --window 2s
  go run ./e2e/bench --cells 1k-unique-sse-c32
  go run ./e2e/bench --cells 1k-unique-unary-c64 --variants full --profile .keel/profile
  go run ./e2e/bench --streams 5000 --profile .keel/profile
  BENCH_FULL=1 go run ./e2e/bench`
}

// parse reads a command line. The exit code is -1 where there is something to do.
func parse(args []string, stdout, stderr io.Writer) (o options, code int) {
	exited := -1
	parser, err := kong.New(&o, kong.Name("bench"), kong.Description("Measures what Keel costs beside an external processor that does nothing."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}))
	if err == nil {
		_, err = parser.Parse(args)
	}
	if exited >= 0 {
		return o, exited
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return o, 2
	}
	return o, -1
}

// run is the command as a function; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, code := parse(args, stdout, stderr)
	if code >= 0 {
		return code
	}
	if o.List {
		list(stdout)
		return 0
	}
	if err := measureAll(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func list(w io.Writer) {
	fmt.Fprintln(w, "variants:")
	for _, v := range variants {
		fmt.Fprintf(w, "  %-22s %s\n", v.name, v.about)
	}
	fmt.Fprintln(w, "cells, with their variants:")
	for _, g := range defaultGroups() {
		fmt.Fprintf(w, "  %-22s %s\n", g.cell, strings.Join(g.all(), " "))
	}
}

// plan is what o asks for.
func (o options) plan() ([]group, error) {
	groups := defaultGroups()
	if o.Full {
		groups = fullGroups()
	}
	if len(o.Cells) > 0 {
		var picked []group
		for _, name := range o.Cells {
			c, err := parseCell(name)
			if err != nil {
				return nil, err
			}
			g := group{c, added, beside, otherRounds}
			if i := slices.IndexFunc(groups, func(g group) bool { return g.cell == c }); i >= 0 {
				g = groups[i]
			}
			picked = append(picked, g)
		}
		groups = picked
	}
	for i := range groups {
		if o.Peers && i == 0 {
			groups[i].shown = slices.Concat(groups[i].shown, peers)
		}
		if len(o.Variants) > 0 {
			groups[i].variants, groups[i].shown = o.Variants, nil
		}
		if o.Rounds > 0 {
			groups[i].rounds = o.Rounds
		}
	}
	for _, name := range o.Variants {
		if variantOf(name) == nil {
			return nil, fmt.Errorf("no variant %q; there are %s", name, strings.Join(variantNames(), ", "))
		}
	}
	return groups, nil
}

func measureAll(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	groups, err := o.plan()
	if err != nil {
		return err
	}
	root, err := checkout()
	if err != nil {
		return err
	}
	text, err := readProse(root)
	if err != nil {
		return err
	}
	s, err := build(ctx, root, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := &runner{stage: s, prose: text, window: o.Window, limit: o.Limit}
	if o.Limit == 0 && !o.Full {
		r.limit = defaultLimit
	}
	if o.Profile != "" {
		s.pprof = true
		if o.Streams > 0 { // of open calls alone
			return r.profileStreams(ctx, "full", o.Streams, o.Profile, stdout)
		}
		for _, g := range groups {
			for _, name := range g.all() {
				if err := r.profile(ctx, g.cell, name, o.Profile, stdout); err != nil {
					return err
				}
			}
		}
		return nil
	}
	page := report{window: o.Window, began: time.Now(), command: strings.Join(append([]string{"go run ./e2e/bench"}, os.Args[1:]...), " ")}
	page.loads[0] = loadAverage()
	err = r.runAll(ctx, groups, func(m *measured) {
		page.results = append(page.results, m)
		m.write(stdout)
	})
	if err != nil {
		return err
	}
	if o.Streams == 0 && len(o.Cells) == 0 {
		o.Streams = limitStreams
	}
	var failed error // the cells are told all the same
	if o.Streams > 0 {
		page.streams, failed = r.openStreams(ctx, "full", o.Streams)
	}
	page.took, page.loads[1], page.machine = time.Since(page.began), loadAverage(), describeMachine(s)
	if !o.picked() || o.Out {
		file, err := page.save(root)
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "bench: %s is written\n", file)
	}
	fmt.Fprintln(stdout)
	writeMusts(stdout, &page)
	return failed
}

const defaultLimit = 12 * time.Minute

// picked reports whether only a part is measured.
func (o options) picked() bool { return len(o.Cells) > 0 || len(o.Variants) > 0 || o.Rounds > 0 }

// checkout is the root of Keel's source.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "e2e", "bench", "nothing")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it in Keel's checkout: it builds what it measures")
		}
	}
}
