package envoy

import (
	"math"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// requestHeadersTimeout is how long a client may take for the headers of a request.
const requestHeadersTimeout = 10 * time.Second

const (
	statPrefix = "keel"

	// unrouted is the route of a call that the processor gave no target.
	unrouted     = "unrouted"
	unroutedBody = `{"error":{"type":"not_found","message":"Keel could not tell which provider this call is for: the path is of no known API, and no route names a target for it. No provider was called."}}` + "\n"
)

func (b *builder) listener() *listenerv3.Listener {
	listen, err := parseAddress(b.Listen)
	if err != nil && b.err == nil {
		b.err = err
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix:        statPrefix,
		UseRemoteAddress:  wrapperspb.Bool(true), // x-forwarded-for of a client is not believed
		GenerateRequestId: wrapperspb.Bool(true),
		// The processor and the provider have to read the same path. Escaped
		// slashes stay: they are part of model names.
		NormalizePath:    wrapperspb.Bool(true),
		MergeSlashes:     true,
		AccessLog:        []*accesslogv3.AccessLog{b.accessLog()},
		LocalReplyConfig: b.localReplies(),
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name:             statPrefix,
			ValidateClusters: wrapperspb.Bool(false), // see routes
			VirtualHosts:     b.virtualHosts(),
		}},
		HttpFilters: append(b.filters(), &hcmv3.HttpFilter{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&routerv3.Router{})},
		}),
	}
	b.limitTimes(manager)
	return &listenerv3.Listener{
		Name:    statPrefix,
		Address: socket(listen),
		// With it a second Envoy of the same user could listen on the same port
		// and would silently take half of the calls.
		EnableReusePort: wrapperspb.Bool(false),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       httpManager,
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: b.any(manager)},
		}}}},
	}
}

// limitTimes bounds what a client can hold by being slow. A request is buffered until it is whole, so one that comes in drops must not
// take for ever.
func (b *builder) limitTimes(m *hcmv3.HttpConnectionManager) {
	m.StreamIdleTimeout = durationpb.New(b.IdleTimeout)
	m.RequestHeadersTimeout = durationpb.New(requestHeadersTimeout)
	m.RequestTimeout = durationpb.New(b.IdleTimeout)
}

func (b *builder) virtualHosts() []*routev3.VirtualHost {
	if b.Mode == ModeObserve {
		return b.hosts()
	}
	return []*routev3.VirtualHost{{
		Name: statPrefix, Domains: []string{"*"}, Routes: b.routes(), IncludeRequestAttemptCount: true,
		ResponseHeadersToAdd: b.answerHeaders(),
	}}
}

// filters are Keel's, in their order.
func (b *builder) filters() []*hcmv3.HttpFilter {
	filters := []*hcmv3.HttpFilter{b.filter()}
	if b.Mode == ModeFast {
		filters = append(filters, b.changeFilter())
	}
	if b.Mode.Logged() {
		filters = append(filters, b.usageFilter())
	}
	return filters
}

func (b *builder) filter() *hcmv3.HttpFilter {
	if b.Mode.Checked() {
		return b.authzFilter()
	}
	return b.processorFilter()
}

// statesToLog are the filters whose state tells how a call passed them. That of ext_authz tells nothing (proven on 1.40).
func (b *builder) statesToLog() []string {
	if b.Mode.Checked() {
		return nil
	}
	return []string{FilterName}
}

// StateTag is what a custom tag of the access log is named by that is a field of a filter's state, before the name of the field.
const StateTag = "keel."

// FailedOpen is the field that tells that a call passed because the stream to the processor failed.
const FailedOpen = "failed_open"

// stateFields are the fields of a state that Keel reads: besides, whether the filter was shown an answer.
var stateFields = []string{FailedOpen, "response_header_latency_us"}

// statesToTag are those fields. The whole of a state, filter_state_objects_to_log, is fifteen numbers by name, and a twentieth of
// what a call costs Envoy.
func (b *builder) statesToTag() (tags []*tracingv3.CustomTag) {
	for _, filter := range b.statesToLog() {
		for _, field := range stateFields {
			tags = append(tags, &tracingv3.CustomTag{Tag: StateTag + field, Type: &tracingv3.CustomTag_Value{Value: StateOf(filter, field)}})
		}
	}
	return tags
}

// StateOf is a field of a filter's state in Envoy's format of access logs.
func StateOf(filter, field string) string {
	return "%FILTER_STATE(" + filter + ":FIELD:" + field + ")%"
}

func (b *builder) answerHeaders() []*corev3.HeaderValueOption {
	if b.Mode != ModeLight {
		return nil
	}
	return headersFromMetadata()
}

// answerHeadersLogged are what the end of a call is read from that does not pass Keel: the form of the answer, and a tier that
// Gemini tells nowhere else.
var answerHeadersLogged = []string{"content-type", "content-encoding", "x-gemini-service-tier"}

// accessLog tells the processor how each call ended, which it can't see itself.
func (b *builder) accessLog() *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.http_grpc",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.any(&grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
				LogName:               b.logName(),
				TransportApiVersion:   corev3.ApiVersion_V3,
				GrpcService:           grpcService(b.accessLogCluster),
				BufferFlushInterval:   durationpb.New(200 * time.Millisecond),
				BufferSizeBytes:       wrapperspb.UInt32(16 << 10),
				CustomTags:            b.statesToTag(),
				GrpcStreamRetryPolicy: logRetry(),
			},
			AdditionalRequestHeadersToLog:  []string{"x-request-id"},
			AdditionalResponseHeadersToLog: b.headersToLog(),
		})},
	}
}

// logRetry keeps trying to get rid of the log while no replica of Keel takes it. Without it Envoy drops what it has when it
// can't connect: the calls that passed while the processor was away would never be found.
func logRetry() *corev3.RetryPolicy {
	return &corev3.RetryPolicy{
		RetryOn: "connect-failure", NumRetries: wrapperspb.UInt32(math.MaxUint32),
		RetryBackOff: &corev3.BackoffStrategy{BaseInterval: durationpb.New(250 * time.Millisecond), MaxInterval: durationpb.New(2 * time.Second)},
	}
}

func (b *builder) headersToLog() []string {
	if b.Mode.Logged() {
		return answerHeadersLogged
	}
	return []string{"content-type"}
}

// routes are one for each provider, then one for all the rest. A call enters
// by the last, unless a client made up a target, and is matched again when the processor has set one.
func (b *builder) routes() []*routev3.Route {
	var routes []*routev3.Route
	for _, p := range b.Providers {
		route := b.providerRoute(p)
		route.Match.Headers = []*routev3.HeaderMatcher{{
			Name: TargetHeader,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p.Name + "/"},
			}},
		}}
		routes = append(routes, route)
	}
	return append(routes, b.unroutedRoute())
}

// providerRoute leads all there is to a provider.
func (b *builder) providerRoute(p Provider) *routev3.Route {
	return &routev3.Route{
		Name:  p.Name,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier:     &routev3.RouteAction_Cluster{Cluster: p.Name},
			HostRewriteSpecifier: &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: p.Host},
			Timeout:              durationpb.New(0), // a stream may take as long as it moves
			IdleTimeout:          durationpb.New(b.IdleTimeout),
			RetryPolicy:          b.retryPolicy(),
		}},
		// A provider is told neither where a call goes nor who in the house makes it.
		RequestHeadersToRemove: []string{TargetHeader, "x-forwarded-for", "x-envoy-external-address", "x-envoy-internal"},
		RequestBodyBufferLimit: wrapperspb.UInt64(b.RequestLimit),
	}
}

// unroutedRoute leads to a cluster that does not exist, which Envoy answers itself. A direct response would be simpler, but
// Envoy ignores the body limit of such a route: the processor would see no body over 1 MiB.
func (b *builder) unroutedRoute() *routev3.Route {
	return &routev3.Route{
		Name:  unrouted,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier:            &routev3.RouteAction_Cluster{Cluster: unrouted},
			ClusterNotFoundResponseCode: routev3.RouteAction_NOT_FOUND,
		}},
		RequestBodyBufferLimit: wrapperspb.UInt64(b.RequestLimit),
	}
}

// localReplies gives the answer to an unrouted call a body.
func (b *builder) localReplies() *hcmv3.LocalReplyConfig {
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NC"}}, // no cluster found
		}},
		BodyFormatOverride: &corev3.SubstitutionFormatString{
			ContentType: "application/json",
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: unroutedBody},
			}},
		},
	}}}
}

func (b *builder) retryPolicy() *routev3.RetryPolicy {
	if b.Retry.Times == 0 {
		return nil
	}
	return &routev3.RetryPolicy{
		RetryOn:              strings.Join(b.Retry.conditions(), ","),
		RetriableStatusCodes: b.Retry.Statuses,
		NumRetries:           wrapperspb.UInt32(b.Retry.Times),
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(25 * time.Millisecond), MaxInterval: durationpb.New(time.Second),
		},
	}
}
