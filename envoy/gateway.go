package envoy

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

const (
	gatewayAPI = "gateway.networking.k8s.io/v1"
	envoyAPI   = "gateway.envoyproxy.io/v1alpha1"
)

// gateway is everything that Envoy Gateway takes as manifests.
func (a Attachment) gateway() ([]byte, error) {
	b := newBuilder(a.Config)
	b.processorCluster = fmt.Sprintf("envoyextensionpolicy/%s/keel/extproc/0", a.Namespace)
	policy := func(processor, settings yaml.MapSlice) document {
		return document{body: a.gatewayObject(envoyAPI, "EnvoyExtensionPolicy", "keel", a.gatewayPolicy(processor, settings)),
			head: []string{a.gatewayPolicyHead()}}
	}
	if a.Mode == ModeAuthz {
		policy = a.gatewayCheck
	}
	processor, backend := a.gatewayProcessor()
	var all []document
	if backend != nil {
		all = append(all, document{body: backend, head: a.gatewayProcessorHead()})
	}
	settings := object(
		"circuitBreaker", object("maxConnections", int64(unlimited), "maxPendingRequests", int64(unlimited), "maxParallelRequests", int64(unlimited)),
		"healthCheck", object("active", object("type", "GRPC", "timeout", "1s", "interval", healthEvery.String(), "unhealthyThreshold", 2, "healthyThreshold", 1)),
	)
	all = append(all,
		document{body: a.gatewayObject(envoyAPI, "EnvoyProxy", "keel", object("telemetry", object("accessLog", object("settings", list(object(
			"sinks", list(object("type", "ALS", "als", object(
				"logName", LogName, "type", "HTTP", "backendRefs", list(processor), "backendSettings", settings,
				"http", object("requestHeaders", list("x-request-id"), "responseHeaders", strs(b.headersToLog())),
			))))))))),
			head: []string{"The access log. Name this object in infrastructure.parametersRef of the Gateway, or in parametersRef of its GatewayClass."}},
		document{body: a.gatewayObject(envoyAPI, "ClientTrafficPolicy", "keel", object(
			"targetRefs", list(a.gatewayRef()), "connection", object("bufferLimit", quantity(a.RequestLimit)),
			"timeout", object("http", object("requestReceivedTimeout", a.IdleTimeout.String(), "streamIdleTimeout", a.IdleTimeout.String()))))},
		policy(processor, settings),
	)
	for _, p := range a.Providers {
		all = append(all, a.gatewayBackend(p))
	}
	all = append(all,
		document{body: a.gatewayObject(envoyAPI, "HTTPRouteFilter", unrouted, object("directResponse", object(
			"statusCode", 404, "contentType", "application/json", "body", object("type", "Inline", "inline", unroutedBody))))},
		document{body: a.gatewayObject(gatewayAPI, "HTTPRoute", "keel", a.gatewayRoutes()), head: []string{"Routes by Keel's target."}},
		document{body: a.gatewayObject(envoyAPI, "BackendTrafficPolicy", "keel", a.gatewayTraffic())},
	)
	patches, err := b.gatewayPatches(a)
	if err != nil {
		return nil, err
	}
	all = append(all, document{
		body: a.gatewayObject(envoyAPI, "EnvoyPatchPolicy", "keel", object("targetRef", a.gatewayRef(), "type", "JSONPatch", "jsonPatches", patches)),
		head: []string{"What the policies can't say. Envoy Gateway needs extensionApis: {enableEnvoyPatchPolicy: true, enableBackend: true}."},
	})
	if b.err != nil {
		return nil, b.err
	}
	all[0].head = append(append(a.heading(), "Apply with kubectl.", ""), all[0].head...)
	return documents(all)
}

func (a Attachment) gatewayProcessorHead() []string {
	if a.TLS == nil {
		return []string{"The processor; a Kubernetes Service needs no Backend."}
	}
	return []string{"The processor. Secret keel-client has the certificate that Envoy shows to it (tls.crt, tls.key), ConfigMap keel-ca", "the authorities that its own is checked against (ca.crt)."}
}

// gatewayProcessor is a reference to the processor, and the Backend for one that is not a Service.
func (a Attachment) gatewayProcessor() (ref, backend yaml.MapSlice) {
	p, _ := parseProcessor(a.Processor) // was checked
	if name, ok := strings.CutSuffix(p.host, ".svc.cluster.local"); ok && a.TLS == nil {
		if service, namespace, ok := strings.Cut(name, "."); ok {
			return object("name", service, "namespace", namespace, "port", p.port), nil
		}
	}
	endpoint := object("fqdn", object("hostname", p.host, "port", p.port))
	switch {
	case p.path != "":
		endpoint = object("unix", object("path", p.path))
	case p.isIP():
		endpoint = object("ip", object("address", p.host, "port", p.port))
	}
	spec := object("appProtocols", list("gateway.envoyproxy.io/h2c"), "endpoints", list(endpoint))
	if a.TLS != nil {
		// What Envoy Gateway takes for sni it also holds the certificate to.
		spec = object("endpoints", list(endpoint), "tls", object(
			"caCertificateRefs", list(object("group", "", "kind", "ConfigMap", "name", "keel-ca")),
			"sni", a.TLS.Names[0],
			"clientCertificateRef", object("kind", "Secret", "name", "keel-client")))
	}
	return gatewayBackendRef("keel-processor"), a.gatewayObject(envoyAPI, "Backend", "keel-processor", spec)
}

func (a Attachment) gatewayPolicy(processor, settings yaml.MapSlice) yaml.MapSlice {
	seconds := func(d fmt.Stringer) string { return d.String() }
	mode := object("allowModeOverride", true, "request", object("body", "Buffered", "attributes", strs(requestAttributes)))
	if a.Mode != ModeLight {
		mode = append(mode, yaml.MapItem{Key: "response", Value: object("body", "Streamed", "attributes", strs(responseAttributes))})
	}
	return object("targetRefs", list(a.gatewayRef()), "extProc", list(object(
		"backendRefs", list(processor),
		"backendSettings", settings,
		"messageTimeout", seconds(messageTimeout),
		"failOpen", false,
		"statusOnError", 503,
		"processingMode", mode,
		"metadata", object("accessibleNamespaces", strs(a.readable()), "writableNamespaces", list(MetadataNamespace)),
	)))
}

func (a Attachment) gatewayPolicyHead() string {
	if a.Mode == ModeLight {
		return "The filter before the router. It needs the EnvoyPatchPolicy, which says that it sees requests only: without that it fails closed, and every call is charged its envelope."
	}
	return "The filter before the router. What it can't say is in the EnvoyPatchPolicy; without that it fails closed all the same."
}

// gatewayCheck asks Keel once for each call.
func (a Attachment) gatewayCheck(processor, settings yaml.MapSlice) document {
	return document{
		body: a.gatewayObject(envoyAPI, "SecurityPolicy", "keel", object("targetRefs", list(a.gatewayRef()), "extAuth", object(
			"grpc", object("backendRefs", list(processor), "backendSettings", settings),
			"timeout", messageTimeout.String(), "failOpen", false, "statusOnError", 503, "recomputeRoute", true,
			"bodyToExtAuth", object("maxRequestBytes", a.RequestLimit),
		))),
		head: []string{"The check before the router, on the Gateway: on an HTTPRoute it would leave every other route unmetered. A longer body is answered with 413."},
	}
}

// gatewayBackend makes a provider known, and has its certificate checked.
func (a Attachment) gatewayBackend(p Provider) document {
	e, _ := p.endpoint() // was checked
	target := object("fqdn", object("hostname", e.host, "port", e.port))
	if e.isIP() {
		target = object("ip", object("address", e.host, "port", e.port))
	}
	spec := object("endpoints", list(target))
	if e.tls {
		spec = append(spec, yaml.MapItem{Key: "tls", Value: object("wellKnownCACertificates", "System", "sni", e.host)})
	}
	return document{body: a.gatewayObject(envoyAPI, "Backend", p.Name, spec)}
}

func (a Attachment) gatewayRoutes() yaml.MapSlice {
	match := func(headers ...any) []any {
		m := object("path", object("type", "PathPrefix", "value", "/"))
		if len(headers) > 0 {
			m = append(m, yaml.MapItem{Key: "headers", Value: headers})
		}
		return list(m)
	}
	var rules []any
	for _, p := range a.Providers {
		rules = append(rules, object(
			"name", p.Name,
			"matches", match(object("type", "RegularExpression", "name", TargetHeader, "value", p.Name+"/.*")),
			"filters", list(
				object("type", "URLRewrite", "urlRewrite", object("hostname", hostOf(p))),
				object("type", "RequestHeaderModifier", "requestHeaderModifier", object("remove", list(TargetHeader))),
			),
			"backendRefs", list(gatewayBackendRef(p.Name)),
		))
	}
	rules = append(rules, object(
		"name", unrouted, "matches", match(),
		"filters", list(object("type", "ExtensionRef", "extensionRef", object("group", "gateway.envoyproxy.io", "kind", "HTTPRouteFilter", "name", unrouted))),
	))
	return object("parentRefs", list(object("name", a.Gateway)), "rules", rules)
}

// hostOf is the Host without its port, which the Gateway API can't rewrite.
func hostOf(p Provider) string {
	host, _, _ := strings.Cut(p.Host, ":")
	return host
}

func (a Attachment) gatewayTraffic() yaml.MapSlice {
	o := object("targetRefs", list(object("group", "gateway.networking.k8s.io", "kind", "HTTPRoute", "name", "keel")))
	if a.Retry.Times > 0 {
		on := object("triggers", strs(a.Retry.conditions()))
		if len(a.Retry.Statuses) > 0 {
			var statuses []any
			for _, s := range a.Retry.Statuses {
				statuses = append(statuses, s)
			}
			on = append(on, yaml.MapItem{Key: "httpStatusCodes", Value: statuses})
		}
		o = append(o, yaml.MapItem{Key: "retry", Value: object("numRetries", a.Retry.Times, "retryOn", on)})
	}
	return append(o,
		yaml.MapItem{Key: "timeout", Value: object("http", object("requestTimeout", "0s", "maxStreamDuration", "0s"))},
		yaml.MapItem{Key: "circuitBreaker", Value: object("maxConnections", int64(unlimited), "maxPendingRequests", int64(unlimited), "maxParallelRequests", int64(unlimited), "maxParallelRetries", int64(unlimited))},
	)
}

// gatewayPatches are what the policies have no field for.
func (b *builder) gatewayPatches(a Attachment) ([]any, error) {
	filter, err := tree(b.processorFilter())
	if err != nil {
		return nil, err
	}
	const listenerType, routesType = "type.googleapis.com/envoy.config.listener.v3.Listener", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	listener := fmt.Sprintf("%s/%s/%s", a.Namespace, a.Gateway, a.Listener)
	name := "envoy.filters.http.ext_proc/" + b.processorCluster // which Envoy Gateway gives the filter
	retry, err := tree(logRetry())
	if err != nil {
		return nil, err
	}
	patches := list()
	if a.Mode == ModeAuthz {
		name = fmt.Sprintf("envoy.filters.http.ext_authz/securitypolicy/%s/keel", a.Namespace)
	} else {
		patches = list(object("type", listenerType, "name", listener, "operation", object(
			"op", "replace",
			"jsonPath", fmt.Sprintf("..http_filters[?(@.name=='%s')].typed_config", name),
			"value", field(filter, "typed_config"))))
	}
	if a.Mode.Logged() {
		for _, f := range b.usageFilters() { // each right before the router
			usage, err := tree(f)
			if err != nil {
				return nil, err
			}
			patches = append(patches, object("type", listenerType, "name", listener, "operation", object(
				"op", "add", "jsonPath", "..http_filters[?(@.name=='envoy.filters.http.router')]", "value", usage)))
		}
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
		patches = append(patches, object("type", routesType, "name", listener, "operation", object(
			"op", "add", "jsonPath", "..virtual_hosts[*]", "path", "response_headers_to_add", "value", all)))
	}
	patches = append(patches,
		object("type", listenerType, "name", listener, "operation", object(
			"op", "add", "jsonPath", fmt.Sprintf("..access_log[?(@.typed_config.common_config.log_name=='%s')].typed_config.common_config", LogName),
			"path", "filter_state_objects_to_log", "value", list(name))),
		object("type", listenerType, "name", listener, "operation", object(
			"op", "add", "jsonPath", fmt.Sprintf("..access_log[?(@.typed_config.common_config.log_name=='%s')].typed_config.common_config", LogName),
			"path", "grpc_stream_retry_policy", "value", retry)),
		object("type", routesType, "name", listener, "operation", object(
			"op", "add", "jsonPath", "..virtual_hosts[*]", "path", "include_request_attempt_count", "value", true)),
	)
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
		endpoints := "type.googleapis.com/envoy.config.cluster.v3.Cluster"
		if e.isIP() { // Envoy gets such endpoints apart from their cluster
			endpoints = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
		}
		patches = append(patches,
			object("type", "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name", cluster,
				"operation", object("op", "add", "path", "/typed_extension_protocol_options", "value", options)),
			object("type", endpoints, "name", cluster,
				"operation", object("op", "add", "jsonPath", "..lb_endpoints[*]", "path", "metadata",
					"value", object("filter_metadata", object(MetadataNamespace, object("provider", p.Name))))))
	}
	return patches, nil
}

func (a Attachment) gatewayRef() yaml.MapSlice {
	return object("group", "gateway.networking.k8s.io", "kind", "Gateway", "name", a.Gateway)
}

func gatewayBackendRef(name string) yaml.MapSlice {
	return object("group", "gateway.envoyproxy.io", "kind", "Backend", "name", name)
}

func (a Attachment) gatewayObject(version, kind, name string, spec yaml.MapSlice) yaml.MapSlice {
	return object("apiVersion", version, "kind", kind, "metadata", object("name", name, "namespace", a.Namespace), "spec", spec)
}

// quantity is bytes as Kubernetes writes them.
func quantity(bytes uint64) string {
	if bytes%(1<<20) == 0 {
		return fmt.Sprintf("%dMi", bytes>>20)
	}
	return fmt.Sprint(bytes)
}

func strs(all []string) []any {
	values := make([]any, len(all))
	for i, s := range all {
		values[i] = s
	}
	return values
}
