package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keel/budget/audit/reconcile"
)

const (
	varianceEvery = time.Minute
	varianceDays  = 62 // of statements that count: this month's and the last's
)

// variance publishes how far statements are from the record. It is read from
// the database now and then: nobody waits for it.
type variance struct{ open, stated, at *prometheus.GaugeVec }

func newVariance(r prometheus.Registerer) *variance {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"org", "provider"})
		r.MustRegister(g)
		return g
	}
	return &variance{
		open:   gauge("keel_variance_dollars", "What the provider's newest statements are above what is recorded and accepted, of the last 62 days."),
		stated: gauge("keel_stated_dollars", "What the provider's newest statements say, of the last 62 days."),
		at:     gauge("keel_reconciled_timestamp_seconds", "When the provider was last reconciled."),
	}
}

func (v *variance) follow(ctx context.Context, dsn string, log *slog.Logger) {
	for {
		if watched, err := reconcile.Watch(ctx, dsn, time.Now().AddDate(0, 0, -varianceDays)); err == nil {
			v.set(watched)
		} else if ctx.Err() == nil {
			log.Debug("variance: not read", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(varianceEvery):
		}
	}
}

// set replaces what was published: what is gone from the database is gone here.
func (v *variance) set(watched []reconcile.Watched) {
	for _, g := range []*prometheus.GaugeVec{v.open, v.stated, v.at} {
		g.Reset()
	}
	for _, w := range watched {
		v.open.WithLabelValues(w.Org, w.Provider).Set(float64(w.Open) / 1e9)
		v.stated.WithLabelValues(w.Org, w.Provider).Set(float64(w.Stated) / 1e9)
		v.at.WithLabelValues(w.Org, w.Provider).Set(float64(w.At.Unix()))
	}
}
