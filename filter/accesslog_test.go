package filter

import (
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
