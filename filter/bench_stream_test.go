package filter

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// framesOf are the messages of a call as they stand in gRPC frames, with what Envoy sends beside them in mode full.
func framesOf(t testing.TB, call []*extprocv3.ProcessingRequest) (frames [][]byte) {
	carried := func(fields map[string]any) *corev3.Metadata {
		s, err := structpb.NewStruct(fields)
		if err != nil {
			t.Fatal(err)
		}
		return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataSpace: s}}
	}
	id := "019aaf00-0000-7000-8000-000000000002"
	call[1].MetadataContext = carried(map[string]any{metadataDecision: id, metadataOrg: "default", metadataPending: "true"})
	call[2].MetadataContext = carried(map[string]any{metadataDecision: id, metadataOrg: "default", metadataPending: "", metadataCall: `{"at":"2026-11-26T23:34:38.123456789Z","method":"POST",` +
		`"path":"/v1/chat/completions","asked":"openai","provider":"openai","model":"gpt-5-mini","input_tokens_bound":252,"output_tokens_bound":200,"bound_usd":"0.000463","envelope":{"limit_usd":"0.000463","attempts":1}}`})
	call[3].MetadataContext = call[2].MetadataContext
	call[2].Attributes = map[string]*structpb.Struct{attributeSpace: {Fields: map[string]*structpb.Value{
		"response.code_details": structpb.NewStringValue(viaUpstream), "upstream.request_attempt_count": structpb.NewNumberValue(1),
	}}}
	for _, m := range call {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, data)
	}
	return frames
}

// rawCodec has frames for messages, so that what a benchmark measures is the server's.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*int) = data.Len()
	return nil
}

// BenchmarkStream is what the processor does for calls that come by gRPC, so many at once. cpu-ns/op has the client in it, and the
// kernel: what is sent there and back is the same whatever the filter does.
func BenchmarkStream(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run("c="+strconv.Itoa(clients), func(b *testing.B) {
			server := benchServer(b)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go server.Serve(l)
			defer server.grpc.Stop()
			conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			calls := make([][][]byte, 1024)
			for i := range calls {
				calls[i] = framesOf(b, benchCall(benchBody(1<<10)))
			}
			b.ReportAllocs()
			b.SetParallelism(max(1, clients/2)) // of 2 CPUs
			if clients == 1 {
				b.SetParallelism(1)
			}
			var n, running atomic.Int64
			var before, after syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				if running.Add(1) > int64(clients) {
					return
				}
				for pb.Next() {
					if err := callRaw(conn, calls[n.Add(1)%int64(len(calls))]); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/float64(b.N), "cpu-ns/op")
		})
	}
}

func callRaw(conn *grpc.ClientConn, frames [][]byte) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := conn.NewStream(ctx, &extprocv3.ExternalProcessor_ServiceDesc.Streams[0], extprocv3.ExternalProcessor_Process_FullMethodName)
	if err != nil {
		return err
	}
	for _, frame := range frames {
		if err := stream.SendMsg(frame); err != nil {
			return err
		}
		var size int
		if err := stream.RecvMsg(&size); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}
