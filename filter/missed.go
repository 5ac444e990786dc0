package filter

import (
	"context"
	"sync"
	"time"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/google/uuid"

	"keel/filter/frame"
)

// passiveLog is the name of the access log of an Envoy in mode observe.
const passiveLog = "keel_observe"

// missing are calls that passed in mode observe, by the decision that the filter makes of each. Whether it made one is only known
// later: a processor that is behind reads them long after they are over. They are in memory and bounded, as the log is lossy anyway.
type missing struct {
	mu      sync.Mutex
	calls   []passedCall // in the order of their entries
	dropped int
}

type passedCall struct {
	id    uuid.UUID
	since time.Time
	unseen
}

// maxPassed bounds what waits to be looked up: about 200 bytes each.
const maxPassed = 200_000

// notePassing takes a line of a call that only passed. Nothing that the filter said travelled with it.
func (s *Server) notePassing(line *frame.Line) {
	if line.Type != accesslogdatav3.AccessLogType_DownstreamEnd && line.Type != accesslogdatav3.AccessLogType_NotSet {
		return
	}
	passed := failedOpen(line)
	if passed {
		s.metrics.failedOpen.Inc()
	}
	if !mayCost(line) {
		return
	}
	id, ok := passingID(string(line.StreamID), line.Start)
	if !ok { // it can't be looked up
		if passed {
			s.noteUnseen(unseenIn(line, "the processor was away"))
		}
		return
	}
	s.missing.add(s, passedCall{id, time.Now(), unseenIn(line, "the processor was away, or did not come to read it")})
}

func (m *missing) add(s *Server, c passedCall) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.calls) >= maxPassed {
		if m.dropped++; m.dropped&(m.dropped-1) == 0 { // the first, and ever less often
			s.log.Warn("filter: whether calls that passed were metered is not looked up: too many wait for it", "dropped", m.dropped)
		}
		return
	}
	m.calls = append(m.calls, c)
}

// due takes up to most of the calls that passed before then.
func (m *missing) due(then time.Time, most int) []passedCall {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < len(m.calls) && n < most && m.calls[n].since.Before(then) {
		n++
	}
	due := m.calls[:n:n]
	m.calls = m.calls[n:]
	return due
}

// back gives calls back that could not be looked up.
func (m *missing) back(calls []passedCall) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(calls, m.calls...)
}

// lookUpMost bounds one look at the ledger.
const lookUpMost = 1000

// FindMissed records the calls that passed in mode observe and that no replica has a decision for after Options.MissedAfter. It
// returns when ctx ends; what waits then is not looked up.
func (s *Server) FindMissed(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for s.findMissed(ctx) {
		}
	}
}

// findMissed looks once, and says whether there may be more to look at.
func (s *Server) findMissed(ctx context.Context) (more bool) {
	calls := s.missing.due(time.Now().Add(-s.missedAfter), lookUpMost)
	if len(calls) == 0 {
		return false
	}
	ids := make([]uuid.UUID, len(calls))
	for i := range calls {
		ids[i] = calls[i].id
	}
	undecided, err := s.undecided(ctx, ids)
	if err != nil {
		s.missing.back(calls)
		return false
	}
	missed := make(map[uuid.UUID]bool, len(undecided))
	for _, id := range undecided {
		missed[id] = true
	}
	for _, c := range calls {
		if missed[c.id] {
			s.noteUnseen(c.unseen)
		}
	}
	return len(calls) == lookUpMost
}
