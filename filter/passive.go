package filter

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keel/budget"
	"keel/filter/wire"
	"keel/pricing/tokens"
)

// This file is mode observe: Envoy sends what passes and waits for nothing, so a call is read and metered as it goes by, and
// nothing of it can be held back, changed or refused. What travels with a call elsewhere can't here, either: the access log
// knows the decision by what both know of the call.

// maxObservedRequest bounds the request body that is kept until it is whole. It is what Envoy buffers for Keel in the other modes.
const maxObservedRequest = 32 << 20

// passive is a call that only passes.
type passive struct {
	*Call
	body    []byte
	tooLong bool
}

// processPassive serves a stream that nobody waits for, of which first is the first message. When there is nothing more to
// see it ends it well, as it may here and nowhere else: the call goes on as it does.
func (s *Server) processPassive(stream extprocv3.ExternalProcessor_ProcessServer, first *extprocv3.ProcessingRequest) (err error) {
	p := &passive{Call: new(Call)}
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked("a call that passed by", p.id, r)
		}
		s.endPassive(p)
	}()
	message := first
	watch := func() { // on a deep stack: this one waits
		if message == nil {
			if message, err = stream.Recv(); err != nil {
				return
			}
		}
		s.watchPassing(p, message)
		message = nil
	}
	for {
		s.deep.run(watch)
		if p.ended {
			return nil
		}
		if err == nil {
			_, err = wait(stream)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && status.Code(err) != codes.Canceled {
				s.log.Warn("filter: the stream of a call that passed by broke", "decision", p.id, "error", err)
			}
			return status.Error(codes.Unavailable, "keel: the call has ended")
		}
	}
}

// watchPassing takes one message. What the phases answer elsewhere is nothing that anybody reads here.
func (s *Server) watchPassing(p *passive, message *extprocv3.ProcessingRequest) {
	switch m := message.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		s.identify(p.Call, m.RequestHeaders, message)
		if id, ok := passingID(attribute(message, "request.id"), requestTime(message)); ok {
			p.id = id
		}
		p.dryRun = false // it goes out whatever it says
		if p.codec == nil {
			s.recordPassing(p, fmt.Sprintf("%s %s is not an API that Keel can read", p.method, pathOnly(p.path)))
		} else if m.RequestHeaders.EndOfStream {
			s.decidePassing(p)
		}
	case *extprocv3.ProcessingRequest_RequestBody:
		if p.tooLong = p.tooLong || len(p.body)+len(m.RequestBody.Body) > maxObservedRequest; p.tooLong {
			p.body = nil
		} else {
			p.body = append(p.body, m.RequestBody.Body...)
		}
		if m.RequestBody.EndOfStream {
			s.decidePassing(p)
		}
	case *extprocv3.ProcessingRequest_RequestTrailers:
		s.decidePassing(p)
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		if p.decision == nil || p.request == nil { // an answer before the request was whole, or to what nobody can read
			p.status = (*headerMap)(m.ResponseHeaders.GetHeaders()).status()
			p.ended = m.ResponseHeaders.EndOfStream
			return
		}
		s.observeHeaders(p.Call, m.ResponseHeaders, message)
	case *extprocv3.ProcessingRequest_ResponseBody:
		if p.request == nil {
			p.ended = m.ResponseBody.EndOfStream
			return
		}
		s.observeBody(p.Call, m.ResponseBody)
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		s.observeTrailers(p.Call)
	default:
		s.log.Error("filter: Envoy sent a message of a kind that this version does not know", "kind", fmt.Sprintf("%T", m))
	}
}

// decidePassing writes down what would have been decided about a call whose request is whole.
func (s *Server) decidePassing(p *passive) {
	if p.decision != nil || p.codec == nil {
		return
	}
	body := p.body
	p.body = nil
	if p.tooLong {
		s.recordPassing(p, fmt.Sprintf("the request body is longer than the %d MiB that are kept of it", maxObservedRequest>>20))
		return
	}
	plain, err := p.read(body)
	if err != nil {
		p.request = nil
		s.recordPassing(p, err.Error())
		return
	}
	if len(body) == 0 {
		if p.request.Prompt.Task != tokens.Retrieve {
			p.request = nil
			s.recordPassing(p, (&wire.SyntaxError{Reason: "it is empty"}).Error())
			return
		}
		p.retrieval = true
		s.recordPassing(p, "fetches what an earlier call made; its usage belongs to that call")
		return
	}
	facts := s.factsWithBody(p.Call, plain)
	patience := patient(s.timeout)
	defer patience.end()
	p.decision = s.decider.Observe(patience, p.config, &facts)
	p.request.Prompt.Release()
	p.sent, p.released = true, time.Now()
	s.metrics.decisions.WithLabelValues(p.decision.API, string(p.decision.Action)).Inc()
}

// recordPassing records a call that passes unmetered.
func (s *Server) recordPassing(p *passive, why string) {
	d := &budget.Decision{Call: s.facts(p.Call), Action: budget.Allow, Unmetered: true, RoutedProvider: p.provider, Reason: why + "; passed by in mode observe"}
	if p.codec == nil {
		d.API = unknownAPI
	}
	p.decision = d
	p.ended = !p.retrieval // there is nothing more to see
	s.ledger.Record(d)
	s.metrics.decisions.WithLabelValues(d.API, string(d.Action)).Inc()
	s.closeUnmetered(p.Call)
}

// endPassive ends a call on every way that it can end.
func (s *Server) endPassive(p *passive) {
	if p.decision == nil && p.codec != nil && p.status > 0 && p.status < 400 {
		s.recordPassing(p, "it was answered before its request was whole")
	}
	s.settle(p.Call)
}

// passingID is the decision id of a call that only passes: the access log has the same request id, and the same time of its
// first byte in nanoseconds, which no client can choose.
func passingID(requestID string, at time.Time) (uuid.UUID, bool) {
	if requestID == "" || at.IsZero() {
		return uuid.UUID{}, false
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(requestID), uint64(at.UnixNano())))
	var id uuid.UUID
	copy(id[:], sum[:])
	milliseconds := uint64(at.UnixMilli())
	for i := range 6 {
		id[i] = byte(milliseconds >> (40 - 8*i))
	}
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80 // version 7
	return id, true
}

// requestTime is when Envoy got the first byte of the call.
func requestTime(message *extprocv3.ProcessingRequest) time.Time {
	at, err := time.Parse(time.RFC3339Nano, attribute(message, "request.time"))
	if err != nil {
		return time.Time{}
	}
	return at
}
