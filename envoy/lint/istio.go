package lint

import (
	"slices"
	"strings"
	"time"

	"keel/envoy"
)

// A patch is what one entry of an EnvoyFilter changes.
type patch struct {
	object    *object
	applyTo   string
	operation string
	match     *node
	value     *node
}

// patched says what each applyTo patches.
var patched = map[string]string{
	"HTTP_FILTER": msgHTTPFilter, "CLUSTER": msgCluster, "LISTENER": msgListener, "VIRTUAL_HOST": msgVirtualHost, "HTTP_ROUTE": msgRoute,
	"ROUTE_CONFIGURATION": msgRoutes, "NETWORK_FILTER": msgNetworkFilter, "FILTER_CHAIN": msgFilterChain, "BOOTSTRAP": msgBootstrap,
}

func (l *linter) envoyFilter(o *object) {
	for _, n := range o.spec.get("configPatches").list() {
		p := &patch{object: o, applyTo: n.get("applyTo").text(), operation: n.get("patch", "operation").text(), match: n.get("match"), value: n.get("patch", "value")}
		if name := patched[p.applyTo]; name != "" {
			l.understand(p.value, name)
		}
		l.patches = append(l.patches, p)
	}
}

// patchFilters finds the filters that EnvoyFilters insert.
func (l *linter) patchFilters() {
	for _, p := range l.patches {
		var found []*filter
		switch p.applyTo {
		case "HTTP_FILTER":
			if p.operation == "MERGE" { // into one that somebody else makes
				continue
			}
			found = append(found, newFilter(p.value, false))
		case "CLUSTER":
			for _, n := range clusterFilters(p.value) {
				found = append(found, newFilter(n, true))
			}
		}
		for _, f := range found {
			if f != nil {
				f.object = p.object
				l.filters = append(l.filters, f)
			}
		}
	}
}

// judgeIstio judges what manifests of Istio make together.
func (l *linter) judgeIstio() {
	var router, before []*filter // those with a stream of their own, and all before the router
	for _, f := range l.filters {
		if !f.judged || f.object == nil || f.object.kind != "EnvoyFilter" {
			continue
		}
		if f.name() == "envoy.filters.http.ext_proc" {
			l.find(istioName, f.node.at("name"), "a filter of an EnvoyFilter is named %s", f.name())
		}
		if f.upstream {
			continue
		}
		before = append(before, f)
		if !f.authz {
			router = append(router, f)
		}
	}
	for _, f := range router {
		l.judgePatchOrder(f)
		l.judgeIstioBuffer(f)
	}
	l.judgePatchedRoutes()
	l.judgeMeshLog(before)
	l.judgeMeshAuthz()
	for _, o := range l.objects {
		switch {
		case o.kind == "VirtualService":
			l.judgeVirtualService(o, len(before) > 0)
		case o.kind == "DestinationRule":
			l.judgeDestinationRule(o)
		case o.kind == "AuthorizationPolicy" && o.spec.get("action").is("CUSTOM"):
			l.judgePaths(o)
			l.judgeCustomPolicy(o)
		}
	}
}

// judgePatchOrder finds the filters that are inserted around Keel's. Each patch that inserts
// before the router comes behind those that were there.
func (l *linter) judgePatchOrder(f *filter) {
	at := slices.IndexFunc(l.patches, func(p *patch) bool { return p.value == f.node })
	if at < 0 {
		return
	}
	mode := responseMode(f.config.get("processing_mode"))
	for i, p := range l.patches {
		if p.applyTo != "HTTP_FILTER" || i == at {
			continue
		}
		config := p.value.get("typed_config")
		behind := i > at && p.operation == "INSERT_BEFORE" && beforeRouter(p) && beforeRouter(l.patches[at])
		switch {
		case config.typeName() == msgDecompressor && decodesResponses(config) && behind && mode != "NONE":
			l.find(decompressorHangs, p.value, "%s comes behind %s, which has response_body_mode %s", p.value.get("name").text(), f.shown(), mode)
		case config.typeName() == msgDecompressor && decodesResponses(config):
			l.find(decompressorFirst, p.value, "%s comes before %s", p.value.get("name").text(), f.shown())
		case config.typeName() == msgAIProtocol && synthesizes(config) && mode != "NONE":
			l.find(trailersHang, config.at("response_handling", "token_usage", "usage_signal"), "%s adds trailers, and %s has response_body_mode %s", p.value.get("name").text(), f.shown(), mode)
		case !behind && p.value.mentions(envoy.TargetHeader):
			l.find(targetTrusted, p.value, "%s reads %s before %s has set it", p.value.get("name").text(), envoy.TargetHeader, f.shown())
		}
	}
}

func beforeRouter(p *patch) bool {
	return p.match.get("listener", "filterChain", "filter", "subFilter", "name").is("envoy.filters.http.router")
}

// judgeIstioBuffer looks for a patch that raises the limit, which is Envoy's otherwise.
func (l *linter) judgeIstioBuffer(f *filter) {
	if requestMode(f.config.get("processing_mode")) != "BUFFERED" {
		return
	}
	raised := false
	for _, p := range l.patches {
		for _, v := range []*node{p.value.get("per_connection_buffer_limit_bytes"), p.value.get("request_body_buffer_limit")} {
			n, ok := v.number()
			switch {
			case !ok:
			case n <= smallBuffer:
				l.find(bufferSmall, v, "%s is %d", v.name, n)
				raised = true // it was told
			default:
				raised = true
			}
		}
	}
	if !raised {
		l.absent(bufferSmall, f.node, "no EnvoyFilter of these files raises the buffer limit of 1 MiB")
	}
}

// judgePatchedRoutes finds routes that a patch takes from the filter.
func (l *linter) judgePatchedRoutes() {
	for _, p := range l.patches {
		for _, o := range p.value.get("typed_per_filter_config").values() {
			if o.get("disabled").yes() && slices.ContainsFunc(l.filters, func(f *filter) bool { return f.judged && f.name() == o.name }) {
				l.find(routeNotCovered, o, "%s does not run where this patch applies", o.name)
			}
		}
	}
}

// attemptPatches reports whether a cluster of a host gets a filter of Keel's; known is false
// where no EnvoyFilter says anything of clusters.
func (l *linter) attemptPatches(host string) (patched, known bool) {
	for _, p := range l.patches {
		if p.applyTo != "CLUSTER" || !l.seesAttempts(p.value) {
			continue
		}
		known = true
		patched = patched || p.concerns(host)
	}
	return patched, known
}

// concerns reports whether a patch of clusters is for those of a host.
func (p *patch) concerns(host string) bool {
	service, name := p.match.get("cluster", "service").text(), p.match.get("cluster", "name").text()
	return service == "" && name == "" || service == host || strings.HasSuffix(name, "|"+host)
}

func (l *linter) judgeVirtualService(o *object, attached bool) {
	if !attached {
		return
	}
	hosts := map[string]bool{}
	var byHeader []*node
	for _, r := range o.spec.get("http").list() {
		destinations := r.get("route").list()
		if len(destinations) == 0 {
			continue
		}
		for _, d := range destinations {
			hosts[d.get("destination", "host").text()] = true
			l.judgeIstioRetry(r, d.get("destination", "host"))
		}
		removed := slices.Concat(r.get("headers", "request", "remove").texts(), destinations[0].get("headers", "request", "remove").texts())
		if !slices.ContainsFunc(removed, isTarget) {
			l.find(targetKept, r.at("headers", "request", "remove"), "route %s does not remove %s", orDefault(r.get("name").text(), "without a name"), envoy.TargetHeader)
		}
		for _, m := range r.get("match").list() {
			for _, h := range m.get("headers").values() {
				if clientHeader(h.name) {
					byHeader = append(byHeader, h)
				}
			}
		}
	}
	if len(hosts) > 1 {
		for _, h := range byHeader {
			l.find(clientRoutes, h, "a route is chosen by the header %s", h.name)
		}
	}
}

func isTarget(name string) bool { return strings.EqualFold(name, envoy.TargetHeader) }

// judgeIstioRetry judges the retries of a route, which Istio has even where none are written.
func (l *linter) judgeIstioRetry(r, host *node) {
	retries := r.get("retries")
	if n, ok := retries.get("attempts").number(); ok && n == 0 {
		return
	}
	conditions := billed(retries.get("retryOn").text())
	if retries.get("retryOn") != nil && len(conditions) == 0 {
		return
	}
	patched, known := l.attemptPatches(host.text())
	switch {
	case patched:
	case retries.get("retryOn") == nil:
		l.find(attemptsUnseen, r.at("retries"), "Istio retries this route by its own conditions, and the cluster of %s has no filter", host.text())
	case known || l.complete:
		l.find(attemptsUnseen, retries, "this route retries on %s, and the cluster of %s has no filter", strings.Join(conditions, ","), host.text())
	default:
		l.find(attemptsUnseen, retries, "this route retries on %s, and no EnvoyFilter of these files puts a filter in the cluster of %s", strings.Join(conditions, ","), host.text())
	}
}

// judgeDestinationRule finds limits on the way to the processor, which Istio has none of by itself.
func (l *linter) judgeDestinationRule(o *object) {
	host := o.spec.get("host").text()
	called := slices.ContainsFunc(l.filters, func(f *filter) bool { return f.judged && strings.HasSuffix(f.processor(), "|"+host) })
	if !called || host == "" {
		return
	}
	if v := o.spec.get("trafficPolicy", "tls", "mode"); v.is("DISABLE") {
		l.find(processorCleartext, v, "the mode of tls to the processor is DISABLE")
	}
	http := o.spec.get("trafficPolicy", "connectionPool", "http")
	for _, name := range []string{"http2MaxRequests", "http1MaxPendingRequests"} {
		if n, ok := http.get(name).number(); ok && n <= defaultBreaker {
			l.find(breakerDefault, http.get(name), "%s of the processor is %d", name, n)
		}
	}
	if d, ok := http.get("idleTimeout").duration(); ok && d > 0 && d < 10*time.Second {
		l.find(processorTimeout, http.get("idleTimeout"), "connections to the processor are closed after %v", d)
	}
}

func (l *linter) judgePaths(o *object) {
	for _, rule := range o.spec.get("rules").list() {
		for _, to := range rule.get("to").list() {
			for _, name := range []string{"paths", "notPaths", "hosts", "notHosts"} {
				if v := to.get("operation", name); v != nil {
					l.find(pathsNotCovered, v, "%s names some %s", o.name, name)
				}
			}
		}
	}
}

// judgeCustomPolicy judges a policy by which Keel is asked: what Istio makes of it lacks what Keel needs.
func (l *linter) judgeCustomPolicy(o *object) {
	if !strings.HasPrefix(o.spec.get("provider", "name").text(), "keel") {
		return
	}
	for _, other := range l.objects {
		if other.kind == "RequestAuthentication" && len(other.spec.get("jwtRules").list()) > 0 {
			l.find(claimsUnseen, o.spec.get("provider"), "%s asks Keel before the tokens of %s are verified", o.name, other.name)
		}
	}
	for _, p := range l.patches {
		if p.applyTo == "HTTP_FILTER" && p.operation == "MERGE" && p.value.get("typed_config").typeName() == msgExtAuthz && p.value.get("typed_config", "clear_route_cache").yes() {
			return
		}
	}
	l.absent(routeKept, o.spec.get("provider"), "no EnvoyFilter of these files gives the check of %s a clear_route_cache", o.name)
}
