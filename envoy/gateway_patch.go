package envoy

import (
	"fmt"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/goccy/go-yaml"
)

// Types of what an EnvoyPatchPolicy patches.
const (
	listenerType  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routesType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	clusterType   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointsType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

func (a Attachment) gatewayPatchPolicy(patches []any, why string) document {
	return document{
		body: a.gatewayObject(envoyAPI, "EnvoyPatchPolicy", "keel", object("targetRef", a.gatewayRef(), "type", "JSONPatch", "jsonPatches", patches)),
		head: []string{why + " Envoy Gateway needs extensionApis: {enableEnvoyPatchPolicy: true, enableBackend: true}."},
	}
}

// gatewayListener is what Envoy Gateway names the listener, and its routes.
func (a Attachment) gatewayListener() string {
	return fmt.Sprintf("%s/%s/%s", a.Namespace, a.Gateway, a.Listener)
}

func (a Attachment) gatewayPatch(kind string, operation ...any) yaml.MapSlice {
	return object("type", kind, "name", a.gatewayListener(), "operation", object(operation...))
}

// gatewayPatches are what the policies have no field for.
func (b *builder) gatewayPatches(a Attachment) ([]any, error) {
	var patches []any
	name := "envoy.filters.http.ext_proc/" + b.processorCluster // which Envoy Gateway gives the filter
	if a.Mode == ModeAuthz {
		name = fmt.Sprintf("envoy.filters.http.ext_authz/securitypolicy/%s/keel", a.Namespace)
		at := fmt.Sprintf("..http_filters[?(@.name=='%s')].typed_config", name)
		retry, err := tree(processorRetry())
		if err != nil {
			return nil, err
		}
		patches = list(
			a.gatewayPatch(listenerType, "op", "add", "jsonPath", at+".grpc_service", "path", "retry_policy", "value", retry),
			a.gatewayPatch(listenerType, "op", "add", "jsonPath", at, "path", "metadata_context_namespaces", "value", strs(a.readable())),
			a.gatewayPatch(listenerType, "op", "add", "jsonPath", at, "path", "include_peer_certificate", "value", true),
			a.gatewayPatch(listenerType, "op", "add", "jsonPath", at, "path", "emit_filter_state_stats", "value", true))
	} else {
		filter, err := tree(b.processorFilter())
		if err != nil {
			return nil, err
		}
		patches = list(a.gatewayPatch(listenerType, "op", "replace",
			"jsonPath", fmt.Sprintf("..http_filters[?(@.name=='%s')].typed_config", name), "value", field(filter, "typed_config")))
	}
	if a.Mode.Logged() {
		usage, err := a.gatewayFilters([]*hcmv3.HttpFilter{b.usageFilter()})
		if err != nil {
			return nil, err
		}
		patches = append(patches, usage...)
	}
	if headers := b.answerHeaders(); headers != nil {
		var all []any
		for _, h := range headers {
			header, err := tree(h)
			if err != nil {
				return nil, err
			}
			all = append(all, header)
		}
		patches = append(patches, a.gatewayPatch(routesType, "op", "add", "jsonPath", "..virtual_hosts[*]", "path", "response_headers_to_add", "value", all))
	}
	log, err := b.gatewayLogPatches(a, name)
	if err != nil {
		return nil, err
	}
	patches = append(patches, log...)
	if a.Mode != ModeAttempts {
		return patches, nil
	}
	for i, p := range a.Providers {
		options, err := b.attemptOptions()
		if err != nil {
			return nil, err
		}
		e, err := p.endpoint()
		if err != nil {
			return nil, err
		}
		cluster := fmt.Sprintf("httproute/%s/keel/rule/%d", a.Namespace, i)
		endpoints := clusterType
		if e.isIP() { // Envoy gets such endpoints apart from their cluster
			endpoints = endpointsType
		}
		patches = append(patches,
			object("type", clusterType, "name", cluster,
				"operation", object("op", "add", "path", "/typed_extension_protocol_options", "value", options)),
			object("type", endpoints, "name", cluster,
				"operation", object("op", "add", "jsonPath", "..lb_endpoints[*]", "path", "metadata",
					"value", object("filter_metadata", object(MetadataNamespace, object("provider", p.Name))))))
	}
	return patches, nil
}

// gatewayFilters put filters before the router, each right before it.
func (a Attachment) gatewayFilters(filters []*hcmv3.HttpFilter) ([]any, error) {
	var patches []any
	for _, f := range filters {
		filter, err := tree(f)
		if err != nil {
			return nil, err
		}
		patches = append(patches, a.gatewayPatch(listenerType,
			"op", "add", "jsonPath", "..http_filters[?(@.name=='envoy.filters.http.router')]", "value", filter))
	}
	return patches, nil
}

// gatewayLogPatches have the access log tell what became of a filter and of each try, and keep it while nobody takes it.
func (b *builder) gatewayLogPatches(a Attachment, filter string) ([]any, error) {
	retry, err := tree(logRetry())
	if err != nil {
		return nil, err
	}
	common := fmt.Sprintf("..access_log[?(@.typed_config.common_config.log_name=='%s')].typed_config.common_config", b.logName())
	return list(
		a.gatewayPatch(listenerType, "op", "add", "jsonPath", common, "path", "filter_state_objects_to_log", "value", list(filter)),
		a.gatewayPatch(listenerType, "op", "add", "jsonPath", common, "path", "grpc_stream_retry_policy", "value", retry),
		a.gatewayPatch(routesType, "op", "add", "jsonPath", "..virtual_hosts[*]", "path", "include_request_attempt_count", "value", true),
	), nil
}
