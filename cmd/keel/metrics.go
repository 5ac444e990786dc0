package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"keel/budget/audit"
	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// registerBuild publishes what this binary is.
func registerBuild(r prometheus.Registerer) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keel_build_info", Help: "1; what runs, and the price catalogue in it."}, []string{"version", "prices"})
	build.WithLabelValues(version(), pricing.Catalog().Version()).Set(1)
	checked := prometheus.NewGauge(prometheus.GaugeOpts{Name: "keel_prices_checked_timestamp_seconds", Help: "The day on which the price catalogue in this binary was last compared with what providers publish."})
	checked.Set(float64(pricing.Catalog().Checked().Unix()))
	r.MustRegister(build, checked)
}

// registerAudit publishes how the audit log is doing.
func registerAudit(r prometheus.Registerer, s *audit.Sequencer) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keel_audit_refused", Help: "1 while this processor takes records into the audit log and does not sign them: what is stored contradicts what was signed, or its key is not the log's."}, func() float64 {
		if s.Refuses() {
			return 1
		}
		return 0
	}))
}

// registerLedger publishes how the ledger is doing, read when it is asked for.
func registerLedger(r prometheus.Registerer, l *ledger.Ledger) {
	gauge := func(name, help string, value func(escrow.Stats) float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(l.Stats()) }))
	}
	counter := func(name, help string, value func(escrow.Stats) int64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value(l.Stats())) }))
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keel_ledger_up", Help: "1 while the database answers."}, func() float64 {
		if ok, _ := l.Healthy(); ok {
			return 1
		}
		return 0
	}))
	gauge("keel_journal_waiting_bytes", "Bytes of the journal that are not settled yet.", func(s escrow.Stats) float64 { return float64(s.JournalBytes) })
	gauge("keel_journal_free_bytes", "About what can still be written to the journal before it is full: of its disk, or of its limit; 0 while none can be written.", func(s escrow.Stats) float64 { return float64(s.JournalFree) })
	gauge("keel_journal_unkept_records", "Records in memory only, because no journal can be written.", func(s escrow.Stats) float64 { return float64(s.Unkept) })
	gauge("keel_open_calls", "Calls that are permitted and not closed.", func(s escrow.Stats) float64 { return float64(s.Open) })
	gauge("keel_idle_slices_dollars", "What is leased and held by no call.", func(s escrow.Stats) float64 { return float64(s.Leased) / 1e9 })
	gauge("keel_clock_offset_seconds", "This processor's clock less the database's, as of the last heartbeat.", func(s escrow.Stats) float64 { return s.ClockOffset.Seconds() })
	counter("keel_records_lost_total", "Records that were never written, because no journal could be and memory for them was full. Each is logged.", func(s escrow.Stats) int64 { return s.Unrecorded })
	counter("keel_debt_nanodollars_total", "Permitted as debt while the database was away.", func(s escrow.Stats) int64 { return s.Debt })
	counter("keel_leases_total", "Requests for slices that the database answered.", func(s escrow.Stats) int64 { return s.Leases })
	counter("keel_permits_waited_total", "Permits that had to ask the database.", func(s escrow.Stats) int64 { return s.Waited })
	counter("keel_permits_refused_total", "Permits that found no room.", func(s escrow.Stats) int64 { return s.Refusals })
	counter("keel_recalls_total", "Times that idle slices of other processors were asked for.", func(s escrow.Stats) int64 { return s.Recalls })
	counter("keel_slices_returned_total", "Slices given back.", func(s escrow.Stats) int64 { return s.Returns })
	counter("keel_database_failovers_total", "Times that the database was found to lack what it had.", func(s escrow.Stats) int64 { return s.Forgotten })
}
