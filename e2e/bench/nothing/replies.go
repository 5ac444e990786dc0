package main

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// asKeel says what Keel says of a call that is allowed and goes where it was asked to go.
func asKeel(request *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	switch m := request.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return headersReply, nil
	case *extprocv3.ProcessingRequest_RequestBody:
		return bodyReply, nil
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		for _, h := range m.ResponseHeaders.GetHeaders().GetHeaders() {
			if h.Key == "content-type" && strings.HasPrefix(string(h.RawValue), "application/json") {
				return heldReply, nil
			}
		}
		return answerReply, nil
	case *extprocv3.ProcessingRequest_ResponseBody:
		if m.ResponseBody.EndOfStream {
			return endReply, nil
		}
	}
	return goOn(request)
}

const decisionID = "01a21a3d-aa50-753c-b099-ad16a75107f0"

var (
	headersReply = &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{
			HeaderMutation: &extprocv3.HeaderMutation{RemoveHeaders: []string{"x-keel-team", "x-keel-user", "x-keel-app", "x-keel-target", "accept-encoding"}},
		}}},
		DynamicMetadata: metadata("pending", "true"),
	}
	bodyReply = &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{
			HeaderMutation:  &extprocv3.HeaderMutation{SetHeaders: set("x-keel-target", "openai/"+"gpt-5-mini"), RemoveHeaders: []string{"x-keel-team", "x-keel-user", "x-keel-app", "accept-encoding"}},
			ClearRouteCache: true,
		}}},
		DynamicMetadata: metadata("call", `{"at":"2026-11-26T23:34:38.123456789Z","method":"POST","path":"/v1/chat/completions","asked":"openai","provider":"openai",`+
			`"model":"gpt-5-mini","input_tokens_bound":252,"output_tokens_bound":200,"bound_usd":"0.000463","envelope":{"limit_usd":"0.000463","attempts":1}}`),
	}
	answerReply = answerHeaders(nil)
	heldReply   = answerHeaders(&extprocfilterv3.ProcessingMode{
		ResponseHeaderMode: extprocfilterv3.ProcessingMode_SEND, ResponseBodyMode: extprocfilterv3.ProcessingMode_BUFFERED, ResponseTrailerMode: extprocfilterv3.ProcessingMode_SEND,
	})
	endReply = &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{
		HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: set("x-keel-cost-usd", "0.000063")},
	}}}}
)

func answerHeaders(mode *extprocfilterv3.ProcessingMode) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{
			HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: set(
				"x-keel-decision-id", decisionID, "x-keel-model", "gpt-5-mini", "x-keel-estimated-cost-usd", "0.000263", "x-keel-warning", "policy policy-02: budget-1 is in use")},
		}}},
		ModeOverride: mode,
	}
}

func set(pairs ...string) (all []*corev3.HeaderValueOption) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return all
}

func metadata(key, value string) *structpb.Struct {
	fields := map[string]*structpb.Value{
		"decision_id": structpb.NewStringValue(decisionID), "org": structpb.NewStringValue("default"), "pending": structpb.NewStringValue(""),
	}
	fields[key] = structpb.NewStringValue(value)
	return &structpb.Struct{Fields: map[string]*structpb.Value{"keel": structpb.NewStructValue(&structpb.Struct{Fields: fields})}}
}
