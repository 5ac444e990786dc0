package frame

import (
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
)

// The replies that change nothing. Nobody may write into them.
var (
	RequestBodyUnchanged      = &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}}
	RequestTrailersUnchanged  = &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}}
	ResponseHeadersUnchanged  = &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}}
	ResponseBodyUnchanged     = &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}}
	ResponseTrailersUnchanged = &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}
)

// frames of two bytes: a message that is one empty field. grpc-go does not write into them, and freeing them does nothing.
var (
	requestBodyFrame      = mem.BufferSlice{mem.SliceBuffer{3<<3 | 2, 0}}
	requestTrailersFrame  = mem.BufferSlice{mem.SliceBuffer{5<<3 | 2, 0}}
	responseHeadersFrame  = mem.BufferSlice{mem.SliceBuffer{2<<3 | 2, 0}}
	responseBodyFrame     = mem.BufferSlice{mem.SliceBuffer{4<<3 | 2, 0}}
	responseTrailersFrame = mem.BufferSlice{mem.SliceBuffer{6<<3 | 2, 0}}
)

func prebuiltFrame(m *extprocv3.ProcessingResponse) mem.BufferSlice {
	switch m {
	case ResponseBodyUnchanged:
		return responseBodyFrame
	case RequestBodyUnchanged:
		return requestBodyFrame
	case RequestTrailersUnchanged:
		return requestTrailersFrame
	case ResponseHeadersUnchanged:
		return responseHeadersFrame
	case ResponseTrailersUnchanged:
		return responseTrailersFrame
	}
	return nil
}
