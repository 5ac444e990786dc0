package frame

import (
	"encoding/binary"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// A stream waits for its next message for most of the time that its call takes, and what is on its stack then is kept for as long. RecvMsg of
// grpc-go waits under a kilobyte of frames, whose work is of compression, statistics, traces and binary logs: nothing that a
// Stream has. With it the stack of a call is 8 KiB, without it 4. So a Stream reads from what grpc-go itself reads from.
// Where that isn't there, as in another version of grpc-go, or where messages may be compressed, it is RecvMsg that reads; it is also
// the oracle of the test.

// wire is what grpc-go's own stream has, beside what grpc.ServerTransportStream promises.
type wire interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
	RecvCompress() string
}

// receiver is what the streams of a server have in common.
type receiver struct {
	generic encoding.CodecV2
	most    int // bytes of a message
}

// wireOf is nil where RecvMsg has to read.
func wireOf(stream grpc.ServerStream) wire {
	w, ok := grpc.ServerTransportStreamFromContext(stream.Context()).(wire)
	if !ok || w.RecvCompress() != "" && w.RecvCompress() != encoding.Identity {
		return nil
	}
	return w
}

// Wait returns when the next message is there, which Recv returns then, and whether it is a piece of a response body. To wait needs
// little of a stack, and to read most messages needs more: so they may be read on another goroutine. An error ends the stream: the peer is told of
// it when its handler returns.
//
// While it waits, which may be for hours, the stream keeps nothing of the message before.
func (s *Stream) Wait() (piece bool, err error) {
	s.forget()
	if s.wire == nil {
		err = s.RecvMsg(&s.in)
	} else if err = s.wire.ReadMessageHeader(s.header[:]); err == nil {
		err = s.receive()
	}
	if err != nil {
		return false, broken(err)
	}
	s.there = true
	return s.in.piece != nil || beginsPiece(s.data), nil
}

// forget gives back what the message before is made of.
func (s *Stream) forget() {
	s.there = false
	s.data.Free()
	s.data = nil
	s.in.forget()
}

// receive receives the message of which header is. It is apart from Wait, whose frame waits.
//
//go:noinline
func (s *Stream) receive() error {
	if format := s.header[0]; format != 0 {
		return status.Errorf(codes.Internal, "frame: a message of payload format %d on a stream without compression", format)
	}
	n := binary.BigEndian.Uint32(s.header[1:])
	if int64(n) > int64(s.shared.most) {
		return status.Errorf(codes.ResourceExhausted, "frame: a message of %d bytes, which is more than %d", n, s.shared.most)
	}
	data, err := s.wire.Read(int(n))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	s.data = data
	return err
}

// read reads what was received, unless RecvMsg did.
func (s *Stream) read() error {
	s.there = false
	if s.wire == nil {
		return nil
	}
	data := s.data
	s.data = nil
	defer data.Free()
	if err := s.in.read(data, s.shared.generic); err != nil {
		return status.Errorf(codes.Internal, "frame: a message can't be read: %v", err)
	}
	return nil
}

// broken makes a status of an error of the transport. io.EOF stays: it is the end of what the peer has to say.
func broken(err error) error {
	if _, ok := status.FromError(err); ok || err == io.EOF {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return status.Error(codes.Internal, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}
