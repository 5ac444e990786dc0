package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	upstreamcodecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// grpcCluster leads to Keel's own server.
func (b *builder) grpcCluster(name string, a address) *clusterv3.Cluster {
	options := pings()
	buffers := b.buffers(name)
	if buffers != nil {
		options.InitialStreamWindowSize, options.InitialConnectionWindowSize = wrapperspb.UInt32(buffers.stream), wrapperspb.UInt32(buffers.stream)
	}
	var common *corev3.HttpProtocolOptions
	if b.TLS != nil {
		common = &corev3.HttpProtocolOptions{MaxConnectionDuration: durationpb.New(connectionAge)}
	}
	cluster := b.cluster(name, a, time.Second, &upstreamv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: common,
		UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: options},
		}},
	})
	if !a.isFixed() { // each address of the name is a replica
		cluster.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
	}
	if b.TLS != nil {
		cluster.TransportSocket = b.transportSocket()
	}
	if buffers != nil {
		cluster.PerConnectionBufferLimitBytes = wrapperspb.UInt32(buffers.connection)
	}
	// A replica that drains says so here before it refuses streams. When none is
	// healthy Envoy asks them all the same, and the call fails closed.
	cluster.HealthChecks = []*corev3.HealthCheck{{
		Timeout: durationpb.New(time.Second), Interval: durationpb.New(healthEvery), NoTrafficInterval: durationpb.New(healthEvery),
		UnhealthyThreshold: wrapperspb.UInt32(2), HealthyThreshold: wrapperspb.UInt32(1),
		HealthChecker: &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{}},
	}}
	return cluster
}

// connectionAge is after how long Envoy goes on by another connection, by itself: what runs ends on the one that it has. The processor has as much
// to say, after an hour or a tenth less, so that certificates are looked at again; but what Envoy is about to begin when it is told is refused, and
// fails where Envoy has kept no copy of it (see processorRetry).
const connectionAge = 50 * time.Minute

// healthEvery is how often a replica of Keel is asked whether it takes calls.
const healthEvery = 2 * time.Second

// providerCluster leads to a provider, or to what stands in for it.
func (b *builder) providerCluster(p Provider) *clusterv3.Cluster {
	e, err := p.endpoint()
	if err != nil && b.err == nil {
		b.err = err
	}
	options := &upstreamv3.HttpProtocolOptions{
		// Providers close idle connections after a minute or more; going first
		// avoids a call that is sent into a closing one.
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(50 * time.Second)},
		UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
		}},
	}
	if e.tls { // then the server can say whether it speaks HTTP/2
		options.UpstreamProtocolOptions = &upstreamv3.HttpProtocolOptions_AutoConfig{AutoConfig: &upstreamv3.HttpProtocolOptions_AutoHttpConfig{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: pings(),
		}}
	}
	if b.Mode == ModeAttempts {
		options.HttpFilters = b.attemptFilters()
	}
	cluster := b.cluster(p.Name, e.address, 5*time.Second, options)
	// A cluster may get endpoints of another provider, to fall back to. So it is the
	// endpoint that says whose prices an attempt is charged by.
	cluster.LoadAssignment.Endpoints[0].LbEndpoints[0].Metadata = ownerMetadata(p.Name)
	// And so it can be told where an endpoint was added without a label.
	cluster.Metadata = ownerMetadata(p.Name)
	if e.tls {
		cluster.TransportSocket = &corev3.TransportSocket{
			Name:       "envoy.transport_sockets.tls",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.any(b.tls(e.address))},
		}
	}
	return cluster
}

// ownerMetadata says whose an endpoint is, or whose endpoints a cluster has that say no other.
func ownerMetadata(provider string) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		MetadataNamespace: {Fields: map[string]*structpb.Value{"provider": structpb.NewStringValue(provider)}},
	}}
}

// attemptFilters stand in a provider's cluster; the last of them is Envoy's own.
func (b *builder) attemptFilters() []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{
		b.attemptFilter(),
		{Name: "envoy.filters.http.upstream_codec", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&upstreamcodecv3.UpstreamCodec{})}},
	}
}

// attemptOptions are the filters for a cluster that a control plane generates. Such a
// cluster speaks HTTP/1.1, which every provider does.
func (b *builder) attemptOptions() (yaml.MapSlice, error) {
	options, err := tree(b.any(&upstreamv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
		}},
		HttpFilters: b.attemptFilters(),
	}))
	return object(httpOptions, options), err
}

// httpOptions is the key of HttpProtocolOptions in a cluster.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// tls checks that the certificate is for the host that is connected to.
func (b *builder) tls(a address) *tlsv3.UpstreamTlsContext {
	name := &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_DNS,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: a.host}},
	}
	sni := a.host
	if a.isIP() {
		name.SanType, sni = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, ""
	}
	return &tlsv3.UpstreamTlsContext{
		Sni: sni,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
				TrustedCa:                 &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: b.caFile()}},
				MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{name},
			}},
		},
	}
}

// cluster is what all have in common.
func (b *builder) cluster(name string, a address, connect time.Duration, options *upstreamv3.HttpProtocolOptions) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:           name,
		ConnectTimeout: durationpb.New(connect),
		// One connection may go to any of the addresses that a name has at that
		// moment, and stays when they change.
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS},
		DnsLookupFamily:      clusterv3.Cluster_ALL,
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(a)}},
			}}}},
		},
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(unlimited),
			MaxPendingRequests: wrapperspb.UInt32(unlimited),
			MaxRequests:        wrapperspb.UInt32(unlimited),
			MaxRetries:         wrapperspb.UInt32(unlimited),
		}}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			httpOptions: b.any(options),
		},
	}
	if a.isFixed() {
		c.ClusterDiscoveryType, c.DnsLookupFamily = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, clusterv3.Cluster_AUTO
	}
	return c
}

// pings find a dead peer while a call waits for a byte.
func pings() *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
		Interval: durationpb.New(pingEvery), Timeout: durationpb.New(pingWait),
	}}
}

const (
	pingEvery = 10 * time.Second
	pingWait  = 3 * time.Second
)
