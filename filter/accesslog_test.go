package filter

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"keel/budget"
	"keel/filter/frame"
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

// lineOf is an entry as it is read when Envoy sends it.
func lineOf(t testing.TB, entry *accesslogdatav3.HTTPAccessLogEntry) *frame.Line {
	t.Helper()
	return &readLogs(t, frameOf(t, entry)).Lines[0]
}

// frameOf is a message with so many entries.
func frameOf(t testing.TB, entries ...*accesslogdatav3.HTTPAccessLogEntry) mem.BufferSlice {
	t.Helper()
	data, err := proto.Marshal(&accesslogv3.StreamAccessLogsMessage{
		LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}
}

func readLogs(t testing.TB, data mem.BufferSlice) *frame.Logs {
	t.Helper()
	m := new(frame.Logs)
	if err := frame.NewCodec().Unmarshal(data, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAccessLogAnnotates(t *testing.T) {
	t.Parallel()
	server, ledger := newServer(t)
	const id = "01a20b43-ca9f-7cee-a0a8-57e6149c693d"
	server.note(lineOf(t, logEntry(t, 200, "downstream_remote_disconnect", map[string]any{"decision_id": id, "org": "acme"})))
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
	server.note(lineOf(t, logEntry(t, 200, "via_upstream", nil)))
	if len(ledger.recorded) != 1 || len(ledger.closeouts) != 1 {
		t.Fatalf("%d recorded, %d closed out; want 1, 1", len(ledger.recorded), len(ledger.closeouts))
	}
	if d, c := ledger.recorded[0], ledger.closeouts[0]; !d.Unmetered || d.ID != c.ID || c.Outcome != budget.Unmetered || d.Path != "/v1/chat/completions" {
		t.Errorf("recorded %+v, closed out %+v", d, c)
	}
	for _, tt := range []struct {
		name     string
		details  string
		metadata map[string]any
		change   func(*accesslogdatav3.AccessLogCommon)
		recorded bool
	}{
		{"an answer of Envoy's own", "request_payload_too_large", nil, func(c *accesslogdatav3.AccessLogCommon) { c.UpstreamRequestAttemptCount = 0 }, false},
		{"no connection to the provider", "upstream_reset_before_response_started", nil, func(c *accesslogdatav3.AccessLogCommon) { c.ResponseFlags.UpstreamConnectionFailure = true }, false},
		{"the client left in the middle", "downstream_remote_disconnect", nil, func(*accesslogdatav3.AccessLogCommon) {}, true},
		{"begun and not decided", "via_upstream", map[string]any{"decision_id": "01a20b43-ca9f-7cee-a0a8-57e6149c693d", "org": "acme", "pending": "true"}, func(*accesslogdatav3.AccessLogCommon) {}, true},
		{"decided", "via_upstream", map[string]any{"decision_id": "01a20b43-ca9f-7cee-a0a8-57e6149c693d", "org": "acme", "pending": ""}, func(*accesslogdatav3.AccessLogCommon) {}, false},
		{"decided by an older version", "via_upstream", map[string]any{"decision_id": "01a20b43-ca9f-7cee-a0a8-57e6149c693d", "org": "acme"}, func(*accesslogdatav3.AccessLogCommon) {}, false},
	} {
		before := len(ledger.recorded)
		entry := logEntry(t, 200, tt.details, tt.metadata)
		tt.change(entry.CommonProperties)
		server.note(lineOf(t, entry))
		if got := len(ledger.recorded) > before; got != tt.recorded {
			t.Errorf("%s: recorded %v, want %v", tt.name, got, tt.recorded)
		}
		if tt.recorded && tt.metadata != nil {
			if d := ledger.recorded[before]; d.Org != "acme" || !strings.Contains(d.Reason, "01a20b43-ca9f-7cee-a0a8-57e6149c693d") || d.ID.String() == "01a20b43-ca9f-7cee-a0a8-57e6149c693d" {
				t.Errorf("%s: %+v", tt.name, d)
			}
		}
	}
}

// A call that went on when its stream to the processor failed is charged at the most that it can have cost; one that failed
// closed before anybody let it out costs nothing.
func TestAccessLogKnowsWhatPassed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		open    bool
		pending string
		call    string
		tries   uint32
		details string
		want    string // "" where the record stays as it is
	}{
		{"failed open after the decision", true, "", carriedText, 1, "via_upstream", "unmetered 0.00021 known"},
		{"failed open before it came to Envoy", true, "true", "", 1, "via_upstream", "unmetered 0 unknown"},
		{"failed closed before it came to Envoy", false, "true", "", 0, "ext_proc_error", "aborted 0 known"},
		{"nothing failed", false, "", carriedText, 1, "via_upstream", ""},
	} {
		server, ledger := newServer(t)
		entry := logEntry(t, 200, tt.details, map[string]any{"decision_id": "01a20b43-ca9f-7cee-a0a8-57e6149c693d", "org": "acme", "pending": tt.pending, "call": tt.call})
		state, err := structpb.NewStruct(map[string]any{"failed_open": tt.open})
		if err != nil {
			t.Fatal(err)
		}
		packed, err := anypb.New(state)
		if err != nil {
			t.Fatal(err)
		}
		entry.CommonProperties.FilterStateObjects = map[string]*anypb.Any{"keel.ext_proc": packed}
		entry.CommonProperties.UpstreamRequestAttemptCount = tt.tries
		server.note(lineOf(t, entry))
		got := ""
		if c := ledger.annotations[0].Correction; c != nil {
			got = fmt.Sprintf("%s %s %s", c.Outcome, c.Cost.Total, map[bool]string{true: "known", false: "unknown"}[c.CostKnown])
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
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
			server.note(lineOf(t, entry))
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
			if server.note(lineOf(t, entry)); len(ledger.annotations) != 1 {
				t.Error("a call that goes on was taken for one that ended")
			}
		})
	}
}

// What Envoy refuses before the filter could answer for its headers is recorded by the log alone, and by nobody twice.
func TestAccessLogRecordsUntoldRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		metadata map[string]any
		state    map[string]any
		details  string
		path     string
		want     string // api and whose; "" where nothing is recorded
	}{
		{"nothing travelled with it", nil, nil, "request_payload_too_large", "/v1/messages?beta=true", "anthropic.messages default"},
		{"of no API", nil, nil, "request_payload_too_large", "/upload", "unknown default"},
		{"the filter was not answered yet", nil, map[string]any{"bytes_sent": 0, "failed_open": false}, "request_payload_too_large", "/v1/messages", "anthropic.messages default"},
		{"the filter was shown the answer", nil, map[string]any{"response_header_latency_us": 12}, "request_payload_too_large", "/v1/messages", ""},
		{"another answer of Envoy's", nil, nil, "path_normalization_failed", "/v1/messages", ""},
		{"the filter had answered", map[string]any{"decision_id": "01a20b43-ca9f-7cee-a0a8-57e6149c693d", "org": "acme", "pending": "true",
			"asked": `{"method":"POST","path":"/v1/messages","provider":"anthropic"}`}, nil, "request_payload_too_large", "/v1/messages", "anthropic.messages acme"},
	} {
		server, ledger := newServer(t)
		entry := logEntry(t, 413, tt.details, tt.metadata)
		entry.CommonProperties.UpstreamRequestAttemptCount = 0
		entry.Request = &accesslogdatav3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_POST, Path: tt.path, Authority: "llm.internal"}
		if tt.state != nil {
			state, err := structpb.NewStruct(tt.state)
			if err != nil {
				t.Fatal(err)
			}
			packed, err := anypb.New(state)
			if err != nil {
				t.Fatal(err)
			}
			entry.CommonProperties.FilterStateObjects = map[string]*anypb.Any{"keel.ext_proc": packed}
		}
		server.note(lineOf(t, entry))
		got := ""
		for _, d := range ledger.recorded {
			got += d.API + " " + d.Org
			if d.Action != budget.Deny || d.Denial.Status != 413 || d.Denial.Code != "body_too_large" || strings.Contains(d.Path, "?") {
				t.Errorf("%s: recorded %+v, %+v", tt.name, d, d.Denial)
			}
		}
		if got != tt.want || len(ledger.closeouts) > 0 {
			t.Errorf("%s: recorded %q, %d closeouts; want %q, 0", tt.name, got, len(ledger.closeouts), tt.want)
		}
		for _, a := range ledger.annotations {
			if tt.want != "" && a.Correction != nil {
				t.Errorf("%s: a denial is corrected: %+v", tt.name, a.Correction)
			}
		}
	}
}
