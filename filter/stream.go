package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"keel/filter/frame"
)

// Process serves one call. It never returns nil, but for a call that only passes by: a clean end would make Envoy
// pass the rest of the call through without Keel.
//
// It waits in Recv for most of the time that the call takes, thousands of times at once, so it keeps its frame small
// and leaves what needs a deep stack to others: see stacks.
func (s *Server) Process(stream extprocv3.ExternalProcessor_ProcessServer) (err error) {
	s.open.Add(1)
	defer s.open.Add(-1)
	phase := said(stream.Context(), envoyPhase)
	switch phase {
	case phaseUpstream:
		return s.processAttempt(stream)
	case phaseChange:
		return s.processChange(stream)
	}
	call := &Call{logged: phase == phaseLight, force: said(stream.Context(), envoyUsage) == usageForce}
	s.metrics.inFlight.Inc()
	defer s.end(call, &err)
	if s.calls.Add(1) > s.most {
		return s.overloaded()
	}
	t := &turn{}
	t.do = func() { s.takeTurn(call, stream, t) }
	for {
		piece, err := wait(stream)
		if err != nil {
			return over(err)
		}
		if err := s.take(call, stream, t, piece); err != nil {
			return err
		}
		if t.passes {
			return s.processPassive(stream, t.message)
		}
	}
}

// waiter is a stream that waits for a message on a small stack, and has it read on a deep one. See frame.Stream.Wait.
type waiter interface {
	Wait() (piece bool, err error)
}

// wait returns when a message is there, or at once where it is Recv that waits.
func wait(stream extprocv3.ExternalProcessor_ProcessServer) (piece bool, err error) {
	if w, ok := stream.(waiter); ok {
		return w.Wait()
	}
	return false, nil
}

// turn is a message of a call and its answer. A call has one, for all of its messages.
type turn struct {
	do      func() // on a deep stack
	message *extprocv3.ProcessingRequest
	answer  *extprocv3.ProcessingResponse // that was sent
	err     error
	passes  bool // nobody waits for an answer
}

// overloaded is the answer to a call that is one too many.
func (s *Server) overloaded() error {
	s.metrics.overloaded.Inc()
	return status.Errorf(codes.ResourceExhausted, "keel: %d calls are in flight, which is the most that this processor takes", s.most)
}

// end closes a call out whose stream is over, and is to be deferred: it makes the stream's error of a panic.
func (s *Server) end(call *Call, err *error) {
	s.calls.Add(-1)
	s.metrics.inFlight.Dec()
	if p := recover(); p != nil {
		*err = s.panicked("a call", call.id, p)
	}
	defer func() {
		if p := recover(); p != nil {
			*err = s.panicked("the end of a call", call.id, p)
		}
	}()
	if call.decision == nil || call.closed && !call.retrieval { // nothing is left to be written
		s.settle(call)
		return
	}
	s.deep.run(func() { s.settle(call) })
}

// over is the end of a stream whose next message was not received: io.EOF or Canceled say that Envoy is
// done with the call. Neither says how the call ended, see doc.go.
func over(err error) error {
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
		return callEnded
	}
	return status.Error(codes.Unavailable, err.Error())
}

var callEnded = status.Error(codes.Unavailable, "keel: the call has ended")

// take answers one message. An error ends the stream.
func (s *Server) take(call *Call, stream extprocv3.ExternalProcessor_ProcessServer, t *turn, piece bool) error {
	if piece && call.watch == nil && s.open.Load() <= s.few {
		if t.message, t.err = stream.Recv(); t.err != nil {
			return over(t.err)
		}
		piece = !t.message.GetResponseBody().GetEndOfStream()
	} else {
		piece = false
	}
	if piece {
		t.do()
	} else {
		s.deep.run(t.do)
	}
	answer, err := t.answer, t.err
	if t.passes {
		return nil
	}
	t.message, t.answer = nil, nil   // which are not to be kept until the next one comes
	if err != nil || answer == nil { // in full duplex mode a message may wait for the next one
		return err
	}
	if call.decision != nil && answer.GetImmediateResponse() == nil {
		if !call.sent {
			call.released = time.Now()
			s.slim(call)
		}
		call.sent = true
	}
	if call.ended && !call.closed {
		// Envoy will not ask again, but it may take long to say so (an
		// HTTP/2 client that keeps its stream open). The record is due now.
		s.deep.run(func() { s.settle(call) })
	}
	return nil
}

// takeTurn receives a message, unless that was done, answers it, and does what follows the end of a call.
func (s *Server) takeTurn(call *Call, stream extprocv3.ExternalProcessor_ProcessServer, t *turn) {
	if t.message == nil {
		if t.message, t.err = stream.Recv(); t.err != nil {
			t.err = over(t.err)
			return
		}
	}
	if t.message.GetObservabilityMode() {
		t.passes = true
		return
	}
	answer, err := s.answer(call, stream, t.message)
	if err != nil {
		s.log.Error("filter: call failed closed", "decision", call.id, "error", err)
		t.err = status.Error(codes.Unavailable, err.Error())
		return
	}
	if call.ended && call.sent {
		s.settle(call) // where the closeout must be durable, the end of the answer waits for it
	}
	if answer == nil {
		return
	}
	if err := stream.Send(answer); err != nil {
		t.err = status.Error(codes.Unavailable, err.Error())
		return
	}
	t.answer = answer
}

// panicked notes a panic that was caught in what is named, of which the decision is named where there is one, and returns what Envoy is told.
func (s *Server) panicked(in string, decision uuid.UUID, p any) error {
	s.metrics.panics.Inc()
	s.log.Error("filter: panic in "+in, "decision", decision, "panic", p, "stack", string(debug.Stack()))
	return status.Error(codes.Unavailable, "keel: internal error, see the log of the processor")
}

// said is what a stream says of itself under a key of its metadata, "" for nothing.
func said(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
		return values[0]
	}
	return ""
}

// processAttempt serves one attempt. It never returns nil, as Process.
func (s *Server) processAttempt(stream extprocv3.ExternalProcessor_ProcessServer) (err error) {
	var a *attempt
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked("an attempt", a.id(), p)
		}
	}()
	for {
		if _, err := wait(stream); err != nil {
			return attemptEnded
		}
		if err := s.takeAttempt(&a, stream); err != nil {
			return err
		}
	}
}

var attemptEnded = status.Error(codes.Unavailable, "keel: the attempt has ended")

// takeAttempt answers one message of an attempt, on a deep stack.
func (s *Server) takeAttempt(a **attempt, stream extprocv3.ExternalProcessor_ProcessServer) (err error) {
	s.deep.run(func() {
		message, failed := stream.Recv()
		if failed != nil {
			err = attemptEnded
			return
		}
		answer, failed := s.answerAttempt(a, message)
		if failed != nil {
			s.log.Error("filter: attempt failed closed", "decision", (*a).id(), "error", failed)
		} else {
			failed = stream.Send(answer)
		}
		if failed != nil {
			err = status.Error(codes.Unavailable, failed.Error())
		}
	})
	return err
}

// answer is the one place where messages meet phases.
func (s *Server) answer(call *Call, stream extprocv3.ExternalProcessor_ProcessServer, message *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	switch m := message.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		s.identify(call, m.RequestHeaders, message)
		return s.admit(call, m.RequestHeaders.EndOfStream), nil
	case *extprocv3.ProcessingRequest_RequestBody:
		if call.codec == nil {
			return frame.RequestBodyUnchanged, nil
		}
		return s.decide(call, m.RequestBody.Body), nil
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return frame.RequestTrailersUnchanged, nil
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		var err error
		if call.tries, err = carriedAttempts(message); err != nil {
			return nil, err
		}
		return s.observeHeaders(call, m.ResponseHeaders, message), nil
	case *extprocv3.ProcessingRequest_ResponseBody:
		return s.observeBody(call, m.ResponseBody), nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		if call.watch == nil {
			return s.observeTrailers(call), nil
		}
		if rest := s.observeWatchedEnd(call); rest != nil {
			if err := stream.Send(rest); err != nil {
				return nil, err
			}
		}
		return frame.ResponseTrailersUnchanged, nil
	default:
		return nil, fmt.Errorf("keel: Envoy sent a message of kind %T that this version does not know", m)
	}
}
