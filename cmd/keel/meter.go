package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"keel/budget"
	"keel/filter/metering"
	"keel/filter/wire/recording"
	"keel/pricing"
	"keel/pricing/tokens"
)

type meterCmd struct {
	Files  []string  `arg:"" optional:"" help:"Files of recorded exchanges, JSON lines, plain or .gz; standard input without." placeholder:"FILE"`
	Config []string  `help:"YAML file with Price documents that override the vendored catalogue. May be given more than once." sep:"none" placeholder:"FILE"`
	At     time.Time `help:"Price date of exchanges that tell none themselves: RFC 3339. Now, unless given." placeholder:"TIME"`
	Lines  bool      `help:"Add to each result the lines of its cost: meter, quantity, rate, amount, price row."`
	Quiet  bool      `short:"q" help:"No progress and no summary on standard error."`
}

func (c *meterCmd) Help() string {
	return `Each line is one request with its response, as a recorder saw them, bodies decoded:
  {"id", "provider", "host", "method", "path", "request_headers", "request_body" or "request_body_b64",
   "status", "response_headers", "response_body" or "response_body_b64", "stream"}
Each result is one line, in the order of the input. A line that can't be read
gives a result with an error, and the next one is read.

Examples:
  keel meter < exchanges.jsonl
  keel meter --config prices.yaml --lines exchanges.jsonl.gz | jq -r '[.id, .cost_usd] | @tsv'`
}

func (c *meterCmd) Run(ctx context.Context, m *Main) error {
	book, err := bookWith(c.Config, m.Stdin)
	if err != nil {
		return err
	}
	run := meterRun{
		meter: metering.Meter{Book: book, Estimator: tokens.New(), At: orNow(c.At)},
		lines: c.Lines, out: bufio.NewWriterSize(m.Stdout, 1<<16), progress: progressTo(m.Stderr, c.Quiet),
	}
	if len(c.Files) == 0 {
		err = run.read(ctx, m.Stdin)
	}
	for _, name := range c.Files {
		if err = run.readFile(ctx, name, m.Stdin); err != nil {
			break
		}
	}
	if err := errors.Join(err, run.out.Flush()); err != nil {
		return err
	}
	if !c.Quiet {
		run.progress.clear()
		run.summary.write(m.Stderr)
	}
	return nil
}

// bookWith is the vendored catalogue under the Price documents of files.
func bookWith(files []string, stdin io.Reader) (*pricing.Book, error) {
	documents, err := readFiles(files, stdin)
	if err != nil {
		return nil, err
	}
	config, err := budget.Compile(documents, pricing.Catalog())
	if err != nil {
		return nil, err
	}
	return config.Book(budget.DefaultOrg), nil
}

// meterRun is one run over all its files.
type meterRun struct {
	meter    metering.Meter
	lines    bool
	out      *bufio.Writer
	progress *progress
	summary  meterSummary
}

func (r *meterRun) readFile(ctx context.Context, name string, stdin io.Reader) error {
	if name == "-" {
		return r.read(ctx, stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	var in io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(bufio.NewReader(file)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := r.read(ctx, in); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// meteredLine is one line of output and what the summary needs of it.
type meteredLine struct {
	line   []byte
	result *metering.Result // nil for a line that is no exchange
	err    error            // of reading or writing: it ends the run
}

// read meters in on every core and writes in order. At most a few lines a core
// are in memory at once.
func (r *meterRun) read(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	order := make(chan chan meteredLine, 4*workers)
	running := make(chan struct{}, workers)
	go func() {
		defer close(order)
		reader := recording.NewReader(in)
		for {
			x, err := reader.Next()
			var bad *recording.LineError
			if errors.Is(err, io.EOF) {
				return
			}
			done := make(chan meteredLine, 1)
			select {
			case order <- done:
			case <-ctx.Done():
				return
			}
			switch {
			case errors.As(err, &bad):
				done <- meteredLine{line: badLine(bad)}
			case err != nil:
				done <- meteredLine{err: err}
				return
			default:
				running <- struct{}{}
				go func() {
					defer func() { <-running }()
					result := r.meter.Meter(x)
					line, err := resultLine(x.ID, result, r.lines)
					done <- meteredLine{line: line, result: result, err: err}
				}()
			}
		}
	}()
	for done := range order {
		one := <-done
		if one.err != nil {
			return one.err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := r.out.Write(one.line); err != nil {
			return err
		}
		r.summary.add(one.result)
		r.progress.step(r.summary.exchanges, r.summary.failed)
	}
	return nil
}

// meterSummary is what a run found, for people.
type meterSummary struct {
	exchanges, usage, priced, failed int
	total                            pricing.NanoUSD
	unpriced                         map[string]int // by provider and model
}

func (s *meterSummary) add(r *metering.Result) {
	s.exchanges++
	if r == nil || r.Err != nil {
		s.failed++
	}
	if r == nil || r.Reading.Usage == nil {
		return
	}
	s.usage++
	if r.Priced {
		s.priced++
		if total, err := s.total.Add(r.Cost.Total); err == nil {
			s.total = total
		}
		return
	}
	if s.unpriced == nil {
		s.unpriced = map[string]int{}
	}
	s.unpriced[r.Provider+"/"+r.Model]++
}

func (s *meterSummary) write(w io.Writer) {
	fmt.Fprintf(w, "%d exchanges: %d with usage, %d of them priced, %s USD together; %d with an error\n",
		s.exchanges, s.usage, s.priced, s.total, s.failed)
	for _, name := range slices.Sorted(maps.Keys(s.unpriced)) {
		fmt.Fprintf(w, "no price: %s (%d)\n", name, s.unpriced[name])
	}
}
