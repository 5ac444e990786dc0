package filter

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"keel/budget"
)

// StreamAccessLogs takes Envoy's access log: why each call ended, the calls
// that the filter did not see end because this process, or another replica, was
// gone, and their attempts where no filter could count them. The log is lossy (Envoy drops it when nobody listens), so nothing
// depends on an entry: the ledger's sweeper ends what no one reports.
//
// A stream would last as long as its Envoy. Drain ends it when no call is left whose entry could come: else every drain would take as
// long as it may. And it ends with the age of its connection, which else would stay open for good with a certificate that is not looked
// at again: right after a message, so that Envoy, which sends one every 200 ms, has begun another stream before the next.
func (s *Server) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	read, heard := make(chan error, 1), make(chan struct{}, 1)
	go func() { read <- s.readAccessLogs(stream, heard) }()
	var old, silent <-chan time.Time
	if s.age > 0 {
		old = time.After(s.age + s.age/5) // by then Envoy was told to go on by another connection
	}
	var due <-chan struct{}
	for {
		select {
		case err := <-read:
			return err
		case <-s.quiet:
			return status.Error(codes.Unavailable, "keel: this replica ends")
		case <-old:
			select {
			case <-heard: // of long ago
			default:
			}
			due, silent = heard, time.After(logsAfter)
		case <-due:
			return errOldConnection
		case <-silent:
			return errOldConnection
		}
	}
}

var errOldConnection = status.Error(codes.Unavailable, "keel: this connection is old, go on by another")

// readAccessLogs tells heard of every message that it has taken.
func (s *Server) readAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer, heard chan<- struct{}) error {
	note := s.note
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		if message.GetIdentifier().GetLogName() == passiveLog { // said once, at the beginning
			note = s.notePassing
		}
		for _, entry := range message.GetHttpLogs().GetLogEntry() {
			s.noteSafely(note, entry)
		}
		select {
		case heard <- struct{}{}:
		default:
		}
	}
}

// noteSafely takes one entry. A defect in reading one loses that one.
func (s *Server) noteSafely(note func(*accesslogdatav3.HTTPAccessLogEntry), entry *accesslogdatav3.HTTPAccessLogEntry) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.Error("filter: panic in an access log entry", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	note(entry)
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
	carried := carriedIn(common.GetMetadata())
	id, err := uuid.Parse(carried[metadataDecision].GetStringValue())
	undecided := err != nil || carried[metadataPending].GetStringValue() != ""
	if undecided && mayCost(entry) {
		u := unseenIn(entry, "the filter was bypassed or failed open")
		if err == nil { // had it come to a decision, the call is charged by that
			u = unseenIn(entry, "the filter failed open before it could decide, in call "+id.String())
			u.org = cmp.Or(carried[metadataOrg].GetStringValue(), u.org)
		}
		s.noteUnseen(u)
	}
	if err != nil {
		s.endForsaken(entry)
		s.refuseUntold(entry)
		return
	}
	refused := s.endLogged(id, carried, entry)
	decided := carried[metadataAsked].GetStringValue() != "" && carried[metadataCall].GetStringValue() != "" // and no more was to pass the filter
	var correction *budget.Closeout
	switch {
	case refused: // a denial is its own end
	case mayCost(entry) && (passed && !decided || undecided):
		correction = passedOn(id, carried, entry)
	case undecided && common.GetUpstreamRequestAttemptCount() == 0 && common.GetUpstreamRemoteAddress() == nil:
		correction = neverLetOut(id, carried[metadataOrg].GetStringValue(), entry)
	default:
		correction = s.correction(id, carried, entry)
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

// unseen is what the access log tells of a call that no decision let out.
type unseen struct {
	org, path, host string
	at              time.Time
	status, tries   int
	why             string
}

func unseenIn(entry *accesslogdatav3.HTTPAccessLogEntry, why string) unseen {
	common, request, response := entry.GetCommonProperties(), entry.GetRequest(), entry.GetResponse()
	return unseen{
		org: budget.DefaultOrg, path: pathOnly(request.GetPath()), host: request.GetAuthority(), at: common.GetStartTime().AsTime(),
		status: int(response.GetResponseCode().GetValue()), tries: int(common.GetUpstreamRequestAttemptCount()),
		why: "seen in the access log only: " + why + " (" + response.GetResponseCodeDetails() + ")",
	}
}

// noteUnseen records it.
func (s *Server) noteUnseen(u unseen) {
	s.metrics.unseen.Inc()
	d := &budget.Decision{
		Call:   budget.Call{ID: uuid.Must(uuid.NewV7()), Org: u.org, At: u.at, API: unknownAPI, Path: u.path, Choices: 1},
		Action: budget.Allow, Unmetered: true, Reason: u.why,
	}
	s.ledger.Record(d)
	s.ledger.CloseOut(&budget.Closeout{
		ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Unmetered, Metered: budget.NothingSeen,
		HTTPStatus: u.status, Attempts: u.tries, Detail: d.Reason, CostKnown: true,
	})
	s.log.Warn("filter: a call went by unmetered", "path", u.path, "host", u.host, "decision", d.ID)
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
	return filterState(common, "failed_open").GetBoolValue()
}

// filterState is a field of the state that a filter has left, nil where none has it.
func filterState(common *accesslogdatav3.AccessLogCommon, field string) (value *structpb.Value) {
	for _, packed := range common.GetFilterStateObjects() {
		var state structpb.Struct
		if packed.UnmarshalTo(&state) != nil {
			continue
		}
		if v := state.GetFields()[field]; v != nil && (value == nil || v.GetBoolValue()) {
			value = v
		}
	}
	return value
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
