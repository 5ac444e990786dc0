package envoy

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"time"
)

// processor stands in for Keel: it sends a call whose body has {"to":"X"} to
// target X, changes the path when there is "path", and keeps what it saw.
type processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	accesslogv3.UnimplementedAccessLogServiceServer
	addr string

	mu      sync.Mutex
	bodies  []int // bytes of each request body
	logs    []string
	usage   map[string]map[string]*structpb.Value // what Envoy found in answers, by the path of the request
	results []*structpb.Struct                    // response attributes
	halfEnd bool                                  // end the next stream in good order, which a processor must not
}

func startProcessor(t *testing.T) *processor {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &processor{addr: l.Addr().String()}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	extprocv3.RegisterExternalProcessorServer(s, p)
	accesslogv3.RegisterAccessLogServiceServer(s, p)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return p
}

var (
	toField   = regexp.MustCompile(`"to":"([^"]*)"`)
	pathField = regexp.MustCompile(`"path":"([^"]*)"`)
)

func (p *processor) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		in, err := s.Recv()
		if err != nil {
			return status.Error(codes.Unavailable, "over")
		}
		out := &extprocv3.ProcessingResponse{}
		switch m := in.Request.(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			p.mu.Lock()
			end := p.halfEnd
			p.halfEnd = false
			p.mu.Unlock()
			if end {
				return nil
			}
			out.Response = &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}
		case *extprocv3.ProcessingRequest_RequestBody:
			p.mu.Lock()
			p.bodies = append(p.bodies, len(m.RequestBody.Body))
			p.mu.Unlock()
			out.Response = &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: route(m.RequestBody.Body)}}
			carried, err := structpb.NewStruct(map[string]any{MetadataNamespace: map[string]any{"decision_id": "d-1"}})
			if err != nil {
				return err
			}
			out.DynamicMetadata = carried
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			if phase := metadata.ValueFromIncomingContext(s.Context(), PhaseKey); phase[0] == PhaseRouter {
				p.mu.Lock()
				p.results = append(p.results, in.Attributes["envoy.filters.http.ext_proc"])
				p.mu.Unlock()
			}
			out.Response = &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}
		case *extprocv3.ProcessingRequest_ResponseBody:
			out.Response = &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}
		case *extprocv3.ProcessingRequest_ResponseTrailers:
			out.Response = &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}
		default:
			return status.Errorf(codes.Unavailable, "%T", m)
		}
		if err := s.Send(out); err != nil {
			return err
		}
	}
}

func route(body []byte) *extprocv3.CommonResponse {
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: name, RawValue: []byte(value)}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}
	}
	mutation := &extprocv3.HeaderMutation{}
	if to := toField.FindSubmatch(body); to != nil {
		mutation.SetHeaders = append(mutation.SetHeaders, set(TargetHeader, string(to[1])))
	} else {
		mutation.RemoveHeaders = append(mutation.RemoveHeaders, TargetHeader)
	}
	if path := pathField.FindSubmatch(body); path != nil {
		mutation.SetHeaders = append(mutation.SetHeaders, set(":path", string(path[1])))
	}
	// These two have to be without effect.
	mutation.SetHeaders = append(mutation.SetHeaders, set("x-envoy-upstream-rq-timeout-ms", "1"), set(":authority", "evil.example"), set("content-length", strconv.Itoa(len(body))))
	return &extprocv3.CommonResponse{HeaderMutation: mutation, ClearRouteCache: true}
}

func (p *processor) StreamAccessLogs(s accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	name := ""
	for {
		in, err := s.Recv()
		if err != nil {
			return nil
		}
		if in.Identifier != nil {
			name = in.Identifier.LogName
		}
		p.mu.Lock()
		for _, e := range in.GetHttpLogs().GetLogEntry() {
			c := e.CommonProperties
			if p.usage == nil {
				p.usage = make(map[string]map[string]*structpb.Value)
			}
			p.usage[e.Request.Path] = c.Metadata.GetFilterMetadata()[UsageNamespace].GetFields()
			p.logs = append(p.logs, fmt.Sprintf("%s %s %d %s %s failed_open=%s shown=%t", name, c.RouteName, e.Response.ResponseCode.GetValue(), e.Response.ResponseCodeDetails,
				c.Metadata.GetFilterMetadata()[MetadataNamespace].GetFields()["decision_id"].GetStringValue(), c.CustomTags[StateTag+FailedOpen], c.CustomTags[StateTag+"response_header_latency_us"] > "0"))
		}
		p.mu.Unlock()
	}
}

func (p *processor) seen() (bodies []int, logs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(bodies, p.bodies...), append(logs, p.logs...)
}
