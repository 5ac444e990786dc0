package frame

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxCheckedHeaders is how many headers a check may have before the generic codec reads it: names are compared each to each.
const maxCheckedHeaders = 64

// checkRequest is what a check is made of.
type checkRequest struct {
	attributes authv3.AttributeContext
	source     authv3.AttributeContext_Peer
	request    authv3.AttributeContext_Request
	time       timestamppb.Timestamp
	http       authv3.AttributeContext_HttpRequest
	headers    corev3.HeaderMap
}

// ReadCheck reads what ext_authz asks into an empty m, and keeps data, which must not change afterwards. It returns false where
// the generic codec has to: m may then have anything.
//
// Of what Envoy says of a call, only what Keel decides by is read: who the source is, but not its address; not the destination. Headers that
// come as a map are read into the list beside it, as which raw headers come.
func ReadCheck(data []byte, m *authv3.CheckRequest) bool {
	r := &checkRequest{}
	c := cursor{data: data}
	number, value, _, kind, ok := c.field()
	if !ok || number != 1 || !isBytes(kind) || !c.done() {
		return false
	}
	m.Attributes = &r.attributes
	return r.readAttributes(value)
}

func (r *checkRequest) readAttributes(c cursor) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok || !isBytes(kind) {
			return false
		}
		switch number {
		case 1:
			if r.attributes.Source != nil {
				return false
			}
			value.texts()
			r.attributes.Source = &r.source
			ok = r.readSource(value)
		case 4:
			if r.attributes.Request != nil {
				return false
			}
			r.attributes.Request = &r.request
			ok = r.readRequest(value)
		case 11:
			if r.attributes.MetadataContext != nil {
				return false
			}
			value.texts()
			r.attributes.MetadataContext = &corev3.Metadata{}
			ok = readMetadata(value, r.attributes.MetadataContext)
		case 2, 10, 12, 13: // destination, context_extensions, tls_session, route_metadata_context
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	return true
}

func (r *checkRequest) readSource(c cursor) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok || !isBytes(kind) {
			return false
		}
		switch number {
		case 4:
			r.source.Principal, ok = value.str()
		case 5:
			r.source.Certificate, ok = value.str()
		case 1, 2, 3: // address, service, labels
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	return true
}

func (r *checkRequest) readRequest(c cursor) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		switch {
		case !ok || !isBytes(kind):
			return false
		case number == 1 && r.request.Time == nil:
			r.request.Time = &r.time
			if !readTimestamp(value, &r.time) {
				return false
			}
		case number == 2 && r.request.Http == nil:
			r.request.Http = &r.http
			if !r.readHTTP(value) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func readTimestamp(c cursor, t *timestamppb.Timestamp) bool {
	for !c.done() {
		number, _, bits, kind, ok := c.field()
		switch {
		case !ok || !isVarint(kind):
			return false
		case number == 1:
			t.Seconds = int64(bits)
		case number == 2:
			t.Nanos = int32(bits)
		default:
			return false
		}
	}
	return true
}

// readHTTP reads all but the parts of the URL, which the headers have, too.
func (r *checkRequest) readHTTP(c cursor) bool {
	headers, before, ok := extent(c)
	if !ok {
		return false
	}
	c.text, c.base = string(c.data[:before]), 0 // of all but the body
	if headers > 0 {
		r.http.HeaderMap, r.headers.Headers = &r.headers, make([]*corev3.HeaderValue, 0, headers)
	}
	all := make([]corev3.HeaderValue, headers)
	for !c.done() {
		number, value, bits, kind, ok := c.field()
		switch {
		case !ok:
			return false
		case number == 3 && isBytes(kind):
			h := &all[len(r.headers.Headers)]
			if !readMapped(value, h) || r.named(h.Key) {
				return false
			}
			r.headers.Headers = append(r.headers.Headers, h)
		case number == 9 && kind == protowire.VarintType:
			r.http.Size = int64(bits)
		case number == 12 && isBytes(kind):
			if r.http.RawBody = value.data; len(value.data) == 0 {
				r.http.RawBody = nil
			}
		case number <= 10 && isBytes(kind): // id, method, path, host, scheme, query, fragment, protocol
		default: // a body that is text, a list of raw headers
			return false
		}
	}
	return true
}

// extent is how many headers there are, and how many bytes before the body.
func extent(c cursor) (headers, before int, ok bool) {
	before = len(c.data)
	for length := before; !c.done(); {
		at := length - len(c.data)
		number, _, _, kind, ok := c.field()
		switch {
		case !ok:
			return 0, 0, false
		case number == 3 && isBytes(kind):
			if headers++; at > before || headers > maxCheckedHeaders {
				return 0, 0, false
			}
		case number == 12 && isBytes(kind):
			before = min(before, at)
		}
	}
	return headers, before, true
}

// readMapped reads an entry of a map as a header.
func readMapped(c cursor, h *corev3.HeaderValue) bool {
	key, value, ok := readEntry(c)
	if !ok {
		return false
	}
	h.Key = key
	if value.data != nil {
		h.Value, ok = value.str()
	}
	return ok
}

// named reports whether there is a header of that name. A map has one.
func (r *checkRequest) named(name string) bool {
	for _, h := range r.headers.Headers {
		if h.Key == name {
			return true
		}
	}
	return false
}

// WriteCheck writes an answer that lets a call out. It returns false for all others, and where the generic codec has to.
func WriteCheck(m *authv3.CheckResponse) ([]byte, bool) {
	answer, ok := m.GetHttpResponse().(*authv3.CheckResponse_OkResponse)
	//lint:ignore SA1019 what Keel does not write is left to the generic codec
	if !ok || answer.OkResponse == nil || answer.OkResponse.DynamicMetadata != nil || m.Status.GetMessage() != "" || len(m.Status.GetDetails()) > 0 ||
		len(answer.OkResponse.QueryParametersToSet)+len(answer.OkResponse.QueryParametersToRemove) > 0 {
		return nil, false
	}
	var w writer
	if m.DynamicMetadata != nil {
		end := w.mark()
		w.structure(m.DynamicMetadata)
		w.close(4, end)
	}
	end := w.mark()
	w.options(6, answer.OkResponse.ResponseHeadersToAdd)
	for i := len(answer.OkResponse.HeadersToRemove) - 1; i >= 0; i-- {
		w.text(5, answer.OkResponse.HeadersToRemove[i])
	}
	w.options(2, answer.OkResponse.Headers)
	w.close(3, end)
	if m.Status != nil {
		end := w.mark()
		w.number(1, uint64(m.Status.Code))
		w.close(1, end)
	}
	return w.buffer[w.at:], !w.unable
}

func (w *writer) options(number protowire.Number, all []*corev3.HeaderValueOption) {
	for i := len(all) - 1; i >= 0; i-- {
		end := w.mark()
		w.option(all[i])
		w.close(number, end)
	}
}
