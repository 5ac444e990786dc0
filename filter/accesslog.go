package filter

import (
	"cmp"
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
	"google.golang.org/protobuf/types/known/structpb"

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
	passed := failedOpen(common)
	if passed {
		s.metrics.failedOpen.Inc()
	}
	carried := common.GetMetadata().GetFilterMetadata()[metadataSpace].GetFields()
	id, err := uuid.Parse(carried[metadataDecision].GetStringValue())
	undecided := err != nil || carried[metadataPending].GetStringValue() != ""
	if undecided && mayCost(entry) {
		s.noteUnseen(entry)
	}
	if err != nil {
		return
	}
	correction := s.correction(id, entry)
	switch {
	case mayCost(entry) && (passed || undecided):
		correction = passedOn(id, entry)
	case undecided && common.GetUpstreamRequestAttemptCount() == 0 && common.GetUpstreamRemoteAddress() == nil:
		correction = neverLetOut(id, entry)
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
		Correction:    correction,
	})
}

// noteUnseen records a call that may have reached a provider and that no decision let out. Where the filter began with
// it, the record names that decision: had it come to one, it is charged by that.
func (s *Server) noteUnseen(entry *accesslogdatav3.HTTPAccessLogEntry) {
	s.metrics.unseen.Inc()
	common, request := entry.GetCommonProperties(), entry.GetRequest()
	carried := common.GetMetadata().GetFilterMetadata()[metadataSpace].GetFields()
	reason := "seen in the access log only: the filter was bypassed or failed open (" + entry.GetResponse().GetResponseCodeDetails() + ")"
	if began := carried[metadataDecision].GetStringValue(); began != "" {
		reason = "seen in the access log only: the filter failed open before it could decide, in call " + began + " (" + entry.GetResponse().GetResponseCodeDetails() + ")"
	}
	d := &budget.Decision{
		Call: budget.Call{
			ID: uuid.Must(uuid.NewV7()), Org: cmp.Or(carried[metadataOrg].GetStringValue(), budget.DefaultOrg), At: common.GetStartTime().AsTime(),
			API: unknownAPI, Path: pathOnly(request.GetPath()), Choices: 1,
		},
		Action: budget.Allow, Unmetered: true, Reason: reason,
	}
	s.ledger.Record(d)
	s.ledger.CloseOut(&budget.Closeout{
		ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Unmetered, Metered: budget.NothingSeen,
		HTTPStatus: int(entry.GetResponse().GetResponseCode().GetValue()),
		Attempts:   int(common.GetUpstreamRequestAttemptCount()), Detail: d.Reason, CostKnown: true,
	})
	s.log.Warn("filter: a call went by unmetered", "path", d.Path, "host", request.GetAuthority(), "decision", d.ID)
}

// mayCost reports whether a provider may bill the call: one was asked, and did not answer with an error of its own.
func mayCost(entry *accesslogdatav3.HTTPAccessLogEntry) bool {
	common, response := entry.GetCommonProperties(), entry.GetResponse()
	if response.GetResponseCodeDetails() == viaUpstream {
		return response.GetResponseCode().GetValue() < http.StatusBadRequest
	}
	if f := common.GetResponseFlags(); f.GetUpstreamConnectionFailure() || f.GetUpstreamOverflow() || f.GetNoHealthyUpstream() {
		return false // of the last try; none before it was for a failure that a provider may have billed, in mode full
	}
	return common.GetUpstreamRequestAttemptCount() > 0
}

// failedOpen reports whether Envoy let the call pass, or what was left of it, when the stream to the processor failed. It
// says so in the state of the filter: filter_state_objects_to_log has to name that.
func failedOpen(common *accesslogdatav3.AccessLogCommon) bool {
	for _, packed := range common.GetFilterStateObjects() {
		var state structpb.Struct
		if packed.UnmarshalTo(&state) == nil && state.GetFields()["failed_open"].GetBoolValue() {
			return true
		}
	}
	return false
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
