package frame

import (
	"errors"
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// A LogReader takes Envoy's access log.
type LogReader interface {
	StreamAccessLogs(*LogStream) error
}

// RegisterLogs registers an access log service whose streams are read by a Codec, which the server must have.
func RegisterLogs(s grpc.ServiceRegistrar, reader LogReader) {
	service := accesslogv3.AccessLogService_ServiceDesc
	service.HandlerType = (*LogReader)(nil)
	service.Streams = slices.Clone(service.Streams)
	service.Streams[0].Handler = func(_ any, stream grpc.ServerStream) error {
		return reader.StreamAccessLogs(&LogStream{ServerStream: stream})
	}
	s.RegisterService(&service, reader)
}

// A LogStream is the access log of one worker of an Envoy. It belongs to one goroutine.
type LogStream struct {
	grpc.ServerStream
	in Logs
}

// Recv returns the next message. It, and all that its lines are made of, is valid until the next Recv.
func (s *LogStream) Recv() (*Logs, error) {
	s.in.forget()
	if err := s.RecvMsg(&s.in); err != nil {
		return nil, err
	}
	return &s.in, nil
}

// Close answers a log that has ended.
func (s *LogStream) Close() error { return s.SendMsg(&accesslogv3.StreamAccessLogsResponse{}) }

// Logs is a message of an access log.
type Logs struct {
	Name  string // of the log; it is told with the first message
	Lines []Line

	memory []byte
}

// A stream keeps the memory of messages as Envoy sends them, when it has 16 KiB of lines or 200 ms have passed. The first one has all
// that Envoy knows of itself, too.
const (
	keptLogBytes = 32 << 10
	keptLines    = 64
	keptFields   = 64 // of one line
)

func (m *Logs) forget() {
	if cap(m.memory) > keptLogBytes || cap(m.Lines) > keptLines {
		*m = Logs{}
	}
	for i := range m.Lines {
		if l := &m.Lines[i]; cap(l.fields) > keptFields {
			*l = Line{}
		}
	}
	m.Name, m.Lines = "", m.Lines[:0]
}

// read reads a message, by the generic codec where it is not plain: what that makes of it is written plainly, and read.
func (m *Logs) read(data mem.BufferSlice) error {
	n := data.Len()
	m.memory = slices.Grow(m.memory[:0], n)[:n]
	data.CopyTo(m.memory)
	if m.readPlain(cursor{data: m.memory}) {
		return nil
	}
	var all accesslogv3.StreamAccessLogsMessage
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(m.memory, &all); err != nil {
		return err
	}
	if all.GetHttpLogs() == nil {
		all.LogEntries = nil // TCP
	}
	plain, err := proto.Marshal(&all)
	if err != nil {
		return err
	}
	if m.memory = plain; !m.readPlain(cursor{data: plain}) {
		return errNotPlain
	}
	return nil
}

var errNotPlain = errors.New("frame: an access log can't be read that the generic codec has written")

func (m *Logs) readPlain(c cursor) bool {
	m.Name, m.Lines = "", m.Lines[:0]
	var parts seen
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok {
			return false
		}
		switch tagOf(number, kind) {
		case 1<<3 | lengthed: // identifier
			ok = !parts.again(number) && m.readName(value)
		case 2<<3 | lengthed: // http_logs
			ok = !parts.again(number) && m.readLines(value)
		case 3<<3 | lengthed: // tcp_logs, which may take the place of http_logs
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}

func (m *Logs) readName(c cursor) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok {
			return false
		}
		if tagOf(number, kind) == 2<<3|lengthed {
			name, ok := value.utf8()
			if !ok {
				return false
			}
			m.Name = string(name)
		}
	}
	return true
}

func (m *Logs) readLines(c cursor) bool {
	for !c.done() {
		number, value, _, kind, ok := c.field()
		if !ok {
			return false
		}
		if tagOf(number, kind) != 1<<3|lengthed {
			continue
		}
		n := len(m.Lines)
		if n == cap(m.Lines) {
			m.Lines = slices.Grow(m.Lines, 1)
		}
		if m.Lines = m.Lines[:n+1]; !m.Lines[n].read(value) { // with the memory of an earlier one
			return false
		}
	}
	return true
}
