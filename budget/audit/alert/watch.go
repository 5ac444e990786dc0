package alert

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Options make a Watcher. The zero Webhook delivers nothing: alerts are still written down and counted.
type Options struct {
	Database string // DSN
	Webhook  Webhook
	Every    time.Duration // how often it looks, 30 s when 0
	Logger   *slog.Logger
	Metrics  prometheus.Registerer // nil for none
}

// watchLock is the key of the advisory lock under which one processor at a time looks.
const watchLock = 0x616c6572 // "aler" in ASCII

// keptDays is how long alerts stay in the table.
const keptDays = 90

// Watcher looks and delivers until it is closed.
type Watcher struct {
	o        Options
	pool     *pgxpool.Pool
	client   *http.Client
	stop     context.CancelFunc
	running  sync.WaitGroup
	raised   *prometheus.CounterVec
	sent     *prometheus.CounterVec
	waiting  prometheus.Gauge
	lastLook prometheus.Gauge
}

// Start begins to watch. The database may be away: it is tried again.
func Start(o Options) (*Watcher, error) {
	w, err := newWatcher(o)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.running.Go(func() {
		w.every(ctx, w.o.Every, func() {
			if err := w.look(ctx); err != nil && ctx.Err() == nil {
				w.o.Logger.Warn("alerts: could not look, will try again", "error", err)
			}
		})
	})
	if o.Webhook.URL != "" {
		w.running.Go(func() { w.every(ctx, min(w.o.Every, 5*time.Second), func() { w.deliverAll(ctx) }) })
	}
	return w, nil
}

func newWatcher(o Options) (*Watcher, error) {
	o.Every = cmp.Or(o.Every, 30*time.Second)
	config, err := pgxpool.ParseConfig(o.Database)
	if err != nil {
		return nil, fmt.Errorf("alerts: database address: %w", err)
	}
	config.MaxConns = 2
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	config.ConnConfig.RuntimeParams["application_name"] = "keel alerts"
	config.ConnConfig.RuntimeParams["statement_timeout"] = "30000"
	w := &Watcher{o: o, client: newClient(), stop: func() {},
		raised:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keel_alerts_total", Help: "Alerts that this processor was the first to find, by kind."}, []string{"kind"}),
		sent:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keel_alert_deliveries_total", Help: "Deliveries to the alert webhook, by result: delivered, failed."}, []string{"result"}),
		waiting:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "keel_alerts_undelivered", Help: "Alerts that the webhook has not taken yet; 0 without a webhook."}),
		lastLook: prometheus.NewGauge(prometheus.GaugeOpts{Name: "keel_alerts_looked_timestamp_seconds", Help: "When this processor last looked for alerts, or found that another one does."}),
	}
	for _, k := range Kinds {
		w.raised.WithLabelValues(string(k))
	}
	for _, result := range []string{"delivered", "failed"} {
		w.sent.WithLabelValues(result)
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(w.raised, w.sent, w.waiting, w.lastLook)
	}
	if w.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fmt.Errorf("alerts: connection pool: %w", err)
	}
	return w, nil
}

func (w *Watcher) every(ctx context.Context, d time.Duration, do func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Close stops. A delivery that is under way is cut, and made again by whoever is next.
func (w *Watcher) Close() {
	w.stop()
	w.running.Wait()
	w.pool.Close()
}

// look finds what is new and writes it down. One processor at a time does; the others' turn comes with the next look.
func (w *Watcher) look(ctx context.Context) error {
	var fresh []Alert
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "select pg_try_advisory_xact_lock($1)", watchLock).Scan(&mine); err != nil || !mine {
			return err
		}
		for _, find := range []func() ([]Alert, error){
			func() ([]Alert, error) { return budgets(ctx, tx) },
			func() ([]Alert, error) { return unmetered(ctx, tx) },
			func() ([]Alert, error) { return unpriced(ctx, tx) },
			func() ([]Alert, error) { return variance(ctx, tx) },
			func() ([]Alert, error) { return missing(ctx, tx) },
		} {
			found, err := find()
			if err != nil {
				return err
			}
			if len(found) >= mostFound {
				w.o.Logger.Warn("alerts: more than can be told at once", "kind", found[0].Kind, "told", len(found))
			}
			for _, a := range found {
				isFresh, err := Raise(ctx, tx, a)
				if err != nil {
					return err
				}
				if isFresh {
					fresh = append(fresh, a)
				}
			}
		}
		_, err := tx.Exec(ctx, "delete from keel.alerts where raised_at < now() - make_interval(days => $1)", keptDays)
		return err
	})
	if err != nil {
		return err
	}
	for _, a := range fresh { // what was kept is counted, and nothing else
		w.raised.WithLabelValues(string(a.Kind)).Inc()
		w.o.Logger.Warn("alert: "+a.Text, "org", a.Org, "kind", a.Kind)
	}
	w.lastLook.SetToCurrentTime()
	return nil
}
