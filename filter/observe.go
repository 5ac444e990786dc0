package filter

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"keel/budget"
	"keel/filter/frame"
	"keel/filter/wire"
	"keel/filter/wire/encoding"
)

const (
	// maxBufferedBytes is up to where a unary response waits for its cost, so
	// that it can carry x-keel-cost-usd. It is Envoy's default buffer limit:
	// past it a BUFFERED response body is answered with 500.
	maxBufferedBytes = 1 << 20

	// maxResponseBytes bounds a response after decoding, against bombs.
	maxResponseBytes = 1 << 30

	// decodePiece is how many encoded bytes are decoded at a time.
	decodePiece = 8 << 10
)

// observeHeaders begins the third section of call.
func (s *Server) observeHeaders(call *Call, headers *extprocv3.HttpHeaders, message *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	header := (*headerMap)(headers.GetHeaders())
	call.status = header.status()
	call.details = strings.Clone(attribute(message, "response.code_details")) // or all of the attributes are kept
	call.attempts = attributeInt(message, "upstream.request_attempt_count")
	call.ended, call.answered = headers.EndOfStream, time.Now()

	if call.decision == nil {
		return s.observeUndecided(call)
	}
	if call.closed && !call.retrieval { // passed unmetered, or a denial on its way out
		return frame.ResponseHeadersUnchanged
	}
	call.reader = call.codec.NewReader(call.request, call.status, header)
	call.slimRequest()
	if call.encoded = header.Get("content-encoding"); call.encoded != "" {
		call.decoder, call.fault = encoding.New(call.encoded, maxResponseBytes)
	}
	if call.retrieval {
		return frame.ResponseHeadersUnchanged
	}
	mutation := &extprocv3.HeaderMutation{SetHeaders: responseHeaders(call)}
	if call.request.UsageForced {
		mutation.RemoveHeaders = []string{"content-length"} // an event may be hidden
	}
	answer := responseHeadersAnswer(&extprocv3.CommonResponse{HeaderMutation: mutation})
	if call.watch = newWatch(call); call.watch != nil {
		mutation.RemoveHeaders = []string{"content-length", "content-encoding"} // what goes out is decoded
		answer.ModeOverride = fullDuplex()
		return answer
	}
	if s.holdHeaders(call, header) {
		call.buffered = true
		answer.ModeOverride = buffered()
	}
	return answer
}

// What a call over the limit of Envoy is refused by.
const (
	codeTooLarge = "body_too_large"
	bodyTooLarge = "the request body is larger than Envoy buffers for Keel; raise request_body_buffer_limit of the route or send less"
)

// observeUndecided answers a response without a decision: Envoy itself refused
// the request before its body came (413), or another filter did.
func (s *Server) observeUndecided(call *Call) *extprocv3.ProcessingResponse {
	if call.config == nil {
		// A filter before this one answered: the stream starts here, and there
		// is no call to speak of.
		return frame.ResponseHeadersUnchanged
	}
	call.decision = &budget.Decision{Call: s.facts(call)}
	message := "Envoy answered " + strconv.Itoa(call.status) + " before the request could be read"
	if call.details != "" {
		message += " (" + call.details + ")"
	}
	code := "not_read"
	if call.status == http.StatusRequestEntityTooLarge {
		message, code = bodyTooLarge, codeTooLarge
	}
	return s.refuse(call, &budget.Denial{Status: call.status, Code: code, Message: message})
}

// holdHeaders reports whether the response is small and whole enough to wait for its cost.
func (s *Server) holdHeaders(call *Call, header wire.Header) bool {
	if call.ended || call.request.Stream || call.decoder != nil || call.fault != nil {
		return false
	}
	if !strings.HasPrefix(header.Get("content-type"), "application/json") {
		return false
	}
	length, err := strconv.ParseInt(header.Get("content-length"), 10, 64)
	return err == nil && length <= maxBufferedBytes
}

// responseHeaders are what every permitted call's response carries.
func responseHeaders(call *Call) []*corev3.HeaderValueOption {
	d := call.decision
	set := []*corev3.HeaderValueOption{
		setHeader(headerDecision, call.id.String()),
		setHeader(headerModel, d.ForAttempt(call.tries, call.attempts).RoutedModel),
	}
	if d.Estimate.Unpriced == "" {
		set = append(set, setHeader(headerEstimate, d.Estimate.Expected.String()))
	}
	if d.Action == budget.Substitute && d.RouteChoices[0].Unpriced == "" {
		set = append(set, setHeader(headerAsked, d.RouteChoices[0].Expected.String()))
	}
	for i := range d.Rules {
		rule := &d.Rules[i]
		if warning := rule.Warning(); warning != "" {
			set = append(set, setHeader(headerWarning, warningText(rule.Kind, rule.Name, warning)))
		}
	}
	return set
}

// warningText is the value of x-keel-warning.
func warningText(kind budget.Kind, name, warning string) string {
	if kind == budget.KindPolicy {
		return "policy " + name + ": " + warning
	}
	return "budget " + name + " " + warning
}

// observeBody meters a piece of the response and says what the client gets of it.
func (s *Server) observeBody(call *Call, body *extprocv3.HttpBody) *extprocv3.ProcessingResponse {
	if call.watch != nil {
		return s.observeWatched(call, body.Body, body.EndOfStream)
	}
	call.ended = call.ended || body.EndOfStream
	if call.reader == nil || call.closed && !call.retrieval {
		return frame.ResponseBodyUnchanged
	}
	forward := call.observe(body.Body, body.EndOfStream)
	if !call.ended && same(forward, body.Body) {
		return frame.ResponseBodyUnchanged
	}
	common := &extprocv3.CommonResponse{}
	if !same(forward, body.Body) {
		common.BodyMutation = replaceBody(forward)
	}
	if call.ended {
		// The reply must carry the cost, so the end comes before it. Nothing in
		// it waits: the ledger only takes a note.
		cost := s.settle(call)
		if call.buffered && cost != "" {
			common.HeaderMutation = &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{setHeader(headerCost, cost)}}
		}
	}
	return responseBodyAnswer(common)
}

// observe feeds the reader with the plain text of chunk and returns what to forward.
func (call *Call) observe(chunk []byte, end bool) []byte {
	switch {
	case call.fault != nil:
		return chunk // an encoding that can't be read any more is passed as it is
	case call.decoder == nil:
		return call.reader.Feed(chunk, end)
	}
	// In pieces, so that what a bomb makes of them is let go before the next.
	for rest, last := chunk, false; !last && call.fault == nil; {
		piece := rest[:min(len(rest), decodePiece)]
		rest = rest[len(piece):]
		last = len(rest) == 0
		plain, err := call.decoder.Write(piece, end && last)
		call.reader.Feed(plain, end && last && err == nil)
		if err != nil {
			call.fault = errors.Join(errors.New("response body could not be decoded: "+call.encoded), err)
		}
	}
	return chunk // hiding an event would mean encoding again
}

func (s *Server) observeTrailers(call *Call) *extprocv3.ProcessingResponse {
	call.ended = true
	if call.reader != nil && (!call.closed || call.retrieval) {
		call.observe(nil, true)
	}
	return frame.ResponseTrailersUnchanged
}

// same reports whether two slices are the same memory, which is how a reader
// says that nothing changed.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
