package lint

import (
	"fmt"
	"slices"
	"strings"

	"keel/envoy"
)

// A route is one way that a call can take, with what it inherits.
type route struct {
	node, host, config *node
}

// routesOf are all routes of a manager.
func routesOf(m *manager) []route {
	var all []route
	for _, host := range m.routes.get("virtual_hosts").list() {
		for _, r := range host.get("routes").list() {
			all = append(all, route{r, host, m.routes})
		}
	}
	return all
}

func (r route) action() *node { return r.node.get("route") }

// shown is how a message names a route.
func (r route) shown() string {
	if name := r.node.get("name").text(); name != "" {
		return name
	}
	for _, kind := range []string{"prefix", "path", "path_separated_prefix"} {
		if path := r.node.get("match", kind).text(); path != "" {
			return path
		}
	}
	return fmt.Sprintf("in line %d", r.node.line)
}

// leads reports whether a call by this route can reach a provider: not by a redirect, a direct
// response, or a cluster that is meant not to exist.
func (r route) leads(clusters map[string]*node) bool {
	action := r.action()
	if action == nil {
		return false
	}
	name := action.get("cluster").text()
	return name == "" || clusters[name] != nil || action.get("cluster_not_found_response_code") == nil
}

// targets are the names of the clusters that an action leads to, as far as it names them.
func targets(action *node) []*node {
	var all []*node
	if c := action.get("cluster"); c != nil {
		all = append(all, c)
	}
	for _, c := range action.get("weighted_clusters", "clusters").list() {
		if name := c.get("name"); name != nil {
			all = append(all, name)
		}
	}
	return all
}

// override is the most specific configuration of a filter on a route, nil for none.
func (r route) override(filter string) *node {
	for _, level := range []*node{r.node, r.host, r.config} {
		if v := level.get("typed_per_filter_config", filter); v != nil {
			return v
		}
	}
	return nil
}

// runs reports whether a filter runs on a route, and where that is said.
func (r route) runs(f *filter) (bool, *node) {
	o := r.override(f.name())
	if o == nil {
		return !f.node.get("disabled").yes(), r.node
	}
	return !o.get("disabled").yes(), o
}

// limit is the most bytes of a body that is buffered on a route, and where that is said.
func (r route) limit(m *manager) (bytes uint64, at *node) {
	for _, level := range []*node{r.node, r.host} {
		if v := level.get("request_body_buffer_limit"); v != nil {
			bytes, _ := v.number()
			return bytes, v
		}
	}
	if v := m.listener.get("per_connection_buffer_limit_bytes"); v != nil {
		bytes, _ := v.number()
		return bytes, v
	}
	return 1 << 20, m.listener
}

// retry is the policy by which a route repeats calls, nil for none.
func (r route) retry() *node {
	for _, policy := range []*node{r.action().get("retry_policy"), r.host.get("retry_policy")} {
		if policy == nil {
			continue
		}
		if n, ok := policy.get("num_retries").number(); ok && n == 0 || policy.get("retry_on").text() == "" {
			return nil
		}
		return policy
	}
	return nil
}

// billed are the conditions of a policy after which a try may have been billed.
func billed(conditions string) []string {
	var some []string
	for condition := range strings.SplitSeq(conditions, ",") {
		if condition = strings.TrimSpace(condition); condition != "" && !envoy.UnseenRetry(condition) {
			some = append(some, condition)
		}
	}
	return some
}

// answered are the conditions of a policy that an answer may meet: all but those of a try that none came to.
func answered(conditions string) []string {
	return slices.DeleteFunc(billed(conditions), func(condition string) bool { return condition == "reset" })
}

// smallBuffer is what is too small for a body: Envoy's default.
const smallBuffer = 1 << 20

func (l *linter) judgeRoutes(m *manager, f *filter) {
	clusters := map[string]bool{}
	var byHeader []*node
	for _, r := range routesOf(m) {
		runs, at := r.runs(f)
		if !runs {
			if r.leads(l.clusters) {
				l.find(routeNotCovered, at, "%s does not run on route %s", f.shown(), r.shown())
				l.judgeTrust(r)
			}
			continue
		}
		l.judgeOverride(r.override(f.name()), f)
		l.judgeBuffer(m, f, r)
		if !r.leads(l.clusters) {
			continue
		}
		l.judgeRetry(f, r)
		l.judgeMirrors(r)
		l.judgeHedges(r)
		l.judgeTarget(f, r)
		for _, cluster := range targets(r.action()) {
			clusters[cluster.text()] = true
			l.judgeFallbacks(cluster.text())
		}
		if name := r.action().get("cluster_header"); name != nil {
			l.unseen(attemptsUnseen, name, "the cluster of route "+r.shown()+" is named by a header: its filters are not judged")
		}
		byHeader = append(byHeader, clientHeaders(r)...)
	}
	if len(clusters) > 1 {
		for _, h := range byHeader {
			l.find(clientRoutes, h, "a route is chosen by the header %s", h.get("name").text())
		}
	}
}

// judgeTrust finds a route without the filter that believes its header.
func (l *linter) judgeTrust(r route) {
	for _, h := range r.node.get("match", "headers").list() {
		if h.get("name").is(envoy.TargetHeader) {
			l.find(targetTrusted, h, "route %s matches on %s, and the filter does not run on it", r.shown(), envoy.TargetHeader)
		}
	}
}

// judgeOverride judges what a route says otherwise than the filter.
func (l *linter) judgeOverride(o *node, f *filter) {
	overrides := o.get("overrides")
	if overrides == nil || f.authz || f.observes() {
		return
	}
	if v := overrides.get("failure_mode_allow"); v.yes() {
		l.find(failsOpen, v, "failure_mode_allow is true on a route of %s", f.shown())
	}
	if mode := overrides.get("processing_mode"); mode != nil {
		l.judgeModes(mode, mode, f)
	}
	for _, a := range overrides.get("request_attributes").list() {
		if a.is("xds.node") {
			l.find(nodeAttribute, a, "request_attributes has xds.node")
		}
	}
}

func (l *linter) judgeBuffer(m *manager, f *filter, r route) {
	if f.authz || requestMode(f.config.get("processing_mode")) != "BUFFERED" {
		return
	}
	bytes, at := r.limit(m)
	switch {
	case bytes > smallBuffer:
	case at == nil:
		l.unseen(bufferSmall, m.node, "the listener is not among the files: its buffer limit is not judged")
	case at == m.listener:
		l.find(bufferSmall, at, "nothing raises the buffer limit of 1 MiB")
	default:
		l.find(bufferSmall, at, "%s is %d", at.name, bytes)
	}
}

func (l *linter) judgeRetry(f *filter, r route) {
	policy := r.retry()
	if policy == nil {
		return
	}
	if !r.host.get("include_request_attempt_count").yes() {
		l.find(attemptCount, r.host.at("include_request_attempt_count"), "include_request_attempt_count is not set, and routes retry")
	}
	if requestMode(f.config.get("processing_mode")) == "FULL_DUPLEX_STREAMED" {
		l.find(duplexRetried, f.config.at("processing_mode", "request_body_mode"), "request_body_mode is FULL_DUPLEX_STREAMED, and routes retry")
	}
	conditions := billed(policy.get("retry_on").text())
	if len(conditions) == 0 {
		return
	}
	for _, name := range targets(r.action()) {
		cluster := l.clusters[name.text()]
		switch {
		case cluster == nil:
			l.unseen(attemptsUnseen, name, "cluster "+name.text()+" is not among the files: whether a filter sees its attempts is not judged")
		case !l.seesAttempts(cluster):
			l.find(attemptsUnseen, policy, "route %s retries on %s, and cluster %s has no filter", r.shown(), strings.Join(conditions, ","), name.text())
		}
	}
}

// seesAttempts reports whether a filter that is judged stands in a cluster.
func (l *linter) seesAttempts(cluster *node) bool {
	filters := clusterFilters(cluster)
	return slices.ContainsFunc(l.filters, func(f *filter) bool { return f.judged && slices.Contains(filters, f.node) })
}

// judgeTarget looks whether the provider gets Keel's header.
func (l *linter) judgeTarget(f *filter, r route) {
	if f.authz || f.observes() { // which sets none
		return
	}
	for _, level := range []*node{r.node, r.host, r.config} {
		for _, name := range level.get("request_headers_to_remove").texts() {
			if strings.EqualFold(name, envoy.TargetHeader) {
				return
			}
		}
	}
	l.find(targetKept, r.node.at("request_headers_to_remove"), "route %s does not remove %s", r.shown(), envoy.TargetHeader)
}

// clientHeaders are the matches of a route on headers that a client sets.
func clientHeaders(r route) []*node {
	var some []*node
	for _, h := range r.node.get("match", "headers").list() {
		if clientHeader(h.get("name").text()) {
			some = append(some, h)
		}
	}
	return some
}

func clientHeader(name string) bool {
	return name != "" && !strings.HasPrefix(name, ":") && !strings.EqualFold(name, envoy.TargetHeader)
}
