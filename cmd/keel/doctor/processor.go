package doctor

import (
	"bytes"
	"context"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	journalWarning = 1 << 30   // bytes left: an hour at 100 calls a second
	journalError   = 128 << 20 // two segments: it is full at any moment
	pricesOld      = 60 * 24 * time.Hour
)

func lookAtProcessor(ctx context.Context, r *Report, at string) {
	text, err := get(ctx, at+"/metrics")
	if err != nil {
		r.add(keelAnswers.wrong(Away, at, "%v", err))
		return
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	m := metrics(families)
	if err != nil || m["keel_ledger_up"] == nil {
		r.add(keelAnswers.wrong(Away, at, "what answers there is no processor of this version: its metrics have no keel_ledger_up"))
		return
	}
	r.add(keelAnswers.ok(at, "answers, %s", m.label("keel_build_info", "version")))
	r.add(ledgerUp.judge(m.sum("keel_ledger_up") == 0, Error, at, "the database answers: %v", m.sum("keel_ledger_up") == 1))

	unkept, lost := m.sum("keel_journal_unkept_records"), m.sum("keel_records_lost_total")
	r.add(journalKeeps.judge(unkept+lost > 0, Error, at, "%.0f records are in memory only, %.0f were lost", unkept, lost))
	free, status := m.sum("keel_journal_free_bytes"), Warning
	if free < journalError {
		status = Error
	}
	r.add(journalSpace.judge(free < journalWarning, status, at, "%.1f MB wait to be settled, %.1f MB can still be written", m.sum("keel_journal_waiting_bytes")/1e6, free/1e6))

	r.add(auditSigned.judge(m.sum("keel_audit_refused") > 0, Error, at, "this processor refuses to sign the audit log: %v", m.sum("keel_audit_refused") > 0))

	notRead := m.sum("keel_refusals_total", "code", "not_read") + m.sum("keel_refusals_total", "code", "body_too_large")
	decided := m.sum("keel_decisions_total")
	if decided+notRead == 0 {
		r.add(bodies.unseen(at, "no call has come yet"))
	} else {
		r.add(bodies.judge(notRead > 0, Warning, at, "of %.0f calls Envoy gave up %.0f before their body was here", decided+notRead, notRead))
	}
	unseen := m.sum("keel_unseen_calls_total")
	r.add(bypassed.judge(unseen > 0, Error, at, "%.0f calls are in Envoy's access log that no filter asked about", unseen))
	judgeUsage(r, at, m)

	checked := time.Unix(int64(m.sum("keel_prices_checked_timestamp_seconds")), 0).UTC()
	age := time.Since(checked)
	r.add(prices.judge(age > pricesOld, Warning, at, "the price catalogue was compared with what providers publish on %s, %s ago", checked.Format(time.DateOnly), rough(age)))
}

// judgeUsage looks at how calls that came whole were metered: one that was cut is estimated however well all is attached. Where none came
// whole, no end of an answer was seen.
func judgeUsage(r *Report, at string, m metrics) {
	whole, cut := m.sum("keel_closeouts_total", "outcome", "complete"), m.sum("keel_closeouts_total", "outcome", "aborted")
	seen := m.sum("keel_closeouts_total", "outcome", "complete", "metered", "provider")
	switch {
	case whole+cut == 0:
		r.add(usage.unseen(at, "no call has been answered yet"))
	case seen == 0:
		r.add(usage.wrong(Error, at, "the provider's usage was seen of none of %.0f calls, and the end of %.0f", whole+cut, whole))
	default:
		r.add(usage.judge(seen < (1-usageTolerated)*whole, Warning, at, "of %.0f calls that were answered, the provider's usage was seen of %.0f", whole, seen))
	}
}

// usageTolerated is the share of whole answers that may come without a usage: some hosts tell none.
const usageTolerated = 0.05

// metrics are what a processor publishes, by name.
type metrics map[string]*dto.MetricFamily

// sum adds up the series of a metric that have all the labels, given as name, value.
func (m metrics) sum(name string, labels ...string) (sum float64) {
	for _, series := range m[name].GetMetric() {
		if has(series, labels) {
			sum += series.GetCounter().GetValue() + series.GetGauge().GetValue() + series.GetUntyped().GetValue()
		}
	}
	return sum
}

func (m metrics) label(name, label string) string {
	for _, series := range m[name].GetMetric() {
		for _, l := range series.GetLabel() {
			if l.GetName() == label {
				return l.GetValue()
			}
		}
	}
	return ""
}

func has(series *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		found := false
		for _, l := range series.GetLabel() {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}
