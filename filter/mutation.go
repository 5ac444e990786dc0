package filter

import (
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// This file says phase results in Envoy's terms and decides nothing.

// setHeader overwrites, so that what a client or provider sent under the name is gone.
func setHeader(name, value string) *corev3.HeaderValueOption {
	h := new(struct { // in one piece of memory
		option corev3.HeaderValueOption
		header corev3.HeaderValue
	})
	h.header.Key, h.header.RawValue = name, []byte(value)
	h.option.Header, h.option.AppendAction = &h.header, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	return &h.option
}

// Answers are made for every message, each in one piece of memory.

func requestHeadersAnswer(common *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	m := new(struct {
		answer extprocv3.ProcessingResponse
		phase  extprocv3.ProcessingResponse_RequestHeaders
		change extprocv3.HeadersResponse
	})
	m.answer.Response, m.phase.RequestHeaders, m.change.Response = &m.phase, &m.change, common
	return &m.answer
}

func requestBodyAnswer(common *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	m := new(struct {
		answer extprocv3.ProcessingResponse
		phase  extprocv3.ProcessingResponse_RequestBody
		change extprocv3.BodyResponse
	})
	m.answer.Response, m.phase.RequestBody, m.change.Response = &m.phase, &m.change, common
	return &m.answer
}

func responseHeadersAnswer(common *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	m := new(struct {
		answer extprocv3.ProcessingResponse
		phase  extprocv3.ProcessingResponse_ResponseHeaders
		change extprocv3.HeadersResponse
	})
	m.answer.Response, m.phase.ResponseHeaders, m.change.Response = &m.phase, &m.change, common
	return &m.answer
}

func responseBodyAnswer(common *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	m := new(struct {
		answer extprocv3.ProcessingResponse
		phase  extprocv3.ProcessingResponse_ResponseBody
		change extprocv3.BodyResponse
	})
	m.answer.Response, m.phase.ResponseBody, m.change.Response = &m.phase, &m.change, common
	return &m.answer
}

// streamedBody is a piece of a body in full duplex mode. It answers no message in
// particular; end ends the response for the client, and Envoy then leaves the upstream.
func streamedBody(body []byte, end bool) *extprocv3.ProcessingResponse {
	return responseBodyAnswer(&extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
		StreamedResponse: &extprocv3.StreamedBodyResponse{Body: body, EndOfStream: end},
	}}})
}

// replaceBody is a body mutation; an empty body has to be said by clearing it.
func replaceBody(body []byte) *extprocv3.BodyMutation {
	if len(body) == 0 {
		return &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_ClearBody{ClearBody: true}}
	}
	return &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: body}}
}

// contentLength must go with every replaced BUFFERED body, or Envoy answers 500.
func contentLength(body []byte) *corev3.HeaderValueOption {
	return setHeader("content-length", strconv.Itoa(len(body)))
}

// immediate is an answer in the provider's place. details shows up as
// response_code_details in the access log.
func immediate(status int, headers *extprocv3.HeaderMutation, body []byte, details string) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &extprocv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: headers,
			Body:    body,
			Details: details,
		},
	}}
}

// unread tells Envoy not to send the rest of a call that Keel can't read.
func unread() *extprocfilterv3.ProcessingMode {
	return &extprocfilterv3.ProcessingMode{
		RequestBodyMode:     extprocfilterv3.ProcessingMode_NONE,
		ResponseHeaderMode:  extprocfilterv3.ProcessingMode_SKIP,
		ResponseBodyMode:    extprocfilterv3.ProcessingMode_NONE,
		RequestTrailerMode:  extprocfilterv3.ProcessingMode_SKIP,
		ResponseTrailerMode: extprocfilterv3.ProcessingMode_SKIP,
	}
}

// bufferedRequest asks for the request body of an attempt in one piece.
func bufferedRequest() *extprocfilterv3.ProcessingMode {
	return &extprocfilterv3.ProcessingMode{
		RequestBodyMode:    extprocfilterv3.ProcessingMode_BUFFERED,
		ResponseHeaderMode: extprocfilterv3.ProcessingMode_SEND,
	}
}

// requestOnly lets an attempt pass that nobody looks at, and its answer without a word. Its request may still come, since it was not held either, and Envoy 1.40
// dies of an answer that is whole by then and waited (Filter::onUpstreamComplete resets a stream that is gone).
func requestOnly() *extprocfilterv3.ProcessingMode {
	return &extprocfilterv3.ProcessingMode{ResponseHeaderMode: extprocfilterv3.ProcessingMode_SKIP}
}

// buffered asks for the response body in one piece, and holds its headers until then.
func buffered() *extprocfilterv3.ProcessingMode {
	return &extprocfilterv3.ProcessingMode{
		ResponseHeaderMode:  extprocfilterv3.ProcessingMode_SEND,
		ResponseBodyMode:    extprocfilterv3.ProcessingMode_BUFFERED,
		ResponseTrailerMode: extprocfilterv3.ProcessingMode_SEND,
	}
}

// fullDuplex asks for the response body piece by piece, to be given back in pieces of Keel's own.
func fullDuplex() *extprocfilterv3.ProcessingMode {
	return &extprocfilterv3.ProcessingMode{
		ResponseHeaderMode:  extprocfilterv3.ProcessingMode_SEND,
		ResponseBodyMode:    extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED,
		ResponseTrailerMode: extprocfilterv3.ProcessingMode_SEND,
	}
}
