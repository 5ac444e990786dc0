package filter

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"keel/budget"
	"keel/filter/wire"
	"keel/filter/wire/ending"
	"keel/pricing"
)

// watch follows an answer whose running cost a policy watches. Such a response comes in
// Envoy's full duplex mode: Keel owns its bytes, and can end it.
type watch struct {
	cost    *budget.RunningCost
	stream  *ending.Stream
	highest pricing.NanoUSD // cost so far
	detail  string          // why the stream was ended, "" while it goes on
}

// watchable says what is against watching the call's answer.
func (call *Call) watchable() error {
	if call.logged {
		return errors.New("the mode that Keel is attached in does not let it see answers")
	}
	if api := call.codec.API(); !ending.Known(api) {
		return fmt.Errorf("streams of %s can't be ended before their provider does", api)
	}
	return nil
}

// newWatch returns nil for an answer that is not watched: no policy wants it, nothing is held that it
// could pass, or it is an error, which is not streamed.
func newWatch(call *Call) *watch {
	if call.decision.Watched == nil || call.ended || call.fault != nil || call.status >= http.StatusBadRequest {
		return nil
	}
	cost := call.decision.ForAttempt(call.tries, call.attempts).RunningCost(call.config, call.tries, call.attempts)
	if cost == nil {
		return nil
	}
	return &watch{cost: cost, stream: ending.New(call.codec.API())}
}

// observeWatched meters a piece of a watched answer and says what the client gets of it: nil for
// nothing yet.
func (s *Server) observeWatched(call *Call, chunk []byte, end bool) *extprocv3.ProcessingResponse {
	w := call.watch
	if w.detail != "" {
		return nil // it was ended; this was under way already
	}
	var fault error
	plain := chunk
	if call.decoder != nil {
		plain, fault = call.decoder.Write(chunk, end)
	}
	call.ended = end && fault == nil
	forward := w.stream.Pass(call.reader.Feed(plain, call.ended), call.ended)
	switch last := s.overrun(call, fault); {
	case last != nil:
		forward, end = append(forward[:len(forward):len(forward)], last...), true
		s.settle(call)
	case fault != nil: // no stream, so there is nothing that could end it well
		w.detail = "the answer could not be decoded any more: " + fault.Error()
		end = true
		s.settle(call)
	case call.ended:
		s.settle(call)
	case len(forward) == 0:
		return nil
	}
	return streamedBody(forward, end)
}

// overrun returns what ends the answer, nil while it may go on: within what is held, or what
// its budgets let the holds grow by.
func (s *Server) overrun(call *Call, fault error) []byte {
	w, watched := call.watch, call.decision.Watched
	if !w.stream.Begun() {
		return nil // not yet, or it turned out to be no stream: then it comes whole, and is charged
	}
	reading := call.reader.Reading()
	if reading.Terminal {
		return nil
	}
	cost, output, _ := w.cost.Cost(reported(&reading), reading.OutputBytes)
	w.highest = max(w.highest, cost) // what has no rate counts nothing, and takes nothing back
	reason := ""
	if fault != nil {
		reason = "it can't be decoded any more, so nobody can say what it costs: " + fault.Error()
	} else if reason = s.extend(call); reason == "" {
		return nil
	}
	reason = fmt.Sprintf("policy %s ended this answer: it had cost %s USD, and %s (decision %s)", watched.Policy, w.highest, reason, call.id)
	e := &ending.Ending{Code: codeStreamEnded, Message: reason, DecisionID: call.id.String(), OutputTokens: output}
	if watched.End == budget.WatchError {
		_, e.Error = call.codec.Refuse(wire.Refusal{
			Status: http.StatusTooManyRequests, Code: codeStreamEnded, Message: reason, DecisionID: call.id.String(),
			Details: map[string]string{"decision_id": call.id.String(), "org": call.org, "policy": watched.Policy, "cost_usd": w.highest.String()},
		})
	}
	last, _ := w.stream.End(e)
	s.metrics.streamsEnded.Inc()
	w.detail = reason
	return last
}

// codeStreamEnded is the code of the end of a watched stream.
const codeStreamEnded = "stream_ended"

// extend has the call's holds cover its cost, and says why they can't.
func (s *Server) extend(call *Call) (reason string) {
	w, watched := call.watch, call.decision.Watched
	if !w.cost.Lacks(w.highest, watched.Extend) {
		return ""
	}
	if watched.Extend == 0 {
		return "that is more than budget " + w.cost.Short() + " holds for it"
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	err := s.ledger.Extend(ctx, call.id, w.cost.More)
	var refused *budget.Refused
	if errors.As(err, &refused) { // what is left may be less than a step
		w.cost.Lacks(w.highest, 0)
		err = s.ledger.Extend(ctx, call.id, w.cost.More)
	}
	switch {
	case err == nil:
		w.cost.Extended()
		s.metrics.extended.Inc()
		return ""
	case errors.As(err, &refused):
		h, standing := refused.Hold, refused.Standing
		return fmt.Sprintf("budget %s has no room for more: %s USD of %s are settled and %s held; wait, or ask for less output",
			h.Budget, standing.Settled, h.Limit, standing.Held)
	}
	s.log.Warn("filter: what is held for an answer could not be extended", "decision", call.id, "error", err)
	return "the ledger can't say whether there is room for more"
}

// observeWatchedEnd is for trailers: what was kept back goes out before them.
func (s *Server) observeWatchedEnd(call *Call) *extprocv3.ProcessingResponse {
	call.ended = true
	if call.watch.detail != "" {
		return nil
	}
	var plain []byte
	if call.decoder != nil {
		plain, call.fault = call.decoder.Write(nil, true)
	}
	rest := call.watch.stream.Pass(call.reader.Feed(plain, call.fault == nil), true)
	if len(rest) == 0 {
		return nil
	}
	return streamedBody(rest, false)
}
