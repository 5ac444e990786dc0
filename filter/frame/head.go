package frame

import (
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
)

// A head is what a message with headers is made of. Each call has two, so they are used again.
type head struct {
	message  extprocv3.ProcessingRequest
	request  extprocv3.ProcessingRequest_RequestHeaders
	response extprocv3.ProcessingRequest_ResponseHeaders
	headers  extprocv3.HttpHeaders
	fields   corev3.HeaderMap
	values   []corev3.HeaderValue  // of fields, and what is left of earlier ones
	pointers []*corev3.HeaderValue // to values, each to its own
	memory   []byte
}

var headPool = sync.Pool{New: func() any { return new(head) }}

// keptHeaders is up to how many headers the memory of a head is kept for the next one. Requests have about twenty.
const keptHeaders = 64

// forget gives h back, with nothing of a message in it.
func (h *head) forget() {
	if len(h.values) > keptHeaders {
		return
	}
	for _, v := range h.fields.Headers {
		v.Key, v.Value, v.RawValue = "", "", nil
	}
	h.fields.Headers, h.headers.Headers, h.headers.EndOfStream = nil, nil, false
	h.request.RequestHeaders, h.response.ResponseHeaders = nil, nil
	m := &h.message
	m.Request, m.MetadataContext, m.Attributes, m.ObservabilityMode, m.ProtocolConfig = nil, nil, nil, false, nil
	headPool.Put(h)
}

// list is so many headers, all of them empty.
func (h *head) list(n int) []*corev3.HeaderValue {
	if n > len(h.values) {
		h.values = make([]corev3.HeaderValue, max(n, 24))
		h.pointers = make([]*corev3.HeaderValue, len(h.values))
		for i := range h.values {
			h.pointers[i] = &h.values[i]
		}
	}
	return h.pointers[:n:n]
}

// beginsHead reports whether data begins as a message with headers does.
func beginsHead(data mem.BufferSlice) bool {
	tag := first(data)
	return tag == tagRequestHeaders || tag == tagResponseHeaders
}

const (
	tagRequestHeaders  = 2<<3 | 2
	tagResponseHeaders = 3<<3 | 2
)

func (h *head) read(c cursor) bool {
	for !c.done() {
		number, value, bits, kind, ok := c.field()
		switch {
		case !ok:
			return false
		case number == 1 && isBytes(kind) && h.headers.Headers == nil:
			h.headers.Headers = &h.fields
			if h.fields.Headers, ok = readHeaders(value, h.list); !ok {
				return false
			}
		case number == 3 && isVarint(kind):
			h.headers.EndOfStream = bits != 0
		default:
			return false
		}
	}
	return true
}
