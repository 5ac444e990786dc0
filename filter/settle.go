package filter

import (
	"fmt"
	"net/http"
	"time"

	"keel/budget"
	"keel/filter/wire"
)

// settle closes call out on every way that it can end, once. It returns the
// cost in dollars, "" when there is none to tell.
func (s *Server) settle(call *Call) string {
	if call.decoder != nil {
		defer call.decoder.Close()
	}
	if call.closed || call.decision == nil {
		return ""
	}
	call.closed = true
	closeout := s.closeout(call)
	s.ledger.CloseOut(closeout)
	s.metrics.closeouts.WithLabelValues(string(closeout.Outcome), string(closeout.Metered)).Inc()
	if !closeout.CostKnown {
		return ""
	}
	return closeout.Cost.Total.String()
}

// closeout says how call ended and what it cost. What nobody knows is charged,
// and the record says why.
func (s *Server) closeout(call *Call) *budget.Closeout {
	c := &budget.Closeout{
		ID: call.id, Org: call.org, At: time.Now(),
		Attempts: max(call.attempts, 1), HTTPStatus: call.status, Detail: call.details,
	}
	d := call.decision
	switch {
	case !call.sent:
		// Envoy never got the answer that lets the call out.
		c.Outcome, c.Attempts = budget.Aborted, 0
		c.Detail = "ended before the call was let out"
		d.Free(c)
		return c
	case call.reader == nil:
		c.Outcome = budget.Aborted
		c.Detail = "ended before a response; the provider may have done the work"
		d.ChargeHeld(c)
		return c
	}

	reading := call.reader.Reading()
	c.Model, c.RawUsage = reading.Model, reading.RawUsage
	c.Outcome = outcome(call)
	if reading.Failure != "" {
		c.Detail = join(c.Detail, "provider: "+reading.Failure)
	}
	if call.fault != nil {
		c.Detail = join(c.Detail, call.fault.Error())
	}
	switch {
	case reading.Usage != nil && !reading.Partial && (call.ended || reading.Terminal):
		d.ChargeUsage(c, call.config, reading.Usage, reading.ServiceTier)
	case call.status >= http.StatusBadRequest && providerAnswered(call):
		// An error that the provider itself answered is not billed: none of the
		// recorded replies from 400 up carries usage.
		d.Free(c)
	case call.status >= http.StatusBadRequest || call.fault != nil:
		c.Detail = join(c.Detail, "the provider may have done the work")
		d.ChargeHeld(c)
	default:
		c.Detail = join(c.Detail, shortfall(call, &reading))
		d.ChargeSeen(c, call.config, reading.Usage, reading.OutputBytes, reading.ServiceTier)
	}
	return c
}

func outcome(call *Call) budget.Outcome {
	switch {
	case !call.ended:
		return budget.Aborted
	case call.status >= http.StatusBadRequest:
		return budget.Failed
	}
	return budget.Complete
}

// providerAnswered tells an error that came from upstream from one that Envoy
// made when the upstream failed it.
func providerAnswered(call *Call) bool {
	return call.details == "" || call.details == "via_upstream"
}

func shortfall(call *Call, reading *wire.Reading) string {
	switch {
	case !call.ended:
		return fmt.Sprintf("cut after %d bytes of output; estimated from what was seen", reading.OutputBytes)
	case reading.Usage == nil:
		return "the provider reported no usage; estimated from what was seen"
	}
	return "the provider's usage was not final; estimated from what was seen"
}

// closeUnmetered ends a call that passes without being read.
func (s *Server) closeUnmetered(call *Call) {
	call.closed = true
	s.ledger.CloseOut(&budget.Closeout{
		ID: call.id, Org: call.org, At: time.Now(), Outcome: budget.Unmetered, Metered: budget.NothingSeen,
		Detail: call.decision.Reason, CostKnown: true,
	})
	s.metrics.closeouts.WithLabelValues(string(budget.Unmetered), string(budget.NothingSeen)).Inc()
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
