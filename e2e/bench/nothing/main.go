// Command nothing is an external processor that answers every message with "go
// on", an authorization service that says yes, and an access log service that throws away what it is told: what the round
// trips to a processor cost when nobody does anything in them. It is built from the
// libraries that Keel is built from and is set up as Keel's own server is.
//
// It refuses to do anything, so that whatever Keel costs beyond it is Keel's. With "replies" it answers by what Keel
// would have Envoy do, which it has ready: then whatever Keel costs beyond it is what Keel thinks and writes down.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

func main() {
	answer := goOn
	switch {
	case len(os.Args) == 3 && os.Args[2] == "replies":
		answer = asKeel
	case len(os.Args) != 2:
		fmt.Fprintln(os.Stderr, "usage: nothing HOST:PORT [replies]")
		os.Exit(2)
	}
	if err := serve(os.Args[1], answer); err != nil {
		fmt.Fprintln(os.Stderr, "nothing:", err)
		os.Exit(1)
	}
}

// These are those of Keel's server.
const (
	maxMessageBytes = 64 << 20
	streamWorkers   = 32
)

// An answerer is what a processor says to a message.
type answerer func(*extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error)

func serve(address string, answer answerer) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s := grpc.NewServer( // as in filter.New
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxSendMsgSize(maxMessageBytes),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.MaxConcurrentStreams(1<<20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 2 * time.Second, PermitWithoutStream: true}),
	)
	extprocv3.RegisterExternalProcessorServer(s, processor{answer: answer})
	authv3.RegisterAuthorizationServer(s, authorizer{})
	accesslogv3.RegisterAccessLogServiceServer(s, accessLog{})
	healthv1.RegisterHealthServer(s, health.NewServer())
	fmt.Fprintf(os.Stderr, "serving Envoy on %s,\n", l.Addr())
	return s.Serve(l)
}

type processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	answer answerer
}

// Process never returns nil, which would let the rest of a call through unseen.
func (p processor) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return status.Error(codes.Unavailable, "the stream ended")
		}
		answer, err := p.answer(request)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func goOn(request *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	switch request.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}}, nil
	case *extprocv3.ProcessingRequest_RequestBody:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}}, nil
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}}, nil
	case *extprocv3.ProcessingRequest_ResponseBody:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}}, nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}, nil
	}
	return nil, status.Errorf(codes.Unavailable, "a message of kind %T", request.Request)
}

type authorizer struct {
	authv3.UnimplementedAuthorizationServer
}

func (authorizer) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

type accessLog struct {
	accesslogv3.UnimplementedAccessLogServiceServer
}

func (accessLog) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			if err == io.EOF {
				return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
			}
			return err
		}
	}
}
