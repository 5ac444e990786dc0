package frame

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
)

// reception is what a stream received until it ended.
type reception struct {
	messages []*extprocv3.ProcessingRequest
	direct   bool
	err      error
}

// receiving is a processor that only receives.
type receiving struct {
	extprocv3.UnimplementedExternalProcessorServer
	generic bool // RecvMsg is asked
	first   chan struct{}
	ended   chan reception
}

func (r *receiving) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	s := stream.(*Stream)
	if r.generic {
		s.wire = nil
	}
	got := reception{direct: s.wire != nil}
	for {
		m, err := s.Recv()
		if err != nil {
			got.err = err
			r.ended <- got
			return status.Error(codes.Unavailable, "over")
		}
		if got.messages = append(got.messages, proto.CloneOf(m)); len(got.messages) == 1 {
			close(r.first)
		}
	}
}

const mostTested = 200 << 10

// received is what a processor received of a client that does what it likes.
func received(t *testing.T, generic bool, act func(r *receiving, cancel func(), conn *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient), options ...grpc.CallOption) reception {
	t.Helper()
	r := &receiving{generic: generic, first: make(chan struct{}), ended: make(chan reception, 1)}
	server := grpc.NewServer(grpc.ForceServerCodecV2(NewCodec()), grpc.MaxRecvMsgSize(mostTested))
	Register(server, r, mostTested)
	l := bufconn.Listen(1 << 20)
	go server.Serve(l)
	defer server.Stop()
	conn, err := grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := extprocv3.NewExternalProcessorClient(conn).Process(ctx, options...)
	if err != nil {
		t.Fatal(err)
	}
	act(r, cancel, conn, stream)
	select {
	case got := <-r.ended:
		return got
	case <-time.After(20 * time.Second):
		t.Fatal("the stream does not end")
		return reception{}
	}
}

// A Stream receives what RecvMsg would, and ends as that would.
func TestReceive(t *testing.T) {
	t.Parallel()
	large := func(n int) *extprocv3.ProcessingRequest {
		return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: make([]byte, n)}}}
	}
	all := func(t *testing.T, stream extprocv3.ExternalProcessor_ProcessClient) {
		for _, r := range requests(t) {
			if err := stream.Send(r.m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name     string
		act      func(t *testing.T, r *receiving, cancel func(), conn *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient)
		options  []grpc.CallOption
		messages int
		code     codes.Code // OK for io.EOF
		generic  bool       // it is left to RecvMsg
	}{
		{"all kinds, and the end", func(t *testing.T, _ *receiving, _ func(), _ *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient) {
			all(t, stream)
			stream.CloseSend()
		}, nil, len(requests(t)), codes.OK, false},
		{"large in many frames", func(_ *testing.T, _ *receiving, _ func(), _ *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient) {
			stream.Send(large(mostTested - 100))
			stream.CloseSend()
		}, nil, 1, codes.OK, false},
		{"too large", func(_ *testing.T, _ *receiving, _ func(), _ *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient) {
			stream.Send(large(10))
			stream.Send(large(mostTested + 100))
			stream.CloseSend()
		}, nil, 1, codes.ResourceExhausted, false},
		{"the client gives up", func(_ *testing.T, r *receiving, cancel func(), _ *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient) {
			stream.Send(large(10))
			<-r.first
			cancel()
		}, nil, 1, codes.Canceled, false},
		{"the connection breaks", func(_ *testing.T, r *receiving, _ func(), conn *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient) {
			stream.Send(large(10))
			<-r.first
			conn.Close()
		}, nil, 1, codes.Canceled, false},
		{"compressed", func(t *testing.T, _ *receiving, _ func(), _ *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient) {
			all(t, stream)
			stream.CloseSend()
		}, []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, len(requests(t)), codes.OK, true},
		{"no protobuf", func(t *testing.T, _ *receiving, _ func(), _ *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient) {
			all(t, stream)
			if err := stream.SendMsg([]byte{0xff, 0xff}); err != nil {
				t.Fatal(err)
			}
			stream.CloseSend()
		}, []grpc.CallOption{grpc.ForceCodecV2(rawCodec{NewCodec()})}, len(requests(t)), codes.Internal, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			act := func(r *receiving, cancel func(), conn *grpc.ClientConn, stream extprocv3.ExternalProcessor_ProcessClient) {
				test.act(t, r, cancel, conn, stream)
			}
			got, want := received(t, false, act, test.options...), received(t, true, act, test.options...)
			if got.direct == test.generic || want.direct {
				t.Errorf("read from the transport itself: %v", got.direct)
			}
			if len(got.messages) != test.messages || len(want.messages) != test.messages {
				t.Fatalf("received %d messages, RecvMsg %d, of %d", len(got.messages), len(want.messages), test.messages)
			}
			for i := range got.messages {
				if !proto.Equal(got.messages[i], want.messages[i]) {
					t.Errorf("message %d is %v, by RecvMsg %v", i, got.messages[i], want.messages[i])
				}
			}
			code := func(err error) codes.Code {
				if errors.Is(err, io.EOF) {
					return codes.OK
				}
				return status.Code(err)
			}
			if code(got.err) != test.code || code(want.err) != test.code {
				t.Errorf("ended with %v, by RecvMsg %v, not %v", got.err, want.err, test.code)
			}
		})
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{ *Codec }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	return c.Codec.Marshal(v)
}
