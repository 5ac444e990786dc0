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
	if a.Mode == ModeObserve {
		return a.gatewayObserver(b)
	}
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
	all = append(all,
		a.gatewayLog(b, processor, b.gatewaySettings(accessLogCluster)),
		document{body: a.gatewayObject(envoyAPI, "ClientTrafficPolicy", "keel", object(
			"targetRefs", list(a.gatewayRef()), "connection", object("bufferLimit", quantity(a.RequestLimit)),
			"timeout", object("http", object(
				"requestHeadersReceivedTimeout", requestHeadersTimeout.String(),
				"requestReceivedTimeout", a.IdleTimeout.String(), "streamIdleTimeout", a.IdleTimeout.String())))),
			head: []string{"Past the buffer limit a call is answered with 413; Envoy Gateway's default is 32 KiB. The timeouts are limits against requests that come in drops."}},
		policy(processor, b.gatewaySettings(b.processorCluster)),
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
	all = append(all, a.gatewayPatchPolicy(patches, "What the policies can't say."))
	return a.gatewayDocuments(b, all)
}

// gatewayDocuments writes all, below what the first says of how to apply them.
func (a Attachment) gatewayDocuments(b *builder, all []document) ([]byte, error) {
	all[0].head = append(append(a.heading(), "Apply with kubectl.", ""), all[0].head...)
	return documentsOf(b, all)
}

// gatewaySettings are of a cluster that leads to the processor. Without keepalive a replica whose machine is gone is not missed while a call
// waits for it.
func (b *builder) gatewaySettings(cluster string) yaml.MapSlice {
	http2 := object("connectionKeepalive", object("interval", pingEvery.String(), "timeout", pingWait.String()))
	var rest yaml.MapSlice
	if b.TLS != nil {
		rest = object("timeout", object("http", object("maxConnectionDuration", connectionAge.String())))
	}
	if buffers := b.buffers(cluster); buffers != nil {
		window := quantity(uint64(buffers.stream))
		http2 = append(object("initialStreamWindowSize", window, "initialConnectionWindowSize", window), http2...)
		rest = append(object("connection", object("bufferLimit", quantity(uint64(buffers.connection)))), rest...)
	}
	return append(object(
		"circuitBreaker", object("maxConnections", int64(unlimited), "maxPendingRequests", int64(unlimited), "maxParallelRequests", int64(unlimited)),
		"healthCheck", object("active", object("type", "GRPC", "timeout", "1s", "interval", healthEvery.String(), "unhealthyThreshold", 2, "healthyThreshold", 1)),
		"http2", http2,
	), rest...)
}

// gatewayLog is the access log.
func (a Attachment) gatewayLog(b *builder, processor, settings yaml.MapSlice) document {
	spec := object("telemetry", object("accessLog", object("settings", list(object(
		"sinks", list(object("type", "ALS", "als", object(
			"logName", b.logName(), "type", "HTTP", "backendRefs", list(processor), "backendSettings", settings,
			"http", object("requestHeaders", list("x-request-id"), "responseHeaders", strs(b.headersToLog())),
		))))))))
	head := []string{"The access log. Name this object in infrastructure.parametersRef of the Gateway, or in parametersRef of its GatewayClass."}
	if a.Mode == ModeAuthz {
		spec = append(object("filterOrder", list(object("name", "envoy.filters.http.ext_authz", "after", "envoy.filters.http.jwt_authn"))), spec...)
		head = append(head, "The order of filters has Keel asked after tokens are verified, so that it sees their claims; Envoy Gateway's own is the other way round.")
	}
	return document{body: a.gatewayObject(envoyAPI, "EnvoyProxy", "keel", spec), head: head}
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
