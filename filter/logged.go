package filter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/structpb"

	"keel/budget"
	"keel/filter/wire"
	"keel/filter/wire/apis"
	"keel/pricing/tokens"
)

// A logged call is one whose answer does not pass the processor (modes light and authz). Its access log entry ends it:
// what it was is in Envoy's metadata, as the filter left it there, and what it used beside that, as
// Envoy's own filters found it in the answer (see extracted.go). So it does not matter which replica gets the
// entry, and what the entry does not tell is an estimate, which says so. Where none comes, the sweeper ends the call.

// endLogged ends the call that an entry tells of, if it is a logged one that was let out, or that Envoy refused, which it reports.
func (s *Server) endLogged(id uuid.UUID, fields map[string]*structpb.Value, entry *accesslogdatav3.HTTPAccessLogEntry) (refused bool) {
	text := fields[metadataAsked].GetStringValue()
	if text == "" {
		return false
	}
	call := &Call{id: id, logged: true, config: s.config.Load(), org: fields[metadataOrg].GetStringValue()}
	if fields[metadataCall].GetStringValue() == "" {
		return s.refuseLogged(call, text, entry)
	}
	var carried carriedCall
	if err := json.Unmarshal([]byte(fields[metadataCall].GetStringValue()), &carried); err != nil {
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
	if call.readEntry(entry); call.reader == nil && !call.retrieval {
		if c := s.correction(id, fields, entry); c != nil {
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

// readEntry fills the third section of a call, what was observed of its answer, from the access log.
func (call *Call) readEntry(entry *accesslogdatav3.HTTPAccessLogEntry) {
	common, response := entry.GetCommonProperties(), entry.GetResponse()
	call.status, call.details = int(response.GetResponseCode().GetValue()), response.GetResponseCodeDetails()
	call.attempts, call.size = int(common.GetUpstreamRequestAttemptCount()), int64(response.GetResponseBodyBytes())
	answeredHere := common.GetTimeToFirstUpstreamRxByte() == nil && !common.GetResponseFlags().GetDownstreamConnectionTermination()
	call.ended = call.details == viaUpstream || answeredHere || call.details == "response_payload_too_large"
	if call.status == 0 || !wentOut(entry) {
		return // the client left before there was an answer, or Envoy answered before there was an attempt
	}
	call.released = common.GetStartTime().AsTime()
	call.answered = call.released.Add(common.GetTimeToFirstUpstreamRxByte().AsDuration())
	header := make(http.Header)
	for name, value := range response.GetResponseHeaders() {
		header.Set(name, value)
	}
	if e := header.Get("content-encoding"); e != "" && e != "identity" {
		call.fault = fmt.Errorf("the answer came compressed (%s), and Envoy reads usage in plain text only", e)
	}
	reader := &extracted{ResponseReader: call.codec.NewReader(call.request, call.status, header), written: call.written(header)}
	reader.read(common.GetMetadata().GetFilterMetadata()[usageSpace].GetFields())
	call.reader = reader
}

// wentOut reports whether a provider may have had the call.
func wentOut(entry *accesslogdatav3.HTTPAccessLogEntry) bool {
	common := entry.GetCommonProperties()
	return entry.GetResponse().GetResponseCodeDetails() == viaUpstream || common.GetUpstreamRequestAttemptCount() > 0 || common.GetUpstreamRemoteAddress() != nil
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
func (s *Server) refuseLogged(call *Call, asked string, entry *accesslogdatav3.HTTPAccessLogEntry) bool {
	response := entry.GetResponse()
	if response.GetResponseCodeDetails() != tooLarge {
		return false
	}
	var carried carriedAsked
	if err := json.Unmarshal([]byte(asked), &carried); err != nil {
		return false
	}
	call.at, call.method, call.path, call.provider, call.subject = carried.At, carried.Method, carried.Path, carried.Provider, carried.Subject
	if codec, ok := apis.Match(call.provider, call.method, call.path); ok {
		call.codec = codec
	}
	call.status, call.details = int(response.GetResponseCode().GetValue()), response.GetResponseCodeDetails()
	s.observeUndecided(call)
	return true
}

// refuseUntold records what Envoy refused before the filter had answered for its headers: nothing that the filter knew of the call
// travelled with it. A filter that is shown answers has recorded it, and says so in its state.
func (s *Server) refuseUntold(entry *accesslogdatav3.HTTPAccessLogEntry) {
	common, request, response := entry.GetCommonProperties(), entry.GetRequest(), entry.GetResponse()
	if response.GetResponseCodeDetails() != tooLarge || response.GetResponseCode().GetValue() != http.StatusRequestEntityTooLarge || filterState(common, "response_header_latency_us") != nil {
		return
	}
	call := &Call{
		id: uuid.Must(uuid.NewV7()), logged: true, config: s.config.Load(), org: budget.DefaultOrg, at: common.GetStartTime().AsTime(),
		method: request.GetRequestMethod().String(), host: request.GetAuthority(), path: request.GetPath(),
	}
	s.findFormat(call)
	call.decision = &budget.Decision{Call: s.facts(call)}
	if call.codec == nil {
		call.decision.API = unknownAPI
	}
	s.refuse(call, &budget.Denial{
		Status: int(response.GetResponseCode().GetValue()), Code: codeTooLarge, Message: bodyTooLarge + " (Envoy refused it before Keel had answered: whose call it was is not known)",
	})
}

// textBytes are what one token of output comes to on the wire, at least, in nine of ten recorded streams: most of
// a stream is framing. Reasoning that is not shown makes it less, and is why it is that low for Gemini.
var textBytes = map[wire.API]int64{wire.OpenAIChat: 64, wire.OpenAICompletions: 64, wire.OpenAIResponses: 48, wire.Anthropic: 20}

// written is the output that the size of an answer speaks for, as text.
func (call *Call) written(header http.Header) int64 {
	if call.decision.Estimate.OutputTokensBound == 0 && call.codec != nil && !call.request.Stream {
		return 0 // vectors, ranks, pictures
	}
	if each := textBytes[call.codec.API()]; each > 0 && strings.HasPrefix(header.Get("content-type"), "text/event-stream") {
		return (call.size*budget.BytesPerToken + each - 1) / each
	}
	return call.size
}

// besideUsage says what a call may be billed for that Envoy can't read in its answer: it stands in lists, which its
// filters do not take over, or outside of the usage. "" for nothing.
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
