package filter

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"keel/budget"
)

// authzSpace is where Envoy puts the metadata of an ext_authz answer.
const authzSpace = "envoy.filters.http.ext_authz"

// partialBody is the header by which Envoy says that a body was longer than what it sent. A client that sets it
// has its own call refused.
const partialBody = "x-envoy-auth-partial-body"

// Check decides a call in one round trip: it goes out as it came, with other headers, or not at all; or by way of
// the filter that changes it, where one stands behind (see change.go). It goes through the phases of
// a call whose request passes ext_proc, whose answers are the same in other messages. An error makes Envoy
// refuse the call.
func (s *Server) Check(ctx context.Context, in *authv3.CheckRequest) (out *authv3.CheckResponse, err error) {
	call := &Call{
		logged: true, checked: true, changer: said(ctx, envoyPhase) == phaseFast, force: said(ctx, envoyUsage) == usageForce,
	}
	s.metrics.inFlight.Inc()
	defer func() {
		s.metrics.inFlight.Dec()
		if p := recover(); p != nil {
			call.sent, out, err = false, nil, s.panicked("a check", call.id, p)
		}
		s.settle(call) // what was let out is ended by the access log
	}()
	s.deep.run(func() { out, err = s.check(ctx, call, in) })
	return out, err
}

func (s *Server) check(ctx context.Context, call *Call, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	request := in.GetAttributes().GetRequest().GetHttp()
	headers, body, partial := requestOf(request)
	s.identify(call, headers, &extprocv3.ProcessingRequest{
		MetadataContext: in.GetAttributes().GetMetadataContext(),
		Attributes:      map[string]*structpb.Struct{attributeSpace: peerOf(in.GetAttributes().GetSource())},
	})
	var answer *extprocv3.ProcessingResponse
	switch {
	case call.unkeyed != "" || call.codec == nil || len(body) == 0:
		answer = s.admit(call, len(body) == 0)
	case partial:
		answer = s.refusePartial(call, request.GetSize())
	default:
		answer = s.decide(call, body)
	}
	if answer.GetImmediateResponse() == nil {
		forget := s.rememberCheck(call, in.GetAttributes().GetRequest()) // first, so that a client that leaves now is seen here or there
		if ctx.Err() != nil {
			forget()
			return nil, grpcstatus.FromContextError(ctx.Err()).Err() // nobody waits any more: it is not let out
		}
		call.sent = true
	}
	return checked(call, answer), nil
}

// requestOf is a checked request in the terms of ext_proc. Its headers come in one of two forms, by how Envoy is told to encode them
// and by who read the message.
func requestOf(r *authv3.AttributeContext_HttpRequest) (headers *extprocv3.HttpHeaders, body []byte, partial bool) {
	list := r.GetHeaderMap()
	if len(r.GetHeaders()) > 0 {
		list = &corev3.HeaderMap{Headers: slices.Clone(list.GetHeaders())}
		for name, value := range r.GetHeaders() {
			list.Headers = append(list.Headers, &corev3.HeaderValue{Key: name, Value: value})
		}
	}
	for _, h := range list.GetHeaders() {
		partial = partial || strings.EqualFold(h.GetKey(), partialBody) && headerValue(h) == "true"
	}
	if body = r.GetRawBody(); len(body) == 0 {
		body = []byte(r.GetBody())
	}
	return &extprocv3.HttpHeaders{Headers: list, EndOfStream: len(body) == 0}, body, partial
}

// peerOf is who stands at the other end of the connection: the URI of its certificate, as ext_proc has it, where
// Envoy sends the certificate, else its first name in it.
func peerOf(peer *authv3.AttributeContext_Peer) *structpb.Struct {
	name := peer.GetPrincipal()
	if text, err := url.QueryUnescape(peer.GetCertificate()); err == nil && text != "" {
		if block, _ := pem.Decode([]byte(text)); block != nil {
			if certificate, err := x509.ParseCertificate(block.Bytes); err == nil && len(certificate.URIs) > 0 {
				name = certificate.URIs[0].String()
			} else {
				name = ""
			}
		}
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{"connection.uri_san_peer_certificate": structpb.NewStringValue(name)}}
}

// errFixed is what is against changing a request that ext_authz asks about.
var errFixed = errors.New("the mode that Keel is attached in (authz) lets a request pass as it is")

// changeable says what is against changing the call's body.
func (call *Call) changeable() error {
	if call.checked && !call.changer {
		return errFixed
	}
	return nil
}

// refusePartial answers a call of whose body Envoy sent only the beginning.
func (s *Server) refusePartial(call *Call, size int64) *extprocv3.ProcessingResponse {
	err := errors.New("the request body is longer than what Envoy sends to Keel (max_request_bytes)")
	if call.config.Settings(call.org).Malformed == budget.UnknownPass {
		return s.refuseUnreadable(call, err)
	}
	call.decision = &budget.Decision{Call: s.facts(call)}
	return s.refuse(call, &budget.Denial{
		Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge, Message: err.Error() + "; raise it, or send less",
	})
}

// checked is an answer of ext_proc in the terms of ext_authz.
func checked(call *Call, answer *extprocv3.ProcessingResponse) *authv3.CheckResponse {
	out := &authv3.CheckResponse{DynamicMetadata: answer.GetDynamicMetadata().GetFields()[metadataSpace].GetStructValue()}
	if denied := answer.GetImmediateResponse(); denied != nil {
		out.Status = &status.Status{Code: int32(codes.PermissionDenied)}
		out.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: denied.GetStatus(), Headers: texts(denied.GetHeaders().GetSetHeaders()), Body: string(denied.GetBody()),
		}}
		return out
	}
	common := answer.GetRequestBody().GetResponse()
	if headers := answer.GetRequestHeaders(); headers != nil {
		common = headers.GetResponse()
	}
	ok := &authv3.OkHttpResponse{
		Headers:         texts(common.GetHeaderMutation().GetSetHeaders()),
		HeadersToRemove: slices.Clone(common.GetHeaderMutation().GetRemoveHeaders()),
	}
	if call.decision != nil && call.request != nil && !call.retrieval && !call.decision.Unmetered {
		ok.ResponseHeadersToAdd = texts(responseHeaders(call))
	}
	out.Status = &status.Status{Code: int32(codes.OK)}
	out.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: ok}
	return out
}

// texts gives headers their value as text: ext_authz does not read raw values.
func texts(headers []*corev3.HeaderValueOption) []*corev3.HeaderValueOption {
	for _, h := range headers {
		if h.Header.Value == "" {
			h.Header.Value, h.Header.RawValue = string(h.Header.RawValue), nil
		}
	}
	return headers
}
