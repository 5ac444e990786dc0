package filter

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keel/budget"
	"keel/filter/frame"
)

// StreamAccessLogs takes Envoy's access log: why each call ended, the calls
// that the filter did not see end because this process, or another replica, was
// gone, and their attempts where no filter could count them. The log is lossy (Envoy drops it when nobody listens), so nothing
// depends on an entry: the ledger's sweeper ends what no one reports.
//
// A stream would last as long as its Envoy. Drain ends it when no call is left whose entry could come: else every drain would take as
// long as it may. And it ends with the age of its connection, which else would stay open for good with a certificate that is not looked
// at again: right after a message, so that Envoy, which sends one every 200 ms, has begun another stream before the next.
func (s *Server) StreamAccessLogs(stream *frame.LogStream) error {
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
func (s *Server) readAccessLogs(stream *frame.LogStream, heard chan<- struct{}) error {
	note := s.note
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.Close()
		}
		if err != nil {
			return err
		}
		if message.Name == passiveLog { // said once, at the beginning
			note = s.notePassing
		}
		for i := range message.Lines {
			s.noteSafely(note, &message.Lines[i])
		}
		select {
		case heard <- struct{}{}:
		default:
		}
	}
}

// noteSafely takes one line. A defect in reading one loses that one.
func (s *Server) noteSafely(note func(*frame.Line), line *frame.Line) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.Error("filter: panic in an access log entry", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	note(line)
}

// note takes one line.
func (s *Server) note(line *frame.Line) {
	switch line.Type {
	case accesslogdatav3.AccessLogType_DownstreamStart, accesslogdatav3.AccessLogType_DownstreamPeriodic, accesslogdatav3.AccessLogType_DownstreamTunnelSuccessfullyEstablished:
		return // the call goes on
	}
	passed := failedOpen(line)
	if passed {
		s.metrics.failedOpen.Inc()
	}
	carried := carriedIn(line)
	org := orgIn(carried)
	id, err := uuid.ParseBytes(carried.Text(metadataDecision))
	undecided := err != nil || len(carried.Text(metadataPending)) > 0
	if undecided && mayCost(line) {
		u := unseenIn(line, "the filter was bypassed or failed open")
		if err == nil { // had it come to a decision, the call is charged by that
			u = unseenIn(line, "the filter failed open before it could decide, in call "+id.String())
			u.org = cmp.Or(org, u.org)
		}
		s.noteUnseen(u)
	}
	if err != nil {
		s.endForsaken(line)
		s.refuseUntold(line)
		return
	}
	refused := s.endLogged(id, org, carried, line)
	decided := len(carried.Text(metadataAsked)) > 0 && len(carried.Text(metadataCall)) > 0 // and no more was to pass the filter
	var correction *budget.Closeout
	switch {
	case refused: // a denial is its own end
	case mayCost(line) && (passed && !decided || undecided):
		correction = passedOn(id, org, carried, line)
	case undecided && line.Attempts == 0 && !line.Upstream:
		correction = neverLetOut(id, org, line)
	default:
		correction = s.correction(id, org, carried, line)
	}
	s.ledger.Annotate(budget.Annotation{
		ID:            id,
		Org:           org,
		At:            time.Now(),
		HTTPStatus:    int(line.Status),
		Attempts:      int(line.Attempts),
		Flags:         line.Flags.String(),
		Details:       detailsOf(line),
		ResponseBytes: int64(line.Bytes),
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

func unseenIn(line *frame.Line, why string) unseen {
	return unseen{
		org: budget.DefaultOrg, path: pathOnly(string(line.Path)), host: string(line.Authority), at: line.Start,
		status: int(line.Status), tries: int(line.Attempts),
		why: "seen in the access log only: " + why + " (" + detailsOf(line) + ")",
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
func mayCost(line *frame.Line) bool {
	if string(line.Details) == viaUpstream {
		return line.Status < http.StatusBadRequest
	}
	if line.Flags.Has(frame.UpstreamConnectionFailure | frame.UpstreamOverflow | frame.NoHealthyUpstream) {
		return false // of the last try; none before it was for a failure that a provider may have billed, in mode full
	}
	return line.Attempts > 0
}

// failedOpen reports whether Envoy let the call pass, or what was left of it, when the stream to the processor failed. It
// says so in the state of the filter: a custom tag, or filter_state_objects_to_log, has to name that.
func failedOpen(line *frame.Line) bool {
	_, failed := line.State("failed_open")
	return failed
}

// detailsOf is how Envoy names the end of a call. Most have the one name.
func detailsOf(line *frame.Line) string {
	if string(line.Details) == viaUpstream {
		return viaUpstream
	}
	return string(line.Details)
}
