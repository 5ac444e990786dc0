package filter

import "github.com/prometheus/client_golang/prometheus"

// metrics are what an operator alerts on. Labels have few values: no model, no
// subject, nothing that a client can choose.
type metrics struct {
	decisions    *prometheus.CounterVec // by api and action
	closeouts    *prometheus.CounterVec // by outcome and by where usage came from
	compared     *prometheus.CounterVec // by how our cost stands to the provider's own
	refused      *prometheus.CounterVec // by code
	notDurable   *prometheus.CounterVec // by durability
	unlabelled   prometheus.Counter     // attempts at endpoints that do not say whose they are
	unseen       prometheus.Counter     // calls in the access log that no decision was made for
	failedOpen   prometheus.Counter     // calls in the access log that passed because the stream to the processor failed
	extended     prometheus.Counter     // of what is held for a watched answer
	streamsEnded prometheus.Counter     // before their provider did
	overloaded   prometheus.Counter     // calls beyond Options.MaxCalls
	inFlight     prometheus.Gauge
	panics       prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keel_decisions_total", Help: "Decisions made, by wire format and action.",
		}, []string{"api", "action"}),
		closeouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keel_closeouts_total", Help: "Decisions closed out by the filter, by outcome and origin of the usage.",
		}, []string{"outcome", "metered"}),
		compared: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keel_provider_costs_total", Help: "Closeouts where the provider reported a cost itself, by how ours stands to it: equal, close (within 1 %), over, under, unpriced.",
		}, []string{"agreement"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keel_refusals_total", Help: "Calls that Keel answered in place of the provider, by code.",
		}, []string{"code"}),
		notDurable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keel_closeouts_not_durable_total", Help: "Answers that ended before their closeout was as durable as the settings ask for.",
		}, []string{"durability"}),
		unlabelled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keel_unlabelled_attempts_total", Help: "Attempts at an endpoint without the metadata keel {provider}, elsewhere than the call was sent: they are charged as its own target.",
		}),
		unseen: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keel_unseen_calls_total", Help: "Calls in the access log that no decision was made for: the filter was bypassed or failed open.",
		}),
		failedOpen: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keel_failed_open_calls_total", Help: "Calls in the access log that Envoy let pass, whole or in part, because the stream to the processor failed.",
		}),
		extended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keel_holds_extended_total", Help: "Times that what is held for a watched answer was extended.",
		}),
		streamsEnded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keel_streams_ended_total", Help: "Streamed answers that a policy ended, because their cost passed what is held and could not be extended.",
		}),
		overloaded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keel_calls_over_limit_total", Help: "Calls that failed closed because too many were in flight: see keel serve --max-calls.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keel_calls_in_flight", Help: "Calls between their request headers and their end.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keel_filter_panics_total", Help: "Streams that ended in a panic; their calls failed closed.",
		}),
	}
	r.MustRegister(m.decisions, m.closeouts, m.compared, m.refused, m.notDurable, m.unlabelled, m.unseen, m.failedOpen, m.extended, m.streamsEnded, m.overloaded, m.inFlight, m.panics)
	return m
}
