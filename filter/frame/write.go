package frame

import (
	"math"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/structpb"
)

// Write writes a reply. It returns false where the generic codec has to.
func Write(m *extprocv3.ProcessingResponse) ([]byte, bool) {
	//lint:ignore SA1019 what Keel does not write is left to the generic codec
	if m == nil || m.RequestDrain || m.RequestDrainRequests || m.RequestDrainResponses || m.ServerWindowUpdate != nil || m.OverrideMessageTimeout != nil || len(m.TypedDynamicMetadata) > 0 {
		return nil, false
	}
	var w writer
	if m.ModeOverride != nil {
		end := w.mark()
		w.mode(m.ModeOverride)
		w.close(9, end)
	}
	if m.DynamicMetadata != nil {
		end := w.mark()
		w.structure(m.DynamicMetadata)
		w.close(8, end)
	}
	end := w.mark()
	switch r := m.Response.(type) {
	case *extprocv3.ProcessingResponse_RequestHeaders:
		w.phase(r.RequestHeaders.GetResponse())
		w.close(1, end)
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		w.phase(r.ResponseHeaders.GetResponse())
		w.close(2, end)
	case *extprocv3.ProcessingResponse_RequestBody:
		w.phase(r.RequestBody.GetResponse())
		w.close(3, end)
	case *extprocv3.ProcessingResponse_ResponseBody:
		w.phase(r.ResponseBody.GetResponse())
		w.close(4, end)
	default:
		return nil, false
	}
	return w.buffer[w.at:], !w.unable
}

// A writer writes a message from its end to its beginning, so that the length of a part is known when it is written.
type writer struct {
	buffer []byte
	at     int // where what is written begins
	unable bool
}

// room makes room for n bytes in front of what is written.
func (w *writer) room(n int) []byte {
	if w.at < n {
		written := len(w.buffer) - w.at
		larger := make([]byte, max(2*len(w.buffer), written+n+64, 512))
		copy(larger[len(larger)-written:], w.buffer[w.at:])
		w.buffer, w.at = larger, len(larger)-written
	}
	w.at -= n
	return w.buffer[w.at : w.at+n]
}

func (w *writer) mark() int { return len(w.buffer) - w.at }

func (w *writer) varint(v uint64) { protowire.AppendVarint(w.room(protowire.SizeVarint(v))[:0], v) }

func (w *writer) tag(number protowire.Number, kind protowire.Type) {
	w.varint(protowire.EncodeTag(number, kind))
}

// close makes what was written since the mark a field.
func (w *writer) close(number protowire.Number, mark int) {
	w.varint(uint64(len(w.buffer) - w.at - mark))
	w.tag(number, protowire.BytesType)
}

func (w *writer) bytes(number protowire.Number, b []byte) {
	mark := w.mark()
	copy(w.room(len(b)), b)
	w.close(number, mark)
}

func (w *writer) text(number protowire.Number, s string) {
	if !utf8.ValidString(s) { // which the generic codec refuses to write
		w.unable = true
	}
	mark := w.mark()
	copy(w.room(len(s)), s)
	w.close(number, mark)
}

func (w *writer) number(number protowire.Number, v uint64) {
	if v != 0 {
		w.varint(v)
		w.tag(number, protowire.VarintType)
	}
}

func (w *writer) flag(number protowire.Number, v bool) {
	if v {
		w.number(number, 1)
	}
}

// phase is the one field of an answer to headers or to a body.
func (w *writer) phase(m *extprocv3.CommonResponse) {
	if m == nil {
		return
	}
	if m.Trailers != nil {
		w.unable = true
	}
	mark := w.mark()
	w.flag(5, m.ClearRouteCache)
	if m.BodyMutation != nil {
		mark := w.mark()
		w.bodyMutation(m.BodyMutation)
		w.close(3, mark)
	}
	if m.HeaderMutation != nil {
		mark := w.mark()
		w.headerMutation(m.HeaderMutation)
		w.close(2, mark)
	}
	w.number(1, uint64(m.Status))
	w.close(1, mark)
}

func (w *writer) headerMutation(m *extprocv3.HeaderMutation) {
	for i := len(m.RemoveHeaders) - 1; i >= 0; i-- {
		w.text(2, m.RemoveHeaders[i])
	}
	w.options(1, m.SetHeaders)
}

func (w *writer) option(m *corev3.HeaderValueOption) {
	//lint:ignore SA1019 what a peer could not have written is left to the generic codec
	if m.GetAppend() != nil || m.GetKeepEmptyValue() {
		w.unable = true
	}
	w.number(3, uint64(m.GetAppendAction()))
	h := m.GetHeader()
	if h == nil {
		return
	}
	mark := w.mark()
	if len(h.RawValue) > 0 {
		w.bytes(3, h.RawValue)
	}
	if h.Value != "" {
		w.text(2, h.Value)
	}
	if h.Key != "" {
		w.text(1, h.Key)
	}
	w.close(1, mark)
}

func (w *writer) bodyMutation(m *extprocv3.BodyMutation) {
	switch b := m.Mutation.(type) {
	case *extprocv3.BodyMutation_Body:
		w.bytes(1, b.Body)
	case *extprocv3.BodyMutation_ClearBody:
		w.varint(protowire.EncodeBool(b.ClearBody))
		w.tag(2, protowire.VarintType)
	case *extprocv3.BodyMutation_StreamedResponse:
		s := b.StreamedResponse
		if s.GetEndOfStreamWithoutMessage() || s.GetGrpcMessageCompressed() || s.GetDrainComplete() {
			w.unable = true
		}
		mark := w.mark()
		w.flag(2, s.GetEndOfStream())
		if len(s.GetBody()) > 0 {
			w.bytes(1, s.GetBody())
		}
		w.close(3, mark)
	}
}

func (w *writer) mode(m *extprocfilterv3.ProcessingMode) {
	w.number(6, uint64(m.ResponseTrailerMode))
	w.number(5, uint64(m.RequestTrailerMode))
	w.number(4, uint64(m.ResponseBodyMode))
	w.number(3, uint64(m.RequestBodyMode))
	w.number(2, uint64(m.ResponseHeaderMode))
	w.number(1, uint64(m.RequestHeaderMode))
}

func (w *writer) structure(m *structpb.Struct) {
	for key, value := range m.GetFields() {
		entry := w.mark()
		mark := w.mark()
		w.value(value)
		w.close(2, mark)
		w.text(1, key)
		w.close(1, entry)
	}
}

func (w *writer) value(m *structpb.Value) {
	switch v := m.GetKind().(type) {
	case *structpb.Value_NullValue:
		w.varint(uint64(v.NullValue))
		w.tag(1, protowire.VarintType)
	case *structpb.Value_NumberValue:
		protowire.AppendFixed64(w.room(8)[:0], math.Float64bits(v.NumberValue))
		w.tag(2, protowire.Fixed64Type)
	case *structpb.Value_StringValue:
		w.text(3, v.StringValue)
	case *structpb.Value_BoolValue:
		w.varint(protowire.EncodeBool(v.BoolValue))
		w.tag(4, protowire.VarintType)
	case *structpb.Value_StructValue:
		mark := w.mark()
		w.structure(v.StructValue)
		w.close(5, mark)
	default:
		w.unable = w.unable || m.GetKind() != nil // a list
	}
}
