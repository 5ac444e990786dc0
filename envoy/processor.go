package envoy

import (
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	processorCluster = "keel_processor"
	accessLogCluster = "keel_access_log"

	// maxMessage bounds what the processor may send at once: a rewritten request body.
	maxMessage = 64 << 20

	// messageTimeout is how long the processor may take for one answer. A hold
	// may wait for a round trip to Postgres, for a new lease or after a failover, and the processor's own
	// limit for a decision, after which it answers by the offline setting, is
	// 2 s; Envoy's limit only has to catch a processor that hangs.
	messageTimeout = 5 * time.Second

	// maxMessageTimeout is the most that the processor can ask for instead.
	maxMessageTimeout = 30 * time.Second
)

// What the filter before the router is told of a call: what Keel reads of it, as Envoy works each out for every call, and
// not xds.node, which is 84 kB of text.
var (
	requestAttributes  = []string{"connection.uri_san_peer_certificate", "connection.dns_san_peer_certificate"}
	responseAttributes = []string{"response.code_details", "upstream.request_attempt_count"}
)

// jwtNamespace is where Envoy leaves the claims of a token that it has verified.
const jwtNamespace = "envoy.filters.http.jwt_authn"

// readable are the namespaces of dynamic metadata that the processor is shown with each message of a call. What it said of the call itself
// is shown where others add to it: the filters of attempts.
func (c Config) readable() []string {
	spaces := append([]string{jwtNamespace}, c.Namespaces...)
	if c.Mode == ModeAttempts {
		spaces = append([]string{MetadataNamespace}, spaces...)
	}
	return spaces
}

// streams is the processor as a filter talks to it that says which one it is. A stream lasts as long as its call.
func (b *builder) streams(phase string) *corev3.GrpcService {
	service := grpcService(b.processorCluster)
	service.Timeout = durationpb.New(0)
	service.InitialMetadata = b.says(phase)
	if phase != PhaseObserve { // whose messages no answer ends the keeping of
		service.RetryPolicy = processorRetry()
	}
	return service
}

// processorRetry begins a stream again that no replica of Keel had: one that could not be reached, or that refused it. When a connection grows
// old, or a replica drains, it is refused what Envoy had begun when it was told, and without this that call fails. What may have been
// read is not sent twice: it may have been decided, and held.
func processorRetry() *corev3.RetryPolicy {
	return &corev3.RetryPolicy{
		RetryOn: strings.Join(unseen, ","), NumRetries: wrapperspb.UInt32(processorRetries),
		// Envoy takes the longest interval for the most that a try may last, too.
		RetryBackOff: &corev3.BackoffStrategy{BaseInterval: durationpb.New(5 * time.Millisecond), MaxInterval: durationpb.New(messageTimeout)},
	}
}

// processorRetries are enough for a replica that drains and one that is gone. More would only hold up calls when there is none.
const processorRetries = 2

// says is how a filter says which one it is, and whether usage is to be forced.
func (b *builder) says(phase string) []*corev3.HeaderValue {
	said := []*corev3.HeaderValue{{Key: PhaseKey, Value: phase}}
	if b.ForceUsage && phase != PhaseChange { // which does what was decided
		said = append(said, &corev3.HeaderValue{Key: UsageKey, Value: UsageForce})
	}
	return said
}

// mutationRules are what Keel may change of a request: the path, since some APIs have the model in it; not the host, which is the
// route's; and not what steers Envoy itself.
func mutationRules() *mutationv3.HeaderMutationRules {
	return &mutationv3.HeaderMutationRules{
		DisallowExpression: &matcherv3.RegexMatcher{Regex: "x-(envoy|forwarded)-.*"},
		DisallowSystem:     wrapperspb.Bool(false),
		AllowAllRouting:    wrapperspb.Bool(false),
		AllowEnvoy:         wrapperspb.Bool(false),
	}
}

// processorFilter sends every call through Keel, whole request first.
func (b *builder) processorFilter() *hcmv3.HttpFilter {
	if b.Mode == ModeObserve {
		return b.observerFilter()
	}
	phase, mode, answer := PhaseRouter, b.processingMode(), responseAttributes
	if b.Mode == ModeLight {
		phase, answer = PhaseLight, nil
	}
	service := b.streams(phase)
	return &hcmv3.HttpFilter{
		Name: FilterName,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&extprocv3.ExternalProcessor{
			StatPrefix:               statPrefix,
			GrpcService:              service,
			ProcessingMode:           mode,
			MessageTimeout:           durationpb.New(messageTimeout),
			MaxMessageTimeout:        durationpb.New(maxMessageTimeout),
			FailureModeAllow:         false,
			StatusOnError:            &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
			AllowModeOverride:        true,
			AllowContentLengthHeader: true,
			RequestAttributes:        requestAttributes,
			ResponseAttributes:       answer,
			MetadataOptions: &extprocv3.MetadataOptions{
				ForwardingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: b.readable()},
				ReceivingNamespaces:  &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{MetadataNamespace}},
			},
			MutationRules: mutationRules(),
		})},
	}
}

// processingMode is what of a call goes to Keel.
func (b *builder) processingMode() *extprocv3.ProcessingMode {
	mode := &extprocv3.ProcessingMode{
		RequestHeaderMode:  extprocv3.ProcessingMode_SEND,
		RequestBodyMode:    extprocv3.ProcessingMode_BUFFERED,
		RequestTrailerMode: extprocv3.ProcessingMode_SKIP,
		ResponseHeaderMode: extprocv3.ProcessingMode_SEND,
		ResponseBodyMode:   extprocv3.ProcessingMode_STREAMED,
		// Without it a stream with trailers ends without a mark, which looks like an abort.
		ResponseTrailerMode: extprocv3.ProcessingMode_SEND,
	}
	if b.Mode == ModeLight {
		mode.ResponseHeaderMode, mode.ResponseTrailerMode = extprocv3.ProcessingMode_SKIP, extprocv3.ProcessingMode_SKIP
		mode.ResponseBodyMode = extprocv3.ProcessingMode_NONE
	}
	return mode
}

// attemptFilter sends every attempt at a provider past Keel: its headers, and what comes
// back. It stands in the cluster, behind the router, so it sees what the router tries again.
func (b *builder) attemptFilter() *hcmv3.HttpFilter {
	service := b.streams(PhaseUpstream)
	return &hcmv3.HttpFilter{
		Name: AttemptFilterName,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&extprocv3.ExternalProcessor{
			StatPrefix:  statPrefix + "_attempt",
			GrpcService: service,
			ProcessingMode: &extprocv3.ProcessingMode{
				RequestHeaderMode:  extprocv3.ProcessingMode_SEND,
				RequestBodyMode:    extprocv3.ProcessingMode_NONE,
				RequestTrailerMode: extprocv3.ProcessingMode_SKIP,
				ResponseHeaderMode: extprocv3.ProcessingMode_SEND,
				// The processor asks for the body of an attempt that failed: what was billed is in it.
				ResponseBodyMode:    extprocv3.ProcessingMode_NONE,
				ResponseTrailerMode: extprocv3.ProcessingMode_SKIP,
			},
			MessageTimeout:           durationpb.New(messageTimeout),
			MaxMessageTimeout:        durationpb.New(maxMessageTimeout),
			FailureModeAllow:         false,
			StatusOnError:            &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
			AllowModeOverride:        true,
			AllowContentLengthHeader: true,
			RequestAttributes:        []string{"upstream.request_attempt_count", "upstream.address", "xds.upstream_host_metadata", "xds.cluster_metadata"},
			MetadataOptions: &extprocv3.MetadataOptions{
				ForwardingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{MetadataNamespace}},
				ReceivingNamespaces:  &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{MetadataNamespace}},
			},
		})},
	}
}

func grpcService(cluster string) *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
		ClusterName: cluster, MaxReceiveMessageLength: wrapperspb.UInt32(maxMessage),
	}}}
}
