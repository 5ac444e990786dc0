package filter

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/structpb"

	"keel/budget"
	"keel/filter/frame"
	"keel/filter/wire"
	"keel/filter/wire/apis"
	"keel/filter/wire/encoding"
)

// attempt is one try of a call at one upstream, as the filter in the cluster sees
// it: a stream of its own, which may come to another replica than the call's. It
// belongs to the goroutine of its stream.
//
// Envoy keeps what it writes to the call's metadata when the attempt fails (proven on
// 1.40), so those after it read what it was charged.
type attempt struct {
	budget.Attempt
	config   *budget.Config
	codec    wire.Codec
	decision *budget.Decision // as carried
	path     string           // as it goes out
	labelled bool             // its endpoint says whose it is
	strange  bool             // and it should: the others of its cluster do
	rewrite  bool             // it is for another model than the request names

	encoded string              // content-encoding of the answer, "" for a plain one
	reader  wire.ResponseReader // of an answer that says that it failed
}

// id is that of the call's decision, for the log.
func (a *attempt) id() (id uuid.UUID) {
	if a != nil && a.decision != nil {
		id = a.decision.ID
	}
	return id
}

// answerAttempt answers a message of the filter in the cluster. a is nil for an
// attempt of a call that no envelope was made for, which is not looked at.
func (s *Server) answerAttempt(a **attempt, message *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	switch m := message.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		var err error
		if *a, err = s.readAttempt(message); err != nil {
			return nil, err
		}
		if *a == nil {
			answer := requestHeadersAnswer(nil)
			answer.ModeOverride = requestOnly()
			return answer, nil
		}
		return s.admitAttempt(*a, message)
	case *extprocv3.ProcessingRequest_RequestBody:
		if *a == nil {
			return frame.RequestBodyUnchanged, nil
		}
		return (*a).rewriteBody(m.RequestBody.Body)
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return frame.RequestTrailersUnchanged, nil
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		if *a == nil {
			return responseHeadersAnswer(nil), nil
		}
		return (*a).observeHeaders(m.ResponseHeaders), nil
	case *extprocv3.ProcessingRequest_ResponseBody:
		if *a == nil {
			return responseBodyAnswer(nil), nil
		}
		return (*a).observeBody(m.ResponseBody), nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		return frame.ResponseTrailersUnchanged, nil
	default:
		return nil, fmt.Errorf("keel: Envoy sent a message of kind %T that this version does not know", m)
	}
}

// readAttempt reads what travels with the call. It returns nil for a call that is
// not limited: one that was passed unmetered, or that never met the filter at the router.
func (s *Server) readAttempt(message *extprocv3.ProcessingRequest) (*attempt, error) {
	fields := message.GetMetadataContext().GetFilterMetadata()[metadataSpace].GetFields()
	text := fields[metadataCall].GetStringValue()
	if text == "" {
		return nil, nil
	}
	id, err := uuid.Parse(fields[metadataDecision].GetStringValue())
	var carried carriedCall
	if err == nil {
		err = carried.read([]byte(text))
	}
	if err != nil {
		return nil, fmt.Errorf("keel: the decision in the metadata %s can't be read: %w; does another filter write this namespace?", metadataSpace, err)
	}
	codec, ok := apis.Match(carried.Asked, carried.Method, carried.Path)
	if !ok {
		return nil, fmt.Errorf("keel: %s %s is of no API that this version knows: is a newer replica running beside this one?", carried.Method, carried.Path)
	}
	a := &attempt{
		config: s.config.Load(), codec: codec, decision: carried.decision(id, fields[metadataOrg].GetStringValue(), codec.API()),
		Attempt: budget.Attempt{
			Number: attributeInt(message, "upstream.request_attempt_count"), At: time.Now().UTC(), Address: attribute(message, "upstream.address"),
			Provider: carried.Provider, Model: carried.Model,
		},
	}
	for _, h := range message.GetRequestHeaders().GetHeaders().GetHeaders() {
		if h.Key == ":path" {
			a.path = headerValue(h)
		}
	}
	return a, a.findTarget(attribute(message, "xds.upstream_host_metadata"), attribute(message, "xds.cluster_metadata"))
}

// findTarget reads whose endpoint the attempt goes to, and which model it is for.
// Where the operator did not label it, it is the one that the call was sent to.
func (a *attempt) findTarget(hostMetadata, clusterMetadata string) error {
	labels, err := labelsIn(hostMetadata)
	if err != nil {
		return fmt.Errorf("keel: the metadata of upstream %s can't be read: %w", a.Address, err)
	}
	if provider := labels["provider"].GetStringValue(); provider != "" {
		a.Provider, a.labelled = provider, true
	} else if labels, err := labelsIn(clusterMetadata); err != nil {
		return fmt.Errorf("keel: the metadata of the cluster of upstream %s can't be read: %w", a.Address, err)
	} else {
		a.strange = labels["provider"].GetStringValue() != ""
	}
	if model := labels["model"].GetStringValue(); model != "" {
		a.Model = model
	}
	return nil
}

// noMetadata is what Envoy gives where there is none: an empty message in the text format is nothing at all.
const noMetadata = "NULL"

func labelsIn(metadata string) (map[string]*structpb.Value, error) {
	var m corev3.Metadata
	if metadata == noMetadata {
		return nil, nil
	}
	err := (prototext.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(metadata), &m)
	return m.GetFilterMetadata()[metadataSpace].GetFields(), err
}

// guessed says, for the record, that the attempt is taken for one at the call's own target although it may be at
// another: its endpoint is not labelled, and those of its cluster are, or the first attempt went elsewhere. It is "" else.
func (a *attempt) guessed(before []budget.Attempt) string {
	elsewhere := len(before) > 0 && before[0].Address != a.Address
	if a.labelled || !a.strange && !elsewhere {
		return ""
	}
	return fmt.Sprintf("endpoint %s has no metadata keel {provider, model}: counted as %s/%s, where the call was sent", a.Address, a.Provider, a.Model)
}

// admitAttempt lets the attempt out, or not.
func (s *Server) admitAttempt(a *attempt, message *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	before, err := carriedAttempts(message)
	if err != nil {
		return nil, err
	}
	guessed := a.guessed(before)
	a.Attempt = a.config.StartOrRewrite(a.decision, before, a.Attempt)
	if guessed != "" {
		a.Detail = join(a.Detail, guessed)
		s.metrics.unlabelled.Inc()
	}
	a.rewrite = a.Model != a.decision.RoutedModel // which is the one in the request
	if a.Broke && a.decision.Envelope.Mode == budget.Enforce {
		a.Refuse()
		s.metrics.refused.WithLabelValues(codeEnvelope).Inc()
		return a.refusal(before), nil
	}
	var change *extprocv3.CommonResponse
	if a.Provider != a.decision.RoutedProvider {
		// Whatever credential it has is for where the call was sent. The endpoint's own comes after this filter, from Envoy.
		change = &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{RemoveHeaders: credentialHeaders}}
	}
	answer := requestHeadersAnswer(change)
	if a.rewrite {
		answer.ModeOverride = bufferedRequest()
	}
	answer.DynamicMetadata = a.carry()
	return answer, nil
}

func (a *attempt) carry() *structpb.Struct {
	return inNamespace(map[string]*structpb.Value{attemptKey(a.Number): carried(&a.Attempt)})
}

// codeEnvelope is the code of the refusal of an attempt, and keel_ before it Envoy's response_code_details.
const codeEnvelope = "envelope_exceeded"

// refusal answers the client in place of an attempt. Envoy does not try again after it.
func (a *attempt) refusal(before []budget.Attempt) *extprocv3.ProcessingResponse {
	d := a.decision
	message := fmt.Sprintf("attempt %d at %s/%s was not let out: %s; send the call again, or raise max_attempts (decision %s)", a.Number, a.Provider, a.Model, a.Detail, d.ID)
	contentType, body := a.codec.Refuse(wire.Refusal{
		Status: http.StatusTooManyRequests, Code: codeEnvelope, Message: message, DecisionID: d.ID.String(),
		Details: map[string]string{
			"decision_id": d.ID.String(), "org": d.Org, "provider": a.Provider, "model": a.Model,
			"attempt": strconv.Itoa(a.Number), "attempts_before": strconv.Itoa(len(before)),
			"envelope_usd": d.Envelope.Limit.String(), "bound_usd": a.Bound.String(),
		},
	})
	answer := immediate(http.StatusTooManyRequests, &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader("content-type", contentType), setHeader("x-should-retry", "false"),
	}}, body, "keel_"+codeEnvelope)
	answer.DynamicMetadata = a.carry()
	return answer
}

// rewriteBody names the model of the endpoint in the request.
func (a *attempt) rewriteBody(body []byte) (*extprocv3.ProcessingResponse, error) {
	request, err := a.codec.ReadRequest(a.path, body)
	if err != nil {
		return nil, fmt.Errorf("keel: attempt %d of call %s: %w", a.Number, a.decision.ID, err)
	}
	path, changed := a.codec.Rewrite(request, a.path, body, wire.Edit{Model: a.Model})
	return requestBodyAnswer(&extprocv3.CommonResponse{
		BodyMutation:   replaceBody(changed),
		HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{contentLength(changed), setHeader(":path", path)}},
	}), nil
}

// observeHeaders notes how the upstream answered. The body of an error is asked for:
// Envoy tries again as soon as it has the headers, and what was billed is in the body.
func (a *attempt) observeHeaders(headers *extprocv3.HttpHeaders) *extprocv3.ProcessingResponse {
	header := (*headerMap)(headers.GetHeaders())
	status := header.status()
	answer := responseHeadersAnswer(nil)
	a.FirstByte = time.Since(a.At)
	if status < http.StatusBadRequest {
		a.Ended, a.Status = budget.AttemptAnswered, status
		answer.DynamicMetadata = a.carry()
		return answer
	}
	a.Fail(a.config, a.decision, status, &budget.Reported{})
	answer.DynamicMetadata = a.carry()
	if !headers.EndOfStream && readable(header) {
		a.reader = a.codec.NewReader(&wire.Request{API: a.codec.API(), Model: a.Model}, status, header)
		a.encoded = header.Get("content-encoding")
		answer.ModeOverride = buffered()
	}
	return answer
}

// readable reports whether the body of an error can wait in Envoy: past its buffer
// limit it would be lost, and an event stream may take its time.
func readable(header wire.Header) bool {
	size := header.Get("content-length")
	length, err := strconv.ParseInt(size, 10, 64)
	return (size == "" || err == nil && length <= maxBufferedBytes) && !strings.HasPrefix(header.Get("content-type"), "text/event-stream")
}

// observeBody reads what an error says that was used.
func (a *attempt) observeBody(body *extprocv3.HttpBody) *extprocv3.ProcessingResponse {
	answer := responseBodyAnswer(nil)
	if a.reader == nil {
		return answer
	}
	plain, err := body.Body, error(nil)
	if a.encoded != "" {
		plain, err = decodeBody(a.encoded, body.Body)
	}
	a.reader.Feed(plain, true)
	reading := a.reader.Reading()
	a.Fail(a.config, a.decision, a.Status, reported(&reading))
	if reading.Failure != "" {
		a.Detail = join(a.Detail, providerFailed)
	}
	if err != nil {
		a.Detail = join(a.Detail, err.Error())
	}
	answer.DynamicMetadata = a.carry()
	return answer
}

func decodeBody(contentEncoding string, body []byte) ([]byte, error) {
	decoder, err := encoding.New(contentEncoding, maxBufferedBytes)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	plain, err := decoder.Write(body, true)
	if err != nil {
		return plain, errors.Join(errors.New("the body could not be decoded: "+contentEncoding), err)
	}
	return plain, nil
}
