package frame

import (
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto" // registers the generic codec, too
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"
)

// A Codec is the codec of a server of external processing: by itself for the messages of a Stream, for replies, for
// access logs and for checks, by the generic one for everything else. It is safe for concurrent use.
type Codec struct{ generic encoding.CodecV2 }

// NewCodec returns the codec, for grpc.ForceServerCodecV2.
func NewCodec() *Codec { return &Codec{encoding.GetCodecV2(proto.Name)} }

// Name is that of the generic codec: the frames are the same.
func (c *Codec) Name() string { return c.generic.Name() }

// Marshal implements encoding.CodecV2.
func (c *Codec) Marshal(v any) (mem.BufferSlice, error) {
	if check, ok := v.(*authv3.CheckResponse); ok {
		if data, ok := WriteCheck(check); ok {
			return mem.BufferSlice{mem.SliceBuffer(data)}, nil
		}
		return c.generic.Marshal(v)
	}
	reply, ok := v.(*extprocv3.ProcessingResponse)
	if !ok {
		return c.generic.Marshal(v)
	}
	if prebuilt := prebuiltFrame(reply); prebuilt != nil {
		return prebuilt, nil
	}
	if data, ok := Write(reply); ok {
		return mem.BufferSlice{mem.SliceBuffer(data)}, nil
	}
	return c.generic.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c *Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch in := v.(type) {
	case *Message:
		return in.read(data, c.generic)
	case *Logs:
		return in.read(data)
	case *authv3.CheckRequest:
		if ReadCheck(data.Materialize(), in) {
			return nil
		}
		protobuf.Reset(in)
	}
	return c.generic.Unmarshal(data, v)
}
