package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// well is what a processor publishes with which nothing is wrong. e2e.TestDoctor looks at real ones.
const well = `
# TYPE keel_build_info gauge
keel_build_info{prices="p",version="v1"} 1
# TYPE keel_ledger_up gauge
keel_ledger_up 1
# TYPE keel_journal_waiting_bytes gauge
keel_journal_waiting_bytes 2e6
# TYPE keel_journal_free_bytes gauge
keel_journal_free_bytes 8e9
# TYPE keel_journal_unkept_records gauge
keel_journal_unkept_records 0
# TYPE keel_records_lost_total counter
keel_records_lost_total 0
# TYPE keel_audit_refused gauge
keel_audit_refused 0
# TYPE keel_decisions_total counter
keel_decisions_total{action="allow",api="openai-chat"} 90
keel_decisions_total{action="deny",api="openai-chat"} 10
# TYPE keel_closeouts_total counter
keel_closeouts_total{metered="provider",outcome="complete"} 79
keel_closeouts_total{metered="estimated",outcome="complete"} 1
keel_closeouts_total{metered="estimated",outcome="aborted"} 10
# TYPE keel_refusals_total counter
keel_refusals_total{code="budget"} 10
# TYPE keel_unseen_calls_total counter
keel_unseen_calls_total 0
# TYPE keel_prices_checked_timestamp_seconds gauge
keel_prices_checked_timestamp_seconds NOW
`

func TestProcessor(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		old, with string // of what is published
		want      string // the findings that are not ok
	}{
		"well":            {"", "", ""},
		"database away":   {"keel_ledger_up 1", "keel_ledger_up 0", "error keel-database: the database answers: false"},
		"journal failing": {"keel_journal_unkept_records 0", "keel_journal_unkept_records 3", "error journal: 3 records are in memory only, 0 were lost"},
		"records lost":    {"keel_records_lost_total 0", "keel_records_lost_total 2", "error journal: 0 records are in memory only, 2 were lost"},
		"nothing signed":  {"keel_audit_refused 0", "keel_audit_refused 1", "error audit-signing: this processor refuses to sign the audit log: true"},
		"journal filling": {"keel_journal_free_bytes 8e9", "keel_journal_free_bytes 5e8", "warning journal-space: 2.0 MB wait to be settled, 500.0 MB can still be written"},
		"journal full":    {"keel_journal_free_bytes 8e9", "keel_journal_free_bytes 0", "error journal-space: 2.0 MB wait to be settled, 0.0 MB can still be written"},
		"bodies":          {`code="budget"`, `code="body_too_large"`, "warning bodies: of 110 calls Envoy gave up 10 before their body was here"},
		"bypassed":        {"keel_unseen_calls_total 0", "keel_unseen_calls_total 1", "error bypassed: 1 calls are in Envoy's access log that no filter asked about"},
		"some usage":      {`{metered="estimated",outcome="complete"} 1`, `{metered="estimated",outcome="complete"} 21`, "warning usage: of 100 calls that were answered, the provider's usage was seen of 79"},
		"no usage":        {`{metered="provider",outcome="complete"} 79`, `{metered="provider",outcome="complete"} 0`, "error usage: the provider's usage was seen of none of 11 calls, and the end of 1"},
		"old prices":      {"NOW", fmt.Sprint(now.AddDate(0, 0, -90).Unix()), "warning prices: the price catalogue was compared with what providers publish on " + now.UTC().AddDate(0, 0, -90).Format(time.DateOnly) + ", 90 days ago"},
		"another":         {"keel_ledger_up", "other_up", "away keel: what answers there is no processor of this version: its metrics have no keel_ledger_up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.ReplaceAll(well, c.old, c.with)
			if c.old == "" {
				text = well
			}
			text = strings.ReplaceAll(text, "NOW", fmt.Sprint(now.Unix()))
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, text) }))
			defer server.Close()
			r := Look(t.Context(), Patient{Admins: []string{server.Listener.Addr().String()}})
			var wrong []string
			for _, f := range r.Findings {
				if f.Status != OK {
					wrong = append(wrong, fmt.Sprintf("%s %s: %s", f.Status, f.Check, f.Saw))
				}
				if (f.Status == OK) != (f.Fix == "") || f.At != server.URL {
					t.Errorf("%+v", f)
				}
			}
			if got := strings.Join(wrong, "\n"); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			if c.want == "" && len(r.Findings) != 9 {
				t.Errorf("%d findings", len(r.Findings))
			}
		})
	}
}

// A processor's cluster is found in both kinds of filter, once.
func TestProcessorClusters(t *testing.T) {
	t.Parallel()
	dump := `{"configs": [{"a": [{"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", "grpc_service": {"envoy_grpc": {"cluster_name": "keel"}}},
		{"typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}}}},
		{"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", "grpc_service": {"envoy_grpc": {"cluster_name": "keel"}}}, {"@type": 3}]}]}`
	if got := fmt.Sprint(processorClusters([]byte(dump))); got != "[authz keel]" {
		t.Error(got)
	}
}
