package envoy

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// authzFilter asks Keel once whether a call may go out, and where to.
func (b *builder) authzFilter() *hcmv3.HttpFilter {
	service := grpcService(b.processorCluster)
	service.Timeout = durationpb.New(messageTimeout)
	service.RetryPolicy = processorRetry()
	if b.Mode == ModeFast {
		service.InitialMetadata = b.says(PhaseFast)
	}
	return &hcmv3.HttpFilter{
		Name: AuthzFilterName,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&authzv3.ExtAuthz{
			StatPrefix:          statPrefix,
			Services:            &authzv3.ExtAuthz_GrpcService{GrpcService: service},
			TransportApiVersion: corev3.ApiVersion_V3,
			WithRequestBody: &authzv3.BufferSettings{
				MaxRequestBytes:     uint32(min(b.RequestLimit, math.MaxUint32)),
				AllowPartialMessage: true, // Keel refuses such a call, in the form of its API, and records it
				PackAsBytes:         true,
			},
			ClearRouteCache:            true,
			FailureModeAllow:           false,
			StatusOnError:              &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
			IncludePeerCertificate:     true,
			MetadataContextNamespaces:  b.readable(),
			DecoderHeaderMutationRules: mutationRules(),
		})},
	}
}
