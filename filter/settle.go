package filter

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"keel/budget"
	"keel/filter/spans"
	"keel/filter/wire"
	"keel/pricing"
)

// settle closes call out on every way that it can end, once. It returns the
// cost in dollars, "" when there is none to tell.
func (s *Server) settle(call *Call) string {
	if call.decoder != nil {
		defer call.decoder.Close()
	}
	if call.logged && (call.sent || call.retrieval) {
		return "" // the access log ends it
	}
	if call.retrieval {
		s.settleRetrieval(call)
		return ""
	}
	if call.closed || call.decision == nil {
		return ""
	}
	call.closed = true
	closeout := s.closeout(call)
	receipt := s.ledger.CloseOut(closeout)
	if call.ended {
		s.await(call, receipt)
	}
	s.metrics.closeouts.WithLabelValues(string(closeout.Outcome), string(closeout.Metered)).Inc()
	s.span(call, closeout)
	s.compare(closeout)
	s.noteHealth(call, closeout)
	if !closeout.CostKnown {
		return ""
	}
	return closeout.Cost.Total.String()
}

// await holds the end of an answer until the closeout is as durable as the org
// wants it, within bounds: money that is spent is not taken back from the client.
func (s *Server) await(call *Call, receipt budget.Receipt) {
	durability := call.config.Settings(call.org).Durability
	limit, waits := durabilityWait[durability]
	if !waits {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.ledger.Await(ctx, receipt, durability); err != nil {
		s.metrics.notDurable.WithLabelValues(string(durability)).Inc()
		s.log.Warn("filter: an answer ended before its closeout was durable", "decision", call.id, "durability", durability, "error", err)
	}
}

// providerFailed stands for what a provider said of its error: such messages repeat keys and prompts, and a record is kept for years.
const providerFailed = "the provider told an error"

var durabilityWait = map[budget.Durability]time.Duration{budget.DurabilityFsync: time.Second, budget.DurabilityPostgres: 2 * time.Second}

// compare counts how our cost stands to the one that the provider reported, where it did.
func (s *Server) compare(c *budget.Closeout) {
	difference, ok := pricing.Compare(c.Cost, c.ProviderCost)
	if several := len(c.AttemptRows) > 1; !ok || several || c.Metered != budget.ByProvider {
		return
	}
	s.metrics.compared.WithLabelValues(string(difference.Agreement)).Inc()
	if difference.Agreement == pricing.Over || difference.Agreement == pricing.Under {
		s.log.Info("filter: the provider reports another cost", "decision", c.ID, "model", c.Model,
			"ours_usd", difference.Ours.String(), "provider_usd", c.ProviderCost)
	}
}

// noteHealth tells how the targets of a call did. A client that left says nothing about them.
func (s *Server) noteHealth(call *Call, c *budget.Closeout) {
	if s.decider.Health == nil || call.reader == nil {
		return
	}
	attempts := c.AttemptRows
	if attempts == nil { // there is no filter in the cluster
		attempts = []budget.Attempt{{Provider: call.decision.RoutedProvider, Model: call.decision.RoutedModel, Ended: budget.AttemptAnswered, Status: call.status, FirstByte: call.answered.Sub(call.released)}}
	}
	s.decider.Health.SawAttempts(attempts, call.decision.Stream, time.Now())
}

// settleRetrieval tells the ledger what a fetched response used: the call that
// asked for it was closed out without knowing.
func (s *Server) settleRetrieval(call *Call) {
	if call.reader == nil {
		return
	}
	reading := call.reader.Reading()
	said, d := reported(&reading), call.decision
	if !reading.Terminal || said.Metered() == nil || reading.Partial || reading.ID == "" {
		return
	}
	call.retrieval = false
	priced := budget.Decision{Call: d.Call, RoutedProvider: d.RoutedProvider, RoutedModel: reading.Model}
	if reading.Created > 0 {
		priced.At = time.Unix(reading.Created, 0) // when it was asked for, as the provider has it
	}
	c := &budget.Closeout{
		Org: call.org, At: time.Now(), Outcome: budget.Complete, Attempts: 1, HTTPStatus: call.status,
		Model: said.Model, RawUsage: said.Raw, ProviderCost: said.Cost, ResponseID: said.ResponseID,
		Detail: "its usage was told when call " + call.id.String() + " fetched it",
	}
	priced.ChargeUsage(c, call.config, said)
	s.compare(c)
	s.ledger.CloseOutResponse(c)
}

// closeout says how call ended and what all its attempts cost.
func (s *Server) closeout(call *Call) *budget.Closeout {
	c := s.lastAttempt(call)
	call.decision.AddAttempts(c, call.config, call.tries, call.attempts, providerAnswered(call))
	return c
}

// lastAttempt says how call ended and what the attempt cost whose answer the client
// got. What nobody knows is charged, and the record says why.
func (s *Server) lastAttempt(call *Call) *budget.Closeout {
	c := &budget.Closeout{
		ID: call.id, Org: call.org, At: time.Now(),
		Attempts: max(call.attempts, 1), HTTPStatus: call.status, Detail: call.details,
	}
	d := call.decision.ForAttempt(call.tries, call.attempts)
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
		d.ChargeEnvelope(c)
		c.Awaited = true // the access log may tell of its attempts
		return c
	}

	reading := call.reader.Reading()
	said := reported(&reading)
	c.Model, c.RawUsage, c.ProviderCost, c.ResponseID = said.Model, said.Raw, said.Cost, said.ResponseID
	c.Outcome = outcome(call)
	if reading.Failure != "" {
		c.Detail = join(c.Detail, providerFailed)
	}
	if call.fault != nil {
		c.Detail = join(c.Detail, call.fault.Error())
	}
	if call.watch != nil && call.watch.detail != "" {
		c.Detail = join(c.Detail, call.watch.detail)
	}
	switch {
	case said.Metered() != nil && !reading.Partial && (call.ended || reading.Terminal) && call.beside != "" && !call.toolsCounted():
		c.Detail = join(c.Detail, call.beside+" can't be read in this mode; charged at its bound")
		d.ChargeBeside(c, call.config, said)
	case said.Metered() != nil && !reading.Partial && (call.ended || reading.Terminal):
		d.ChargeUsage(c, call.config, said)
	case call.status >= http.StatusBadRequest && providerAnswered(call):
		// An error that the provider itself answered is not billed: none of the
		// recorded replies from 400 up carries usage.
		d.Free(c)
	case call.status >= http.StatusBadRequest || call.fault != nil:
		c.Detail = join(c.Detail, "the provider may have done the work")
		d.ChargeHeld(c)
	case call.request.Background && (said.Metered() == nil || reading.Partial):
		c.Detail = join(c.Detail, "a job in the background; charged in full until a call fetches its usage")
		c.Awaited = reading.ID != ""
		d.ChargeHeld(c)
	default:
		c.Detail = join(c.Detail, shortfall(call, &reading))
		d.ChargeSeen(c, call.config, said, reading.OutputBytes)
	}
	return c
}

// reported is what a reading says, in the words of package budget.
func reported(r *wire.Reading) *budget.Reported {
	return &budget.Reported{
		Usage: r.Usage, Parts: r.Parts, Raw: r.RawUsage,
		Model: r.Model, ServiceTier: r.ServiceTier, Speed: r.Speed, Region: r.Region, SearchContext: r.SearchContext,
		Cost: r.ReportedCost, ResponseID: r.ID,
	}
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

// viaUpstream are Envoy's response_code_details of an answer that came from upstream.
const viaUpstream = "via_upstream"

// providerAnswered tells an error that came from upstream from one that Envoy
// made when the upstream failed it.
func providerAnswered(call *Call) bool {
	return call.details == "" || call.details == viaUpstream
}

// toolsCounted reports whether the answer of a logged call counts the calls of hosted tools itself.
func (call *Call) toolsCounted() bool {
	x, ok := call.reader.(*extracted)
	return ok && x.tools
}

func shortfall(call *Call, reading *wire.Reading) string {
	switch {
	case call.logged && !call.ended:
		return fmt.Sprintf("cut after %d bytes of its answer; estimated from their number", call.size)
	case call.logged && reading.Usage == nil && call.request.Stream && !call.request.WantsUsage && (call.codec.API() == wire.OpenAIChat || call.codec.API() == wire.OpenAICompletions):
		return fmt.Sprintf("the stream was not asked for its usage (stream_options.include_usage); estimated from the %d bytes of its answer", call.size)
	case call.logged && reading.Usage == nil:
		return fmt.Sprintf("Envoy found no usage in the answer; estimated from its %d bytes", call.size)
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
	closeout := &budget.Closeout{
		ID: call.id, Org: call.org, At: time.Now(), Outcome: budget.Unmetered, Metered: budget.NothingSeen,
		Detail: call.decision.Reason, CostKnown: true,
	}
	s.ledger.CloseOut(closeout)
	s.span(call, closeout)
	s.metrics.closeouts.WithLabelValues(string(budget.Unmetered), string(budget.NothingSeen)).Inc()
}

// span tells of a call that is over. end is nil for a denial.
func (s *Server) span(call *Call, end *budget.Closeout) {
	if s.spans == nil {
		return
	}
	d := *call.decision // of its own, and without the prompt, which the call gives back
	d.Prompt = nil
	told := &spans.Call{Parent: call.parent[0], State: call.parent[1], Decision: &d, Ended: time.Now()}
	if end != nil {
		c := *end
		told.Closeout, told.Ended = &c, c.At
	}
	s.spans.Send(told)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
