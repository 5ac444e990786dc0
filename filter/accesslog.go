package filter

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/uuid"
	"google.golang.org/protobuf/reflect/protoreflect"

	"keel/budget"
)

// StreamAccessLogs takes Envoy's access log: why each call ended, the calls
// that the filter did not see end because this process, or another replica, was
// gone, and their attempts where no filter could count them. The log is lossy (Envoy drops it when nobody listens), so nothing
// depends on an entry: the ledger's sweeper ends what no one reports.
func (s *Server) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		for _, entry := range message.GetHttpLogs().GetLogEntry() {
			s.note(entry)
		}
	}
}

// note takes one entry.
func (s *Server) note(entry *accesslogdatav3.HTTPAccessLogEntry) {
	common, response := entry.GetCommonProperties(), entry.GetResponse()
	switch common.GetAccessLogType() {
	case accesslogdatav3.AccessLogType_DownstreamStart, accesslogdatav3.AccessLogType_DownstreamPeriodic, accesslogdatav3.AccessLogType_DownstreamTunnelSuccessfullyEstablished:
		return // the call goes on
	}
	carried := common.GetMetadata().GetFilterMetadata()[metadataSpace].GetFields()
	id, err := uuid.Parse(carried[metadataDecision].GetStringValue())
	if err != nil {
		if !answeredByEnvoy(response) {
			s.noteUnseen(entry)
		}
		return
	}
	s.ledger.Annotate(budget.Annotation{
		ID:            id,
		Org:           carried[metadataOrg].GetStringValue(),
		At:            time.Now(),
		HTTPStatus:    int(response.GetResponseCode().GetValue()),
		Attempts:      int(common.GetUpstreamRequestAttemptCount()),
		Flags:         flags(common.GetResponseFlags()),
		Details:       response.GetResponseCodeDetails(),
		ResponseBytes: int64(response.GetResponseBodyBytes()),
		Correction:    s.correction(id, entry),
	})
}

// noteUnseen records a call that reached an upstream and that no decision was made for.
func (s *Server) noteUnseen(entry *accesslogdatav3.HTTPAccessLogEntry) {
	s.metrics.unseen.Inc()
	common, request := entry.GetCommonProperties(), entry.GetRequest()
	d := &budget.Decision{
		Call: budget.Call{
			ID: uuid.Must(uuid.NewV7()), Org: budget.DefaultOrg, At: common.GetStartTime().AsTime(),
			API: unknownAPI, Path: pathOnly(request.GetPath()), Choices: 1,
		},
		Action: budget.Allow, Unmetered: true,
		Reason: "seen in the access log only: the filter was bypassed or failed open (" + entry.GetResponse().GetResponseCodeDetails() + ")",
	}
	s.ledger.Record(d)
	s.ledger.CloseOut(&budget.Closeout{
		ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Unmetered, Metered: budget.NothingSeen,
		HTTPStatus: int(entry.GetResponse().GetResponseCode().GetValue()),
		Attempts:   int(common.GetUpstreamRequestAttemptCount()), Detail: d.Reason, CostKnown: true,
	})
	s.log.Warn("filter: a call went by unmetered", "path", d.Path, "host", request.GetAuthority(), "decision", d.ID)
}

// answeredByEnvoy reports whether no upstream was asked, so that there is nothing to pay.
func answeredByEnvoy(response *accesslogdatav3.HTTPResponseProperties) bool {
	return response.GetResponseCodeDetails() != viaUpstream || response.GetResponseCode().GetValue() >= http.StatusBadRequest
}

// flags names the response flags that are set, in the field names of Envoy's API.
func flags(f *accesslogdatav3.ResponseFlags) string {
	var set []string
	f.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Kind() != protoreflect.BoolKind || value.Bool() {
			set = append(set, string(field.Name()))
		}
		return true
	})
	slices.Sort(set)
	return strings.Join(set, ",")
}
