package envoy

import (
	"fmt"
	"path"
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/goccy/go-yaml"
)

// istioProvider is the name of the access log among Istio's extensionProviders.
const istioProvider = "keel"

// httpManager is what a control plane names the filter that has those of HTTP in it.
const (
	httpManager     = "envoy.filters.network.http_connection_manager"
	httpManagerType = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)

const perConnection = "per_connection_buffer_limit_bytes"

// istio is everything that a mesh takes as manifests.
func (a Attachment) istio() ([]byte, error) {
	b := newBuilder(a.Config)
	host, port, entry := a.istioProcessor()
	b.processorCluster = fmt.Sprintf("outbound|%d||%s", port, host)
	router, err := b.istioRouter(a)
	if err != nil {
		return nil, err
	}
	all := []document{}
	if entry != nil {
		all = append(all, document{body: a.istioObject("networking.istio.io/v1", "ServiceEntry", "keel-processor", entry),
			head: []string{"The processor as the mesh knows it; a Kubernetes Service needs no such entry."}})
	}
	if a.TLS != nil {
		all = append(all, document{body: a.istioObject("networking.istio.io/v1", "DestinationRule", "keel-processor", object("host", host,
			"trafficPolicy", object("connectionPool", object("tcp", object("maxConnectionDuration", fmt.Sprintf("%.0fs", connectionAge.Seconds()))), "tls", a.istioTLS(host)))),
			head: []string{"How the processor is spoken to: the gateway's pods have the certificates in a folder, and show them again before the processor asks for it."}})
	}
	all = append(all,
		document{body: a.istioFilter("keel", router), head: []string{a.istioFilterHead()}},
		document{body: a.istioObject("telemetry.istio.io/v1", "Telemetry", "keel", object(
			"selector", object("matchLabels", a.istioSelector()),
			"accessLogging", list(object("providers", list(object("name", istioProvider)))),
		)), head: []string{"The access log. Its provider belongs to MeshConfig: \"keel envoy config --target istio --mesh-config\"."}},
	)
	if a.Mode == ModeObserve { // routes stay as they are
		all[0].head = append(append(a.heading(), "Apply with kubectl, and lint it together with MeshConfig.", ""), all[0].head...)
		return documentsOf(b, all)
	}
	if a.CustomPolicy {
		all = append(all, a.istioPolicy())
	}
	for _, p := range a.Providers {
		provider, err := a.istioProviderObjects(p)
		if err != nil {
			return nil, err
		}
		all = append(all, provider...)
	}
	all = append(all, document{body: a.istioObject("networking.istio.io/v1", "VirtualService", "keel", a.istioRoutes()),
		head: []string{"Routes by Keel's target, behind the Gateway that your applications call."}})
	if a.Mode == ModeAttempts {
		patches, err := b.istioAttempts(a)
		if err != nil {
			return nil, err
		}
		all = append(all, document{body: a.istioFilter("keel-attempts", patches), head: []string{"The filter that every attempt at a provider passes."}})
	}
	all[0].head = append(append(a.heading(), "Apply with kubectl, and lint it together with MeshConfig.", ""), all[0].head...)
	return documentsOf(b, all)
}

// documentsOf writes what a builder built without an error.
func documentsOf(b *builder, all []document) ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	return documents(all)
}

// meshConfig is what goes into Istio's own configuration.
func (a Attachment) meshConfig() ([]byte, error) {
	host, port, _ := a.istioProcessor()
	b := newBuilder(a.Config)
	providers := list(object(
		"name", istioProvider,
		"envoyHttpAls", object(
			"service", host, "port", port, "logName", b.logName(),
			"filterStateObjectsToLog", strs(b.statesToLog()),
			"additionalRequestHeadersToLog", list("x-request-id"),
			"additionalResponseHeadersToLog", strs(b.headersToLog()),
		),
	))
	if a.CustomPolicy {
		providers = append(providers, a.istioCheck(host, port))
	}
	body := object("extensionProviders", providers)
	return documents([]document{{body: body, head: append(a.heading(), "Merge into MeshConfig: meshConfig of the Helm chart istiod, or of istioctl install.")}})
}

// istioProcessor is the host and port by which the mesh knows the processor, and
// the ServiceEntry for one that is not a Service.
func (a Attachment) istioProcessor() (host string, port uint32, entry yaml.MapSlice) {
	p, _ := parseProcessor(a.Processor) // was checked
	if strings.HasSuffix(p.host, ".svc.cluster.local") {
		return p.host, p.port, nil
	}
	host, port = p.host, p.port
	entry = object("hosts", nil, "location", "MESH_INTERNAL", "resolution", "DNS", "ports", nil)
	switch {
	case p.path != "":
		host, port = "keel.internal", 10002
		entry[2].Value = "STATIC"
		entry = append(entry, yaml.MapItem{Key: "endpoints", Value: list(object("address", "unix://"+p.path))})
	case p.isIP():
		host = "keel.internal"
		entry[2].Value = "STATIC"
		entry = append(entry, yaml.MapItem{Key: "endpoints", Value: list(object("address", p.host))})
	}
	entry[0].Value = list(host)
	entry[3].Value = list(object("number", port, "name", "grpc", "protocol", "GRPC"))
	return host, port, entry
}

// istioTLS is the way to the processor, by files that Istio's agent watches.
func (a Attachment) istioTLS(host string) yaml.MapSlice {
	file := func(name string) string { return path.Join(a.TLS.Folder, name) }
	return object("mode", "MUTUAL", "clientCertificate", file("tls.crt"), "privateKey", file("tls.key"), "caCertificates", file("ca.crt"),
		"sni", host, "subjectAltNames", strs(a.TLS.Names))
}

func (b *builder) istioRouter(a Attachment) ([]any, error) {
	filters := b.filters()
	var patches []any
	if a.CustomPolicy { // of which Istio makes the filter
		filters = []*hcmv3.HttpFilter{b.usageFilter()}
		reroute, err := istioReroute()
		if err != nil {
			return nil, err
		}
		patches = append(patches, reroute)
	}
	for _, f := range filters { // each comes behind those before it
		filter, err := tree(f)
		if err != nil {
			return nil, err
		}
		patches = append(patches, object("applyTo", "HTTP_FILTER",
			"match", object("context", "GATEWAY", "listener", object("filterChain", object("filter", object(
				"name", httpManager, "subFilter", object("name", "envoy.filters.http.router"))))),
			"patch", object("operation", "INSERT_BEFORE", "value", filter)))
	}
	host := object("include_request_attempt_count", true)
	for _, h := range b.answerHeaders() {
		header, err := tree(h)
		if err != nil {
			return nil, err
		}
		if len(host) == 1 {
			host = append(host, yaml.MapItem{Key: "response_headers_to_add", Value: []any{}})
		}
		host[1].Value = append(host[1].Value.([]any), header)
	}
	// Of the cluster only what Istio does not set by itself: it has no limits of its own.
	plain := *b
	plain.TLS = nil // which the DestinationRule says
	cluster, err := tree(plain.grpcCluster(b.processorCluster, address{}))
	if err != nil {
		return nil, err
	}
	settings := object("health_checks", field(cluster, "health_checks"), "typed_extension_protocol_options", field(cluster, "typed_extension_protocol_options"))
	if limit := field(cluster, perConnection); limit != nil {
		settings = append(settings, yaml.MapItem{Key: perConnection, Value: limit})
	}
	if a.Mode != ModeObserve { // which has limits for nobody
		limits, err := b.istioLimits()
		if err != nil {
			return nil, err
		}
		patches = append(patches, limits)
	}
	service, _, _ := a.istioProcessor()
	return append(patches,
		object("applyTo", "LISTENER",
			"match", object("context", "GATEWAY"),
			"patch", object("operation", "MERGE", "value", object(perConnection, a.RequestLimit))),
		object("applyTo", "VIRTUAL_HOST",
			"match", object("context", "GATEWAY"),
			"patch", object("operation", "MERGE", "value", host)),
		object("applyTo", "CLUSTER",
			"match", object("context", "GATEWAY", "cluster", object("service", service)),
			"patch", object("operation", "MERGE", "value", settings)),
	), nil
}

// istioLimits are those against slow clients, of which Istio has none.
func (b *builder) istioLimits() (yaml.MapSlice, error) {
	manager := new(hcmv3.HttpConnectionManager)
	b.limitTimes(manager)
	limits, err := tree(manager)
	return object("applyTo", "NETWORK_FILTER",
		"match", object("context", "GATEWAY", "listener", object("filterChain", object("filter", object("name", httpManager)))),
		"patch", object("operation", "MERGE", "value", object("typed_config", append(object("@type", httpManagerType), limits...)))), err
}

func (a Attachment) istioFilterHead() string {
	if a.CustomPolicy {
		return "The filters that read usage, before the router of the gateway. Istio itself puts the check before them."
	}
	return "The filter before the router of the gateway."
}

func (b *builder) istioAttempts(a Attachment) ([]any, error) {
	var patches []any
	for _, p := range a.Providers {
		options, err := b.attemptOptions()
		if err != nil {
			return nil, err
		}
		e, err := p.endpoint()
		if err != nil {
			return nil, err
		}
		patches = append(patches, object("applyTo", "CLUSTER",
			"match", object("context", "GATEWAY", "cluster", object("service", istioHost(p, e))),
			"patch", object("operation", "MERGE", "value", object("typed_extension_protocol_options", options))))
	}
	return patches, nil
}

// istioProviderObjects make a provider known to the mesh, and have its certificate checked.
func (a Attachment) istioProviderObjects(p Provider) ([]document, error) {
	e, err := p.endpoint()
	if err != nil {
		return nil, err
	}
	protocol, resolution := "HTTP", "DNS"
	if e.isIP() {
		resolution = "STATIC"
	}
	host := istioHost(p, e)
	entry := object("hosts", list(host), "location", "MESH_EXTERNAL", "resolution", resolution,
		"ports", list(object("number", e.port, "name", "http", "protocol", protocol)))
	if e.isIP() {
		entry = append(entry, yaml.MapItem{Key: "endpoints", Value: list(object("address", e.host))})
	}
	all := []document{{body: a.istioObject("networking.istio.io/v1", "ServiceEntry", p.Name, entry)}}
	if e.tls {
		tls := object("mode", "SIMPLE", "sni", e.host, "subjectAltNames", list(e.host))
		all = append(all, document{body: a.istioObject("networking.istio.io/v1", "DestinationRule", p.Name, object(
			"host", host, "trafficPolicy", object("tls", tls)))})
	}
	return all, nil
}

// istioHost is the host that a provider is known by in the mesh, which is a name.
func istioHost(p Provider, e endpoint) string {
	if e.isIP() {
		return p.Name + ".keel.internal"
	}
	return e.host
}

func (a Attachment) istioRoutes() yaml.MapSlice {
	var routes []any
	for _, p := range a.Providers {
		e, _ := p.endpoint() // was checked
		route := object(
			"name", p.Name,
			"match", list(object("headers", object(TargetHeader, object("prefix", p.Name+"/")))),
			"rewrite", object("authority", p.Host),
			"headers", object("request", object("remove", list(TargetHeader))),
			"route", list(object("destination", object("host", istioHost(p, e), "port", object("number", e.port)))),
			"retries", a.istioRetries(), // and no timeout, which is Istio's default
		)
		routes = append(routes, route)
	}
	routes = append(routes, object("name", unrouted, "directResponse", object("status", 404, "body", object("string", unroutedBody))))
	return object("hosts", list("*"), "gateways", list(a.Gateway), "http", routes)
}

func (a Attachment) istioRetries() yaml.MapSlice {
	if a.Retry.Times == 0 {
		return object("attempts", 0)
	}
	on := a.Retry.On
	for _, status := range a.Retry.Statuses {
		on = append(on[:len(on):len(on)], fmt.Sprint(status))
	}
	return object("attempts", a.Retry.Times, "retryOn", strings.Join(on, ","))
}

func (a Attachment) istioSelector() yaml.MapSlice {
	key, value, _ := strings.Cut(a.Selector, "=")
	return object(key, value)
}

func (a Attachment) istioFilter(name string, patches []any) yaml.MapSlice {
	return a.istioObject("networking.istio.io/v1alpha3", "EnvoyFilter", name, object(
		"workloadSelector", object("labels", a.istioSelector()), "configPatches", patches))
}

func (a Attachment) istioObject(version, kind, name string, spec yaml.MapSlice) yaml.MapSlice {
	return object("apiVersion", version, "kind", kind, "metadata", object("name", name, "namespace", a.Namespace), "spec", spec)
}
