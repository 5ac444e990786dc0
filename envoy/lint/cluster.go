package lint

import (
	"slices"
	"strings"
	"time"

	"keel/envoy"
)

// defaultBreaker is Envoy's own limit of requests in flight to a cluster.
const defaultBreaker = 1024

// judgeClusters judges the clusters of the processor, and aggregates.
func (l *linter) judgeClusters() {
	for _, f := range l.filters {
		if name := f.processor(); f.judged && name != "" {
			l.judgeProcessor(f, name)
			l.judgeFull(f)
		}
	}
	for _, name := range sorted(l.clusters) {
		l.judgeAggregate(l.clusters[name])
		l.judgeCredentials(clusterFilters(l.clusters[name]))
	}
}

// judgeCredentials finds what adds a credential to a request, or signs it, in front of a filter that may change the request.
func (l *linter) judgeCredentials(filters []*node) {
	var last int // behind the last of Keel's
	for i, n := range filters {
		if changer(n) != nil || slices.ContainsFunc(l.filters, func(f *filter) bool { return f.judged && !f.authz && f.node == n }) {
			last = i
		}
	}
	for _, n := range filters[:last] {
		if kind := n.get("typed_config").typeName(); kind == msgCredential || kind == msgAWSSigning {
			l.find(credentialFirst, n, "%s stands in front of %s", n.get("name").text(), filters[last].get("name").text())
		}
	}
}

func (l *linter) judgeProcessor(f *filter, name string) {
	cluster := l.clusters[name]
	if cluster == nil {
		// Istio and Envoy Gateway generate these, and their objects are judged instead.
		if !strings.HasPrefix(name, "outbound|") && f.object == nil {
			l.unseen(breakerDefault, f.config.get("grpc_service", "envoy_grpc", "cluster_name"), "cluster "+name+" is not among the files: its limits and health checks are not judged")
		}
		return
	}
	l.judgeBreaker(cluster, name)
	l.judgeTransport(cluster, name)
	if len(cluster.get("health_checks").list()) == 0 && !strings.HasPrefix(name, "outbound|") {
		l.find(processorUnchecked, cluster.at("health_checks"), "cluster %s has no health check", name)
	}
	for _, o := range cluster.get("typed_extension_protocol_options").values() {
		l.judgeLifetime(o.get("common_http_protocol_options"), name)
	}
	l.judgeLifetime(cluster.get("common_http_protocol_options"), name)
}

func (l *linter) judgeBreaker(cluster *node, name string) {
	var threshold *node
	for _, t := range cluster.get("circuit_breakers", "thresholds").list() {
		if priority := t.get("priority").text(); priority == "" || priority == "DEFAULT" {
			threshold = t
		}
	}
	at := func(field string) *node {
		if threshold == nil {
			return cluster.at("circuit_breakers", "thresholds")
		}
		return threshold.at(field)
	}
	for _, field := range []string{"max_requests", "max_pending_requests"} {
		v := threshold.get(field)
		if v == nil {
			l.find(breakerDefault, at(field), "cluster %s has no %s: %d", name, field, defaultBreaker)
		} else if n, ok := v.number(); ok && n <= defaultBreaker {
			l.find(breakerDefault, v, "%s of cluster %s is %d", field, name, n)
		}
	}
}

// judgeLifetime finds limits that end streams, or connections that calls wait for.
func (l *linter) judgeLifetime(common *node, name string) {
	if d, ok := common.get("max_stream_duration").duration(); ok && d > 0 {
		l.find(streamLimited, common.get("max_stream_duration"), "a stream to cluster %s lasts %v at most", name, d)
	}
	if d, ok := common.get("idle_timeout").duration(); ok && d > 0 && d < 10*time.Second {
		l.find(processorTimeout, common.get("idle_timeout"), "connections to cluster %s are closed after %v", name, d)
	}
}

// members are the clusters that an aggregate chooses from, in order; nil for any other cluster.
func members(cluster *node) []string {
	config := cluster.get("cluster_type", "typed_config")
	if config.typeName() != msgAggregate {
		return nil
	}
	return config.get("clusters").texts()
}

func (l *linter) judgeAggregate(cluster *node) {
	all := members(cluster)
	if len(all) == 0 || l.seesAttempts(cluster) {
		return
	}
	for _, name := range all {
		if member := l.clusters[name]; member != nil && l.seesAttempts(member) {
			l.find(aggregateMembers, cluster, "the filter stands in member %s, and not in aggregate %s", name, cluster.get("name").text())
		}
	}
}

// judgeFallbacks holds the endpoints behind the first to saying whose they are.
func (l *linter) judgeFallbacks(name string) {
	cluster := l.clusters[name]
	for i, member := range members(cluster) {
		if i > 0 {
			l.judgeEndpoints(member, func(*node) bool { return true })
		}
	}
	l.judgeEndpoints(name, func(locality *node) bool { n, _ := locality.get("priority").number(); return n > 0 })
}

func (l *linter) judgeEndpoints(cluster string, isFallback func(locality *node) bool) {
	for _, locality := range l.assignments[cluster].get("endpoints").list() {
		if !isFallback(locality) {
			continue
		}
		for _, endpoint := range locality.get("lb_endpoints").list() {
			labels := endpoint.get("metadata", "filter_metadata", envoy.MetadataNamespace)
			missing := slices.DeleteFunc([]string{"provider", "model"}, func(name string) bool { return labels.get(name).text() != "" })
			if len(missing) > 0 {
				l.find(fallbackUnlabeled, endpoint, "an endpoint to fall back to of cluster %s has no %s in the metadata %s", cluster, strings.Join(missing, " and no "), envoy.MetadataNamespace)
			}
		}
	}
}

// judgeAuthz judges an ext_authz filter that is the only way to ask Keel.
func (l *linter) judgeAuthz(f *filter) {
	c := f.config
	if v := c.get("failure_mode_allow"); v.yes() {
		l.find(authzFailsOpen, v, "failure_mode_allow is true on %s", f.shown())
	}
	if v := c.get("filter_enabled"); v != nil {
		l.find(authzSampled, v, "%s has a filter_enabled", f.shown())
	}
	if c.get("status_on_error") == nil {
		l.find(statusOnError, c, "%s has no status_on_error", f.shown())
	}
	if !c.get("clear_route_cache").yes() {
		l.find(routeKept, c.at("clear_route_cache"), "clear_route_cache is not true on %s", f.shown())
	}
	l.judgeTimeout(c.at("grpc_service", "timeout"), c.get("grpc_service", "timeout"), 200*time.Millisecond, "grpc_service.timeout")
	l.judgeRefused(c, f.shown())
	l.judgeTry(c)
	body := c.get("with_request_body")
	if body == nil {
		l.find(authzBody, c, "%s has no with_request_body", f.shown())
	} else if n, ok := body.get("max_request_bytes").number(); ok && n <= smallBuffer {
		l.find(bufferSmall, body.get("max_request_bytes"), "max_request_bytes is %d", n)
	}
	l.judgeExtraction(f)
	l.judgeChange(f)
}

// judgeExtraction looks for the filters that read usage where answers do not pass Keel.
func (l *linter) judgeExtraction(f *filter) {
	if f.manager == nil {
		if f.object != nil {
			l.needUsage(f.node)
		}
		return
	}
	extracts, forKeel := false, false
	for _, n := range f.manager.filters {
		if n.get("disabled").yes() {
			continue
		}
		switch wrapped(n).typeName() {
		case msgAIProtocol:
			extracts = true
		case msgJSONToMetadata, msgSSEToMetadata:
			extracts, forKeel = true, forKeel || writesUsage(n)
		case msgLua: // most have nothing to do with usage
			extracts, forKeel = extracts || writesUsage(n), forKeel || writesUsage(n)
		}
	}
	if !extracts {
		l.find(usageUnseen, f.node, "no filter of the list extracts usage from responses")
	} else if f.isKeel() && !forKeel {
		l.find(usageUnseen, f.node, "no filter of the list puts usage where Keel reads it, in the namespace %s", envoy.UsageNamespace)
	}
}

// needUsage looks for the filters that read usage among the patches of manifests.
func (l *linter) needUsage(at *node) {
	if !slices.ContainsFunc(l.patches, func(p *patch) bool { return writesUsage(p.value) }) {
		l.absent(usageUnseen, at, "no filter of these files puts usage in the namespace "+envoy.UsageNamespace)
	}
}

// writesUsage reports whether a filter writes to the namespace that Keel reads usage in.
func writesUsage(n *node) (writes bool) {
	if n != nil {
		n.walk(func(v *node) {
			writes = writes || v.name == "metadata_namespace" && v.is(envoy.UsageNamespace) ||
				v.name == "inline_string" && strings.Contains(v.value, `"`+envoy.UsageNamespace+`"`) // a script
		})
	}
	return writes
}

// wrapped is the configuration of a filter, also where a matcher may leave it out.
func wrapped(n *node) *node {
	config := n.get("typed_config")
	if config.typeName() != msgWithMatcher {
		return config
	}
	inner := config.get("extension_config", "typed_config")
	if inner.typeName() != msgComposite {
		return inner
	}
	var chosen *node // the first of those that are chosen from: they are of one kind
	config.walk(func(v *node) {
		if chosen == nil && v.typeName() == msgExecuteFilter {
			chosen = v.get("typed_config", "typed_config")
		}
	})
	return chosen
}
