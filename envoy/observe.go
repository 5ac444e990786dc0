package envoy

import (
	"net"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// PassiveLogName is the name of the access log of mode observe: nothing that Keel says travels with a call there, so its
// entries are matched in another way.
const PassiveLogName = "keel_observe"

// deferredClose is how long a processor that is behind may go on reading what passed: the rest is lost then. It is also how long
// Envoy takes to tell that a client left.
const deferredClose = 10 * time.Second

// observerFilter sends every call past Keel and waits for nothing. Bodies come in pieces: in one piece they are not sent in
// this mode at all.
func (b *builder) observerFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: FilterName,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&extprocv3.ExternalProcessor{
			StatPrefix:           statPrefix,
			GrpcService:          b.streams(PhaseObserve),
			ObservabilityMode:    true,
			FailureModeAllow:     true,
			DeferredCloseTimeout: durationpb.New(deferredClose),
			ProcessingMode: &extprocv3.ProcessingMode{
				RequestHeaderMode:   extprocv3.ProcessingMode_SEND,
				RequestBodyMode:     extprocv3.ProcessingMode_STREAMED,
				RequestTrailerMode:  extprocv3.ProcessingMode_SEND,
				ResponseHeaderMode:  extprocv3.ProcessingMode_SEND,
				ResponseBodyMode:    extprocv3.ProcessingMode_STREAMED,
				ResponseTrailerMode: extprocv3.ProcessingMode_SEND,
			},
			AllowContentLengthHeader: true,
			RequestAttributes:        append([]string{"request.id", "request.time"}, requestAttributes...),
			ResponseAttributes:       responseAttributes,
			MetadataOptions: &extprocv3.MetadataOptions{
				ForwardingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: b.readable()},
			},
		})},
	}
}

// logName is how the processor tells the entries of one mode from those of another.
func (b *builder) logName() string {
	if b.Mode == ModeObserve {
		return PassiveLogName
	}
	return LogName
}

// hosts lead where a client asked to go: there is no target that Keel could have set. Where there is one provider,
// everything goes there.
func (b *builder) hosts() []*routev3.VirtualHost {
	var hosts []*routev3.VirtualHost
	for _, p := range b.Providers {
		name, _, err := net.SplitHostPort(p.Host)
		if err != nil {
			name = p.Host
		}
		host := &routev3.VirtualHost{Name: p.Name, Domains: []string{name, name + ":*"}, Routes: []*routev3.Route{b.providerRoute(p)}, IncludeRequestAttemptCount: true}
		if len(b.Providers) == 1 {
			host.Domains = []string{"*"}
		}
		hosts = append(hosts, host)
	}
	if len(b.Providers) == 1 {
		return hosts
	}
	return append(hosts, &routev3.VirtualHost{Name: unrouted, Domains: []string{"*"}, Routes: []*routev3.Route{b.unroutedRoute()}, IncludeRequestAttemptCount: true})
}
