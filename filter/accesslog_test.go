package filter

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"keel/budget"
)

func logEntry(t *testing.T, status uint32, details string, metadata map[string]any) *accesslogdatav3.HTTPAccessLogEntry {
	t.Helper()
	carried, err := structpb.NewStruct(metadata)
	if err != nil {
		t.Fatal(err)
	}
	return &accesslogdatav3.HTTPAccessLogEntry{
		CommonProperties: &accesslogdatav3.AccessLogCommon{
			Metadata:                    &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keel": carried}},
			ResponseFlags:               &accesslogdatav3.ResponseFlags{DownstreamConnectionTermination: true, UpstreamRequestTimeout: true},
			UpstreamRequestAttemptCount: 3,
		},
		Request:  &accesslogdatav3.HTTPRequestProperties{Path: "/v1/chat/completions?x=1", Authority: "localhost"},
		Response: &accesslogdatav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(status), ResponseCodeDetails: details},
	}
}

func TestAccessLogAnnotates(t *testing.T) {
	t.Parallel()
	server, ledger := newServer(t)
	const id = "01a20b43-ca9f-7cee-a0a8-57e6149c693d"
	server.note(logEntry(t, 200, "downstream_remote_disconnect", map[string]any{"decision_id": id, "org": "acme"}))
	if len(ledger.annotations) != 1 || len(ledger.recorded) != 0 {
		t.Fatalf("%d annotations, %d decisions recorded; want 1, 0", len(ledger.annotations), len(ledger.recorded))
	}
	a := ledger.annotations[0]
	if a.ID.String() != id || a.Org != "acme" || a.Attempts != 3 || a.HTTPStatus != 200 || a.Details != "downstream_remote_disconnect" ||
		a.Flags != "downstream_connection_termination,upstream_request_timeout" {
		t.Errorf("%+v", a)
	}
}

// A call that reached an upstream without a decision is recorded, and one that
// Envoy answered itself is nothing to pay for.
func TestAccessLogFindsUnmeteredCalls(t *testing.T) {
	t.Parallel()
	server, ledger := newServer(t)
	server.note(logEntry(t, 200, "via_upstream", nil))
	if len(ledger.recorded) != 1 || len(ledger.closeouts) != 1 {
		t.Fatalf("%d recorded, %d closed out; want 1, 1", len(ledger.recorded), len(ledger.closeouts))
	}
	if d, c := ledger.recorded[0], ledger.closeouts[0]; !d.Unmetered || d.ID != c.ID || c.Outcome != budget.Unmetered || d.Path != "/v1/chat/completions" {
		t.Errorf("recorded %+v, closed out %+v", d, c)
	}
	server.note(logEntry(t, 413, "request_payload_too_large", nil))
	if len(ledger.recorded) != 1 {
		t.Error("an answer of Envoy's own was taken for a call")
	}
}

// What the log tells of the attempts of a call that nobody saw the end of.
func TestAccessLogCorrects(t *testing.T) {
	t.Parallel()
	const (
		lost     = `{"number":1,"provider":"openai","model":"gpt-4o-mini","ended":"lost","bound_usd":"0.00021","cost_usd":"0.00021","basis":"full"}`
		input    = `{"number":1,"provider":"openai","model":"gpt-4o-mini","ended":"lost","bound_usd":"0.00021","cost_usd":"0.00015","basis":"input"}`
		billed   = `{"number":1,"provider":"openai","model":"gpt-4o-mini","ended":"failed","status":503,"bound_usd":"0.00021","cost_usd":"0.00001","basis":"usage","usage":{"input":3}}`
		answered = `{"number":1,"provider":"openai","model":"gpt-4o-mini","ended":"answered","status":200,"bound_usd":"0.00021","cost_usd":"0","basis":"nothing"}`
		refused  = `{"number":2,"provider":"openai","model":"gpt-4o-mini","ended":"refused","bound_usd":"0.00021","cost_usd":"0","basis":"free"}`
		nobody   = `{"number":1,"provider":"nobody","model":"x","ended":"lost","bound_usd":"0.00021","cost_usd":"0.00021","basis":"full"}`
	)
	second := strings.Replace(lost, `"number":1`, `"number":2`, 1)
	roomy := strings.Replace(carriedText, `"limit_usd":"0.00021","max_attempts":1`, `"limit_usd":"0.00063","max_attempts":3`, 1)
	for _, tt := range []struct {
		name     string
		call     string
		attempts []string
		count    uint32
		details  string
		want     string // "" where nothing is corrected
	}{
		{"one of three", roomy, []string{lost}, 1, "downstream_remote_disconnect", "0.00021 estimated 1 of 1"},
		{"by its input", roomy, []string{input}, 1, "downstream_remote_disconnect", "0.00015 estimated 1 of 1"},
		{"a billed error, and one that was lost", roomy, []string{billed, second}, 2, "downstream_remote_disconnect", "0.00022 estimated 2 of 2"},
		{"one that was answered is charged whatever the rule", roomy, []string{answered}, 1, "downstream_remote_disconnect", "0.00021 estimated 1 of 1"},
		{"one that was refused", roomy, []string{lost, refused}, 2, "downstream_remote_disconnect", "0.00021 estimated 1 of 2"},
		{"one that has no row", roomy, []string{second}, 2, "downstream_remote_disconnect", "0.00042 estimated 2 of 2"},
		{"no filter in the cluster", roomy, nil, 3, "downstream_remote_disconnect", "0.00063 estimated 3 of 3"},
		{"none left", roomy, nil, 0, "downstream_remote_disconnect", "0 none 0 of 0"},
		{"an Envoy that does not count", roomy, []string{lost}, 0, "downstream_remote_disconnect", ""},
		{"answered", roomy, []string{answered}, 1, "via_upstream", ""},
		{"nobody knows what it cost", roomy, []string{nobody}, 1, "downstream_remote_disconnect", ""},
		{"no envelope", "", []string{lost}, 1, "downstream_remote_disconnect", ""},
		{"another filter writes there", "{", []string{lost}, 1, "downstream_remote_disconnect", ""},
		{"another filter writes an attempt", roomy, []string{"7"}, 1, "downstream_remote_disconnect", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, ledger := newServer(t)
			metadata := map[string]any{"decision_id": "01a20b43-ca9f-7cee-a0a8-57e6149c693d", "org": "default", "call": tt.call}
			for i, text := range tt.attempts {
				n := i + 1
				if strings.Contains(text, `"number":2`) {
					n = 2
				}
				metadata[attemptKey(n)] = text
			}
			entry := logEntry(t, 0, tt.details, metadata)
			entry.CommonProperties.UpstreamRequestAttemptCount = tt.count
			server.note(entry)
			if len(ledger.annotations) != 1 || len(ledger.closeouts) != 0 {
				t.Fatalf("%d annotations, %d closeouts", len(ledger.annotations), len(ledger.closeouts))
			}
			got := ""
			if c := ledger.annotations[0].Correction; c != nil {
				got = fmt.Sprintf("%s %s %d of %d", c.Cost.Total, c.Metered, c.Attempts, len(c.AttemptRows))
				if !c.CostKnown || c.Outcome != budget.Aborted || c.Awaited != (len(c.AttemptRows) > 0) || c.ResponseID != "" {
					t.Errorf("%+v", c)
				}
			}
			if got != tt.want {
				t.Errorf("corrected to %q, want %q", got, tt.want)
			}
			entry.CommonProperties.AccessLogType = accesslogdatav3.AccessLogType_DownstreamPeriodic
			if server.note(entry); len(ledger.annotations) != 1 {
				t.Error("a call that goes on was taken for one that ended")
			}
		})
	}
}
