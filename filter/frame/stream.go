package frame

import (
	"sync"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Register registers a processor whose streams are read by a Codec, which the server must have. A message has most bytes at most,
// as the server has it by grpc.MaxRecvMsgSize.
func Register(s grpc.ServiceRegistrar, processor extprocv3.ExternalProcessorServer, most int) {
	shared := &receiver{generic: NewCodec().generic, most: most}
	service := extprocv3.ExternalProcessor_ServiceDesc
	service.Streams = append([]grpc.StreamDesc(nil), service.Streams...)
	service.Streams[0].Handler = func(_ any, stream grpc.ServerStream) error {
		return processor.Process(&Stream{ServerStream: stream, shared: shared, wire: wireOf(stream)})
	}
	s.RegisterService(&service, processor)
}

// A Stream is the messages of one call or attempt. It belongs to one goroutine.
type Stream struct {
	grpc.ServerStream
	in     Message
	wire   wire // nil where RecvMsg reads
	shared *receiver
	header [5]byte         // of the message that is received
	data   mem.BufferSlice // what was received, until it is read
	there  bool            // the next message was waited for
}

var _ extprocv3.ExternalProcessor_ProcessServer = (*Stream)(nil)

// Recv returns the next message. It is valid until the next Recv: the memory of headers and of a piece of a response body is used
// again, by whatever stream, and so is the message itself. Strings of it, and what attributes, metadata, trailers and request bodies are
// made of, are not, but they are kept for as long as one string or slice of theirs is.
//
// It waits as Wait does, unless that was called before.
func (s *Stream) Recv() (*extprocv3.ProcessingRequest, error) {
	if !s.there {
		if _, err := s.Wait(); err != nil {
			return nil, err
		}
	}
	if err := s.read(); err != nil {
		return nil, err
	}
	return s.in.request, nil
}

// Send sends a reply, which may be used again after it.
func (s *Stream) Send(reply *extprocv3.ProcessingResponse) error { return s.SendMsg(reply) }

// A Message is what a Stream receives into.
type Message struct {
	request *extprocv3.ProcessingRequest
	piece   *piece // what request is made of, nil unless it is a piece of a response body
	head    *head  // the same, of headers
}

// A piece is the message that comes most often, and so is not made anew.
type piece struct {
	request extprocv3.ProcessingRequest
	kind    extprocv3.ProcessingRequest_ResponseBody
	body    extprocv3.HttpBody
	memory  []byte
}

var piecePool = sync.Pool{New: func() any { return new(piece) }}

// forget gives back what m is made of.
func (m *Message) forget() {
	if m.piece != nil {
		m.piece.body.Body = nil
		piecePool.Put(m.piece)
	}
	if m.head != nil {
		m.head.forget()
	}
	*m = Message{}
}

// keptBytes is up to where the memory of a piece is kept for the next one. Envoy sends what it has read, and reads 16 KiB at a time.
const keptBytes = 20 << 10

// beginsPiece reports whether data begins as a piece of a response body does.
func beginsPiece(data mem.BufferSlice) bool { return first(data) == tagResponseBody }

// first is the first byte of data, which is the tag of the first field of a message; 0, which is none, without any.
func first(data mem.BufferSlice) byte {
	if len(data) > 0 {
		if b := data[0].ReadOnlyData(); len(b) > 0 {
			return b[0]
		}
	}
	return 0
}

const tagResponseBody = 5<<3 | 2

func (m *Message) read(data mem.BufferSlice, generic encoding.CodecV2) error {
	m.forget()
	n := data.Len()
	switch {
	case n > keptBytes:
	case beginsHead(data):
		h := headPool.Get().(*head)
		h.memory = copied(data, n, h.memory)
		m.head = h
		if readInto(h.memory, &h.message, h) {
			m.request = &h.message
			return nil
		}
		m.forget()
	case beginsPiece(data):
		p := piecePool.Get().(*piece)
		p.memory = copied(data, n, p.memory)
		m.piece = p
		if p.read(p.memory) {
			m.request = &p.request
			return nil
		}
		m.forget()
	}
	request := new(extprocv3.ProcessingRequest)
	if !Read(data.Materialize(), request) {
		proto.Reset(request)
		if err := generic.Unmarshal(data, request); err != nil {
			return err
		}
	}
	m.request = request
	return nil
}

// copied is data, which has n bytes, in memory that is made larger where it is too small.
func copied(data mem.BufferSlice, n int, memory []byte) []byte {
	if cap(memory) < n {
		memory = make([]byte, max(n, 512))
	}
	memory = memory[:n]
	data.CopyTo(memory)
	return memory
}
