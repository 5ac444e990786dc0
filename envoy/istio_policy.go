package envoy

import "github.com/goccy/go-yaml"

// Mode authz by an AuthorizationPolicy of action CUSTOM, for meshes that make all their checks by such. It is not how the mode is
// written unasked: Istio puts the filter of such a policy before those that verify tokens, so that no claim is known when Keel
// is asked, and leaves out what Keel needs of it (both read in Istio 1.31, and seen in what its pilot generates).

const (
	// istioAuthzProvider is the name of the check among Istio's extensionProviders.
	istioAuthzProvider = "keel-authz"

	// istioAuthzFilter is what Istio calls the filter that it makes of such a policy.
	istioAuthzFilter = "envoy.filters.http.ext_authz"
)

func (a Attachment) istioPolicy() document {
	return document{body: a.istioObject("security.istio.io/v1", "AuthorizationPolicy", "keel", object(
		"selector", object("matchLabels", a.istioSelector()),
		"action", "CUSTOM", "provider", object("name", istioAuthzProvider), "rules", list(object()),
	)), head: []string{
		"Every call is checked: one that no rule meets would reach a provider unmetered. The provider of the check is in MeshConfig, too.",
		"Istio makes this check before it verifies tokens: Keel sees no claims.",
	}}
}

// istioCheck is the check as MeshConfig has it.
func (a Attachment) istioCheck(host string, port uint32) yaml.MapSlice {
	return object(
		"name", istioAuthzProvider,
		"envoyExtAuthzGrpc", object(
			"service", host, "port", port, "timeout", messageTimeout.String(),
			"failOpen", false, "statusOnError", "503", "clearRouteCache", true,
			"includeRequestBodyInCheck", object("maxRequestBytes", a.RequestLimit, "allowPartialMessage", true, "packAsBytes", true),
		),
	)
}

// istioReroute gives Istio's filter what the provider in MeshConfig is to say, and what has no field there. Pilot reads
// clearRouteCache and does nothing by it: a call would go where it was routed before Keel set its target, which is nowhere.
func istioReroute() (yaml.MapSlice, error) {
	retry, err := tree(processorRetry())
	if err != nil {
		return nil, err
	}
	return object("applyTo", "HTTP_FILTER",
		"match", object("context", "GATEWAY", "listener", object("filterChain", object("filter", object(
			"name", httpManager, "subFilter", object("name", istioAuthzFilter))))),
		"patch", object("operation", "MERGE", "value", object("name", istioAuthzFilter, "typed_config", object(
			"@type", "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
			"grpc_service", object("retry_policy", retry), "clear_route_cache", true, "include_peer_certificate", true, "emit_filter_state_stats", true,
		)))), nil
}
