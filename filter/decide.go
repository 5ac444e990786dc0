package filter

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"keel/budget"
	"keel/filter/wire"
	"keel/filter/wire/encoding"
	"keel/filter/wire/openai"
	"keel/pricing/tokens"
)

// maxRequestBytes bounds a request body after decoding.
const maxRequestBytes = 64 << 20

// admit answers the request headers. What Keel can read waits for its body;
// what it can't is passed or refused here.
func (s *Server) admit(call *Call, noBody bool) *extprocv3.ProcessingResponse {
	if call.unkeyed != "" {
		return s.refuseUnkeyed(call)
	}
	if call.codec == nil {
		return s.admitUnknown(call)
	}
	if noBody {
		return s.admitBodiless(call)
	}
	answer := requestHeadersAnswer(&extprocv3.CommonResponse{
		HeaderMutation: &extprocv3.HeaderMutation{
			// A compressed response would have to be decoded here, and could not be
			// changed; accept-encoding goes so that most come plain.
			RemoveHeaders: append(call.remove, "accept-encoding"),
		},
	})
	answer.DynamicMetadata = carryPending(call)
	call.remove, call.admitted = nil, true
	return answer
}

// admitBodiless answers a call that has no body. It either fetches what an
// earlier call was decided for, and is read only for the usage that it may
// tell, or it is no request of its API.
func (s *Server) admitBodiless(call *Call) *extprocv3.ProcessingResponse {
	call.bodiless = true
	request, err := call.codec.ReadRequest(call.path, nil)
	if err == nil && request.Prompt.Task != tokens.Retrieve {
		err = &wire.SyntaxError{Reason: "it is empty"}
	}
	if err != nil {
		return s.refuseUnreadable(call, err)
	}
	call.request, call.retrieval = request, true
	call.decision = &budget.Decision{
		Call: s.facts(call), Action: budget.Allow, Unmetered: true, RoutedProvider: call.provider,
		Reason: "fetches what an earlier call made; its usage belongs to that call",
	}
	s.ledger.Record(call.decision)
	s.metrics.decisions.WithLabelValues(call.decision.API, string(budget.Allow)).Inc()
	s.closeUnmetered(call)
	answer := requestHeadersAnswer(&extprocv3.CommonResponse{
		HeaderMutation: &extprocv3.HeaderMutation{
			SetHeaders:    []*corev3.HeaderValueOption{setHeader(headerTarget, call.provider+"/")},
			RemoveHeaders: append(without(call.remove, headerTarget), "accept-encoding"),
		},
		ClearRouteCache: true,
	})
	answer.DynamicMetadata = carryNothing(call)
	if call.logged { // the usage that it fetches comes with the access log
		answer.DynamicMetadata = carryCall(call)
	}
	return answer
}

func (s *Server) admitUnknown(call *Call) *extprocv3.ProcessingResponse {
	d := &budget.Decision{Call: s.facts(call), Action: budget.Allow, Unmetered: true}
	d.API = unknownAPI
	call.decision = d
	settings := call.config.Settings(call.org)
	d.Rules = []budget.Rule{{Kind: budget.KindSettings, Name: settings.Name, Version: settings.Version, Effect: "unknown: " + string(settings.Unknown)}}
	what := fmt.Sprintf("%s %s is not an API that Keel can read", call.method, pathOnly(call.path))
	if settings.Unknown == budget.UnknownDeny {
		d.Unmetered = false
		return s.refuse(call, &budget.Denial{
			Status: http.StatusForbidden, Code: "unknown_traffic",
			Message: what + "; the settings of organisation " + call.org + " deny such calls (unknown: deny)",
		})
	}
	d.Reason = what + "; passed unmetered by the settings of organisation " + call.org
	s.ledger.Record(d)
	s.metrics.decisions.WithLabelValues(unknownAPI, string(d.Action)).Inc()
	s.closeUnmetered(call)

	common := &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{RemoveHeaders: call.remove}}
	if provider := s.impliedProvider(call); provider != "" {
		common.HeaderMutation.SetHeaders = []*corev3.HeaderValueOption{setHeader(headerTarget, provider+"/")}
		common.HeaderMutation.RemoveHeaders = without(call.remove, headerTarget)
		common.ClearRouteCache = true
	}
	answer := requestHeadersAnswer(common)
	answer.ModeOverride = unread()
	answer.DynamicMetadata = carryNothing(call)
	return answer
}

// impliedProvider is where a call goes that can't be read: by its host, else by the look of its path.
func (s *Server) impliedProvider(call *Call) string {
	if call.provider != "" {
		return call.provider
	}
	switch path := pathOnly(call.path); {
	case strings.HasPrefix(path, "/v1/messages"), strings.HasPrefix(path, "/v1/complete"):
		return "anthropic"
	case strings.HasPrefix(path, "/v1beta/"):
		return "google"
	case strings.HasPrefix(path, "/v1/"):
		return "openai"
	}
	return ""
}

// decide reads the body, asks for the decision and answers it.
func (s *Server) decide(call *Call, body []byte) *extprocv3.ProcessingResponse {
	plain, err := call.read(body)
	if err != nil {
		return s.refuseUnreadable(call, err)
	}
	facts := s.factsWithBody(call, plain)
	if call.dryRun {
		return s.dryRun(call, &facts)
	}

	// Not the stream's context: a client that leaves must not leave behind a
	// hold that nobody knows of.
	patience := patient(s.timeout)
	defer patience.end()
	call.decision = s.decider.Decide(patience, call.config, &facts)
	if call.logged {
		call.beside = besideUsage(call)
	}
	call.request.Prompt.Release() // the body is Envoy's again; the call may last for hours
	s.metrics.decisions.WithLabelValues(string(call.codec.API()), string(call.decision.Action)).Inc()
	if call.decision.Action == budget.Deny {
		return s.answerDenial(call)
	}
	return s.release(call, plain, len(plain) != len(body) || call.encoding != "")
}

// release lets the call out to the routed target, changed as decided.
func (s *Server) release(call *Call, body []byte, replaced bool) *extprocv3.ProcessingResponse {
	if call.checked {
		return s.releaseChecked(call, body)
	}
	w := rewritingOf(call)
	path, changed, err := w.of(call.codec, call.request, call.path, body)
	if err != nil { // it could be done to the body as it came
		return s.unconstrained(call, err)
	}
	call.request.UsageForced = w.ForceUsage

	mutation := toTarget(call)
	if path != call.path {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader(":path", path))
	}
	common := &extprocv3.CommonResponse{HeaderMutation: mutation, ClearRouteCache: true}
	if replaced || !bytes.Equal(changed, body) {
		common.BodyMutation = replaceBody(changed)
		mutation.SetHeaders = append(mutation.SetHeaders, contentLength(changed))
		if call.encoding != "" {
			mutation.RemoveHeaders = append(mutation.RemoveHeaders, "content-encoding")
		}
	}
	answer := requestBodyAnswer(common)
	answer.DynamicMetadata = carryCall(call)
	return answer
}

// toTarget are the headers by which a call goes where it was decided. Envoy takes time for each, so none is removed twice.
func toTarget(call *Call) *extprocv3.HeaderMutation {
	d := call.decision
	mutation := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{setHeader(headerTarget, targetOf(d))}}
	if !call.admitted {
		mutation.RemoveHeaders = append(without(call.remove, headerTarget), "accept-encoding")
	}
	if d.RoutedProvider != call.provider {
		// The credential was given for another provider. The target's own comes after this filter, from Envoy.
		mutation.RemoveHeaders = append(mutation.RemoveHeaders, credentialHeaders...)
	}
	return mutation
}

// targetOf is where a decision sends a call, as routes match on it.
func targetOf(d *budget.Decision) string { return d.RoutedProvider + "/" + d.RoutedModel }

// credentialHeaders are where the providers' APIs take a key or token.
var credentialHeaders = []string{"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-amz-security-token", "cookie"}

// read decodes the body and reads the request, and returns it as plain text.
func (call *Call) read(body []byte) (plain []byte, err error) {
	if plain, err = decodeRequest(call.encoding, body); err == nil {
		call.request, err = call.codec.ReadRequest(call.path, plain)
	}
	return plain, err
}

// factsWithBody is what the decision is made from, of a call whose body was read.
func (s *Server) factsWithBody(call *Call, plain []byte) budget.Call {
	facts := s.facts(call)
	facts.Constrainable = func(c budget.Constraint) error {
		if err := call.changeable(); err != nil {
			return err
		}
		return call.constrainable(plain, c)
	}
	facts.Watchable = call.watchable
	facts.Changeable = call.changeable
	return facts
}

// facts is what is known of a call: of its request, where that was read.
func (s *Server) facts(call *Call) budget.Call {
	facts := budget.Call{
		ID: call.id, Org: call.org, At: call.at, Subject: call.subject,
		Provider: call.provider, Path: pathOnly(call.path), Choices: 1,
	}
	if call.codec != nil {
		api := call.codec.API()
		facts.API = string(api)
		own := call.provider
		facts.Routable = func(provider string) bool { return provider == own || speaks(provider, api) }
	}
	if r := call.request; r != nil {
		facts.Model, facts.Stream, facts.ServiceTier = r.Model, r.Stream, r.ServiceTier
		facts.Effort = r.Effort
		facts.Speed, facts.Region, facts.SearchContext = r.Speed, r.Region, r.SearchContext
		facts.MaxOutputTokens, facts.Choices, facts.Prompt = r.MaxOutputTokens, r.Choices, &r.Prompt
	}
	return facts
}

// refuseUnreadable answers a body that is not what its API says. Where the
// settings pass unknown traffic it goes out unmetered, byte for byte as it came.
func (s *Server) refuseUnreadable(call *Call, err error) *extprocv3.ProcessingResponse {
	call.decision = &budget.Decision{Call: s.facts(call), Action: budget.Allow}
	settings := call.config.Settings(call.org)
	if settings.Malformed == budget.UnknownPass {
		d := call.decision
		d.Unmetered = true
		d.Reason = err.Error() + "; passed unmetered by the settings of organisation " + call.org
		d.Rules = []budget.Rule{{Kind: budget.KindSettings, Name: settings.Name, Version: settings.Version, Effect: "malformed: pass"}}
		d.RoutedProvider, d.RoutedModel = call.provider, ""
		s.ledger.Record(d)
		s.metrics.decisions.WithLabelValues(string(call.codec.API()), string(d.Action)).Inc()
		s.closeUnmetered(call)
		common := &extprocv3.CommonResponse{
			HeaderMutation: &extprocv3.HeaderMutation{
				SetHeaders:    []*corev3.HeaderValueOption{setHeader(headerTarget, call.provider+"/")},
				RemoveHeaders: without(call.remove, headerTarget),
			},
			ClearRouteCache: true,
		}
		answer := requestBodyAnswer(common)
		if call.bodiless {
			answer = requestHeadersAnswer(common)
		}
		answer.DynamicMetadata = carryNothing(call)
		return answer
	}
	code := "invalid_body"
	var field *wire.RequestError
	if errors.As(err, &field) {
		code = "invalid_request"
	}
	return s.refuse(call, &budget.Denial{Status: http.StatusBadRequest, Code: code, Message: err.Error()})
}

// refuseUnkeyed answers a call whose subject this processor may not write down as it is: it can't say who pays.
func (s *Server) refuseUnkeyed(call *Call) *extprocv3.ProcessingResponse {
	call.decision = &budget.Decision{Call: s.facts(call)}
	if call.codec == nil {
		call.decision.API = unknownAPI
	}
	s.log.Error("filter: a call was refused, because a label asks for a pseudonym and this processor has no key: start it with --pseudonym-key", "label", call.unkeyed, "org", call.org)
	return s.refuse(call, &budget.Denial{
		Status: http.StatusServiceUnavailable, Code: "pseudonym_key_missing",
		Message: "label " + call.unkeyed + " is kept as a pseudonym, and this processor has no key to make one; its operator has to start it with --pseudonym-key",
	})
}

// refuse makes a denial of the filter's own into a decision and answers it.
func (s *Server) refuse(call *Call, denial *budget.Denial) *extprocv3.ProcessingResponse {
	d := call.decision
	d.Action, d.Reason, d.Denial = budget.Deny, denial.Message, denial
	s.ledger.Record(d)
	s.metrics.decisions.WithLabelValues(d.API, string(d.Action)).Inc()
	return s.answerDenial(call)
}

// patienceOfClients is the longest wait that a client library is left to sit out. The libraries of OpenAI and
// Anthropic try a 429 again unless told that it is in vain, and Anthropic's (2.13) sleeps as long as retry-after
// says: days, where the budget is of a month.
const patienceOfClients = time.Minute

// answerDenial renders a recorded denial in the error shape of the API that was called.
func (s *Server) answerDenial(call *Call) *extprocv3.ProcessingResponse {
	denial := call.decision.Denial
	s.metrics.refused.WithLabelValues(denial.Code).Inc()
	call.closed = true // a denial is its own end
	s.span(call, nil)
	var codec wire.Codec = openai.Chat{}
	if call.codec != nil {
		codec = call.codec
	}
	contentType, body := codec.Refuse(wire.Refusal{
		Status: denial.Status, Code: denial.Code, Message: denial.Message,
		DecisionID: call.id.String(), Details: denial.Details,
	})
	headers := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader("content-type", contentType),
		setHeader(headerDecision, call.id.String()),
	}}
	if denial.RetryAfter > 0 {
		seconds := int64((denial.RetryAfter + time.Second - 1) / time.Second)
		headers.SetHeaders = append(headers.SetHeaders, setHeader("retry-after", strconv.FormatInt(seconds, 10)))
	}
	if denial.RetryAfter <= 0 || denial.RetryAfter > patienceOfClients {
		headers.SetHeaders = append(headers.SetHeaders, setHeader("x-should-retry", "false"))
	}
	return immediate(denial.Status, headers, body, "keel_"+denial.Code)
}

// dryRun answers with the decision in place of the call.
func (s *Server) dryRun(call *Call, facts *budget.Call) *extprocv3.ProcessingResponse {
	call.closed = true
	body := s.decider.Preview(call.config, facts).DryRunJSON()
	return immediate(http.StatusOK, &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader("content-type", "application/json"),
		setHeader(headerDecision, call.id.String()),
	}}, body, "keel_dry_run")
}

func decodeRequest(contentEncoding string, body []byte) ([]byte, error) {
	if contentEncoding == "" {
		return body, nil
	}
	decoder, err := encoding.New(contentEncoding, maxRequestBytes)
	if err != nil {
		return nil, fmt.Errorf("request body: %w", err)
	}
	defer decoder.Close()
	plain, err := decoder.Write(body, true)
	if err != nil {
		return nil, fmt.Errorf("request body: content-encoding %q: %w", contentEncoding, err)
	}
	return plain, nil
}

func pathOnly(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}

// without returns list without name, leaving list as it is: a header that is
// both set and removed in one answer would be gone.
func without(list []string, name string) []string {
	out := make([]string, 0, len(list)+1)
	for _, s := range list {
		if s != name {
			out = append(out, s)
		}
	}
	return out
}
