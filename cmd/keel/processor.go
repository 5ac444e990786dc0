package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"keel/budget"
	"keel/budget/audit"
	"keel/budget/audit/alert"
	"keel/budget/audit/pages"
	"keel/budget/ledger"
	"keel/envoy"
	"keel/filter"
	"keel/filter/spans"
	"keel/pricing"
	"keel/pricing/tokens"
)

// configCache is the last good configuration, beside the journal, for a start without the database.
const configCache = "config-cache.json"

// calibrateEvery is how often closeouts teach the estimator.
const calibrateEvery = time.Minute

// healthEvery is how often replicas tell each other how targets do.
const healthEvery = time.Second

// processor is what serve and dev have in common: the ledger, the configuration
// that follows the database, the services that Envoy calls and the admin page.
type processor struct {
	log    *slog.Logger
	ledger *ledger.Ledger
	config atomic.Pointer[budget.Config]
	filter *filter.Server
	admin  *http.Server
	pages  *pages.Server // nil where there are none
	alerts *alert.Watcher

	pseudonyms *budget.PseudonymKeys
	metrics    *prometheus.Registry
	spans      *spans.Sender // nil where nobody asked for them

	adminAddr, grpcAddr string
	failed              chan error // a listener that died
	stop                context.CancelFunc
	following           sync.WaitGroup
	stopAudit           context.CancelFunc
	auditing            sync.WaitGroup
}

type processorOptions struct {
	GRPC, Admin, Database string
	Journal               string // folder for what must outlive the process
	Segment               int64  // bytes of a file in it, 64 MiB when 0
	Hosts                 map[string]string
	OrphanAfter           time.Duration // see ledger.Options.StaleAfter
	Audit                 *audit.Sequencer
	Transport             transportFlags
	MaxCalls              int // see filter.Options
	Review                reviewFlags
	Alerts                alertFlags
	Pseudonyms            *budget.PseudonymKeys // nil where there is no key
	Profiles              profileFlags
	Spans                 spanFlags
	Log                   *slog.Logger
}

// startProcessor returns a processor that answers Envoy. Without the database it
// starts from the configuration cached in Journal, or not at all: budgets that
// can't be known can't be enforced.
func startProcessor(ctx context.Context, o processorOptions) (_ *processor, err error) {
	if err := os.MkdirAll(o.Journal, 0o700); err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	grpcListener, err := listen("gRPC", "--grpc", o.GRPC)
	if err != nil {
		return nil, err
	}
	defer closeOnError(&err, grpcListener)
	adminListener, err := listen("admin", "--admin", o.Admin)
	if err != nil {
		return nil, err
	}
	defer closeOnError(&err, adminListener)
	if err := o.Profiles.check(adminListener.Addr()); err != nil {
		return nil, err
	}
	review, err := o.Review.open(o, adminListener.Addr())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && review != nil {
			review.Close()
		}
	}()

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerBuild(metrics)
	transport, err := o.Transport.tls(grpcListener.Addr(), o.Log, metrics)
	if err != nil {
		return nil, err
	}
	p := &processor{
		metrics:   metrics,
		log:       o.Log,
		pages:     review,
		adminAddr: adminListener.Addr().String(),
		grpcAddr:  addressOf(grpcListener),
		failed:    make(chan error, 2),

		pseudonyms: o.Pseudonyms,
	}
	p.ledger, err = ledger.Open(ctx, o.Database, ledger.Options{AllowAway: true, Logger: o.Log, StaleAfter: o.OrphanAfter, Journal: o.Journal, JournalSegment: o.Segment})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.ledger.Close(ctx)
		}
	}()
	registerLedger(metrics, p.ledger)
	registerAudit(metrics, o.Audit)
	cache := filepath.Join(o.Journal, configCache)
	first, err := p.firstDocuments(ctx, cache)
	if err != nil {
		return nil, err
	}
	config, err := budget.Compile(first.Documents, pricing.Catalog())
	if err != nil {
		return nil, fmt.Errorf("the stored configuration can't be enforced; mend it with \"keel apply\": %w", err)
	}
	if asks := config.AnyPseudonym(); asks != "" && o.Pseudonyms == nil {
		return nil, fmt.Errorf("%s asks for pseudonyms: give their key with --pseudonym-key (\"keel audit keys pseudonym\" makes one)", asks)
	}
	p.config.Store(config)
	p.namesOtherKeys(config)

	if p.spans, err = o.Spans.start(ctx, o.Log, metrics); err != nil {
		return nil, err
	}
	if p.alerts, err = o.Alerts.start(o, metrics); err != nil {
		return nil, err
	}
	estimator := tokens.New()
	watch, stop := context.WithCancel(context.Background())
	p.stop = stop
	health := budget.NewHealth()
	p.following.Go(func() {
		p.ledger.Watch(watch, first, func(documents budget.Documents) { p.follow(documents, cache) },
			func(err error) { p.log.Warn("configuration: not followed", "error", err) })
	})
	p.following.Go(func() {
		p.ledger.Calibrate(watch, estimator, calibrateEvery,
			func(err error) { p.log.Warn("calibration: estimates keep what they last learned", "error", err) })
	})
	p.following.Go(func() {
		p.ledger.ShareHealth(watch, health, healthEvery,
			func(err error) { p.log.Warn("health of targets: not shared", "error", err) })
	})
	variance := newVariance(metrics)
	p.following.Go(func() { variance.follow(watch, o.Database, o.Log) })

	sequence, stopAudit := context.WithCancel(context.Background())
	p.stopAudit = stopAudit
	p.auditing.Go(func() { o.Audit.Run(sequence) })

	p.filter = filter.New(filter.Options{
		Spans:   p.spans,
		Config:  &p.config,
		Decider: &budget.Decider{Ledger: p.ledger, Estimator: estimator, Health: health},
		Ledger:  p.ledger,
		Logger:  o.Log,
		Metrics: metrics,
		Hosts:   o.Hosts,
		TLS:     transport, MaxCalls: o.MaxCalls,

		Pseudonyms: o.Pseudonyms,
		Undecided:  p.ledger.Undecided, MissedAfter: 2 * o.OrphanAfter,
	})
	p.following.Go(func() { p.filter.FindMissed(watch) })
	p.following.Go(func() { steerCollector(watch, p.filter.Streams) })
	go func() { p.failed <- p.filter.Serve(grpcListener) }()

	p.admin = &http.Server{Handler: p.adminPages(o.Profiles), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := p.admin.Serve(adminListener); !errors.Is(err, http.ErrServerClosed) {
			p.failed <- err
		}
	}()
	if err := releaseBinary(); err != nil {
		o.Log.Info("memory: pages of the binary that only the start needed stay mapped", "error", err)
	}
	return p, nil
}

// firstDocuments reads the configuration from the database, else from cache.
func (p *processor) firstDocuments(ctx context.Context, cache string) (ledger.Snapshot, error) {
	first, err := p.ledger.Snapshot(ctx)
	if err == nil {
		return first, ledger.SaveCache(cache, first.Documents)
	}
	if !errors.Is(err, budget.ErrUnavailable) {
		return first, err
	}
	documents, cacheErr := ledger.LoadCache(cache)
	if errors.Is(cacheErr, os.ErrNotExist) {
		return first, fmt.Errorf("no configuration: the database can't be reached (%w), and there is none cached in %s; start when Postgres is up", err, cache)
	}
	if cacheErr != nil {
		return first, fmt.Errorf("no configuration: the database can't be reached (%w), and the cache can't be used: %w", err, cacheErr)
	}
	p.log.Warn("started without the database, from the cached configuration; calls follow the offline setting", "cache", cache, "error", err)
	return ledger.Snapshot{Documents: documents}, nil
}

// follow puts a changed configuration into force. A document that can't be
// compiled keeps its last good version: a slip in one row must not free, or
// stop, everybody's traffic.
func (p *processor) follow(documents budget.Documents, cache string) {
	config, err := budget.CompileKeeping(documents, pricing.Catalog(), p.config.Load())
	if err != nil {
		p.log.Error("configuration: documents keep their last good version", "error", err)
	}
	p.config.Store(config)
	p.namesOtherKeys(config)
	if err := ledger.SaveCache(cache, documents); err != nil {
		p.log.Error("configuration could not be cached; a start without the database would use an older one", "error", err)
	}
}

// namesOtherKeys warns of budgets that a rotation of the key left without calls.
func (p *processor) namesOtherKeys(config *budget.Config) {
	if p.pseudonyms == nil {
		return
	}
	for _, named := range config.NamedPseudonyms() {
		if named.KeyID != p.pseudonyms.InUse() {
			p.log.Warn("configuration: a budget names a pseudonym of a key that is not in use, so no call matches it; \"keel audit pseudonym\" prints the one of now",
				"document", named.Document, "key", named.KeyID, "in use", p.pseudonyms.InUse())
		}
	}
}

// Close ends what runs: new calls are refused, those in flight have until ctx
// ends, then their records are written.
func (p *processor) Close(ctx context.Context) error {
	p.filter.Drain(ctx.Done())
	p.stop()
	p.following.Wait()
	// The deadline was for calls. Records have a time of their own.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := p.admin.Close()
	if spansErr := p.spans.Close(flush); spansErr != nil {
		p.log.Warn("spans: not all could be sent", "error", spansErr)
	}
	p.alerts.Close()
	if p.pages != nil {
		p.pages.Close()
	}
	err = errors.Join(err, p.ledger.Close(flush))
	p.stopAudit() // the last records are in the outbox now: they are taken in, and signed
	p.auditing.Wait()
	return err
}

func (p *processor) adminPages(profiles profileFlags) http.Handler {
	mux := http.NewServeMux()
	profiles.register(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	// Ready means that decisions are made. A database that is away does not make
	// a replica unready: all of them would be at once, and the offline setting
	// already says what happens.
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ok, err := p.ledger.Healthy(); !ok {
			fmt.Fprintln(w, "ok; database away:", err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "keel %s\n\n/review/  /metrics  /healthz  /readyz\n", version())
	})
	if p.pages != nil {
		mux.Handle(pages.Root, p.pages)
	}
	return mux
}

// providerHosts maps host names to providers, for calls that name their provider by Host.
func providerHosts(providers []envoy.Provider) map[string]string {
	hosts := make(map[string]string, len(providers))
	for _, p := range providers {
		hosts[p.Host] = p.Name
	}
	return hosts
}
