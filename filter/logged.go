package filter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"keel/budget"
	"keel/filter/frame"
	"keel/filter/wire"
	"keel/filter/wire/apis"
	"keel/pricing/tokens"
)

// A logged call is one whose answer does not pass the processor (modes light and authz). Its access log entry ends it:
// what it was is in Envoy's metadata, as the filter left it there, and what it used beside that, as
// Envoy's filter found it in the answer (see extracted.go). So it does not matter which replica gets the
// entry, and what the entry does not tell is an estimate, which says so. Where none comes, the sweeper ends the call.

// endLogged ends the call that an entry tells of, if it is a logged one that was let out, or that Envoy refused, which it reports.
func (s *Server) endLogged(id uuid.UUID, org string, fields frame.Fields, line *frame.Line) (refused bool) {
	asked := fields.Text(metadataAsked)
	if len(asked) == 0 {
		return false
	}
	call := &Call{id: id, logged: true, config: s.config.Load(), org: org}
	text := fields.Text(metadataCall)
	if len(text) == 0 {
		return s.refuseLogged(call, asked, line)
	}
	var carried carriedCall
	if err := carried.read(text); err != nil {
		s.log.Error("filter: the access log tells of a call that can't be read; the sweeper will charge it in full", "decision", id, "error", err)
		return false
	}
	codec, ok := apis.Match(carried.Asked, carried.Method, carried.Path)
	if !ok {
		s.log.Error("filter: the access log tells of a call of no API that this version knows: is a newer replica running beside this one?", "decision", id, "path", pathOnly(carried.Path))
		return false
	}
	call.at, call.method, call.path, call.provider, call.codec = carried.At, carried.Method, carried.Path, carried.Asked, codec
	call.decision = carried.decision(id, call.org, codec.API())
	call.request = &wire.Request{
		API: codec.API(), Model: carried.Model, Stream: carried.Stream, Choices: max(carried.Choices, 1), WantsUsage: carried.WantsUsage,
		Background: carried.Background, ServiceTier: carried.ServiceTier, Speed: carried.Speed, Region: carried.Region, SearchContext: carried.SearchContext,
	}
	call.retrieval, call.beside, call.sent = carried.Retrieval, carried.Beside, true
	if call.readLine(line); call.reader == nil && !call.retrieval {
		if c := s.correction(id, org, fields, line); c != nil {
			s.finish(call, c)
			return false
		}
	}
	if call.retrieval {
		s.settleRetrieval(call)
		return false
	}
	s.finish(call, s.closeout(call))
	return false
}

// readLine fills the third section of a call, what was observed of its answer, from the access log.
func (call *Call) readLine(line *frame.Line) {
	call.status, call.details = int(line.Status), detailsOf(line)
	call.attempts, call.size = int(line.Attempts), int64(line.Bytes)
	answeredHere := !line.Answered && !line.Flags.Has(frame.DownstreamConnectionTermination)
	call.ended = call.details == viaUpstream || answeredHere || call.details == "response_payload_too_large"
	if call.status == 0 || !wentOut(line) {
		return // the client left before there was an answer, or Envoy answered before there was an attempt
	}
	call.released = line.Start
	call.answered = call.released.Add(line.FirstByte)
	header := (*loggedHeaders)(&line.Headers)
	if e := header.Get("content-encoding"); e != "" && e != "identity" {
		call.fault = fmt.Errorf("the answer came compressed (%s), and Envoy reads usage in plain text only", e)
	}
	reader := &extracted{ResponseReader: call.codec.NewReader(call.request, call.status, header), written: call.written(header)}
	reader.read(line.Metadata(usageSpace))
	call.reader = reader
}

// wentOut reports whether a provider may have had the call.
func wentOut(line *frame.Line) bool {
	return string(line.Details) == viaUpstream || line.Attempts > 0 || line.Upstream
}

// finish writes the end of a logged call down. The answer is with the client: nothing waits for it to be durable.
func (s *Server) finish(call *Call, c *budget.Closeout) {
	call.closed = true
	if c.ResponseID == "" {
		c.Awaited = false // this was the last word on its attempts
	}
	s.ledger.CloseOut(c)
	s.metrics.closeouts.WithLabelValues(string(c.Outcome), string(c.Metered)).Inc()
	s.compare(c)
	s.noteHealth(call, c)
}

// tooLarge is what the access log says of a body over the limit.
const tooLarge = "request_payload_too_large"

// refuseLogged records what Envoy refused before its body could be read, which nobody told the filter, and reports whether it did.
func (s *Server) refuseLogged(call *Call, asked []byte, line *frame.Line) bool {
	if string(line.Details) != tooLarge {
		return false
	}
	var carried carriedAsked
	if err := json.Unmarshal(asked, &carried); err != nil {
		return false
	}
	call.at, call.method, call.path, call.provider, call.subject = carried.At, carried.Method, carried.Path, carried.Provider, carried.Subject
	if codec, ok := apis.Match(call.provider, call.method, call.path); ok {
		call.codec = codec
	}
	call.status, call.details = int(line.Status), tooLarge
	s.observeUndecided(call)
	return true
}

// refuseUntold records what Envoy refused before the filter had answered for its headers: nothing that the filter knew of the call
// travelled with it. A filter that is shown answers has recorded it, and says so in its state.
func (s *Server) refuseUntold(line *frame.Line) {
	if string(line.Details) != tooLarge || line.Status != http.StatusRequestEntityTooLarge {
		return
	}
	if shown, _ := line.State("response_header_latency_us"); shown {
		return
	}
	call := &Call{
		id: uuid.Must(uuid.NewV7()), logged: true, config: s.config.Load(), org: budget.DefaultOrg, at: line.Start,
		method: line.Method.String(), host: string(line.Authority), path: string(line.Path),
	}
	s.findFormat(call)
	call.decision = &budget.Decision{Call: s.facts(call)}
	if call.codec == nil {
		call.decision.API = unknownAPI
	}
	s.refuse(call, &budget.Denial{
		Status: int(line.Status), Code: codeTooLarge, Message: bodyTooLarge + " (Envoy refused it before Keel had answered: whose call it was is not known)",
	})
}

// textBytes are what one token of output comes to on the wire, at least, in nine of ten recorded streams: most of
// a stream is framing. Reasoning that is not shown makes it less, and is why it is that low for Gemini.
var textBytes = map[wire.API]int64{wire.OpenAIChat: 64, wire.OpenAICompletions: 64, wire.OpenAIResponses: 48, wire.Anthropic: 20}

// written is the output that the size of an answer speaks for, as text.
func (call *Call) written(header wire.Header) int64 {
	if call.decision.Estimate.OutputTokensBound == 0 && call.codec != nil && !call.request.Stream {
		return 0 // vectors, ranks, pictures
	}
	if each := textBytes[call.codec.API()]; each > 0 && strings.HasPrefix(header.Get("content-type"), "text/event-stream") {
		return (call.size*budget.BytesPerToken + each - 1) / each
	}
	return call.size
}

// besideUsage says what a call may be billed for that Envoy can't read in its answer: it stands in lists, which
// json_to_metadata does not take over, or outside of the usage. "" for nothing.
func besideUsage(call *Call) string {
	r := call.request
	hosted := r.Prompt.Hosted
	tools := strings.HasPrefix(hosted, "hosted tool") || strings.HasPrefix(hosted, "tool ") || hosted == "stored prompt" || hosted == "agent"
	switch api := call.codec.API(); {
	case api == wire.Anthropic && !r.Stream && (strings.HasPrefix(hosted, "several models") || hosted == "context_management"):
		return "the usage of each iteration"
	case api == wire.Anthropic: // it counts its tools in the usage
		return ""
	case tools:
		return "calls of hosted tools"
	case api == wire.GeminiGenerate && (mediaIn(&r.Prompt) || mediaOut(call.decision.RoutedModel)):
		return "the modalities of the usage"
	}
	return ""
}

func mediaIn(p *tokens.Prompt) bool {
	for _, m := range p.Media {
		if m.Kind != tokens.Document {
			return true
		}
	}
	return p.Hosted != ""
}

func mediaOut(model string) bool {
	for _, part := range []string{"image", "tts", "audio", "live"} {
		if strings.Contains(model, part) {
			return true
		}
	}
	return false
}
