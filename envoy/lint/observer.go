package lint

import (
	"slices"
	"strings"

	"keel/envoy"
)

// observes reports whether a filter says that it only looks on, which makes observability mode meant.
func (f *filter) observes() bool {
	return slices.ContainsFunc(f.config.get("grpc_service", "initial_metadata").list(), func(h *node) bool {
		return h.get("key").is(envoy.PhaseKey) && h.get("value").is(envoy.PhaseObserve)
	})
}

// judgeObserver judges a filter of mode observe: that it touches no call, and sees all of each.
func (l *linter) judgeObserver(f *filter) {
	c := f.config
	if !c.get("observability_mode").yes() {
		l.find(phaseMissing, c.at("observability_mode"), "%s says %s: %s, and Envoy waits for its answers", f.shown(), envoy.PhaseKey, envoy.PhaseObserve)
	}
	if !c.get("failure_mode_allow").yes() {
		l.find(observerFailsClosed, c.at("failure_mode_allow"), "failure_mode_allow is not true on %s", f.shown())
	}
	l.judgeObserverModes(c.get("processing_mode"), c)
	for _, name := range []string{"request.id", "request.time"} {
		if !slices.Contains(c.get("request_attributes").texts(), name) {
			l.find(observerUnmatched, c.at("request_attributes"), "%s does not ask for %s", f.shown(), name)
		}
	}
	for _, list := range []string{"request_attributes", "response_attributes"} {
		l.judgeAttributes(c, list)
	}
	for _, b := range l.budgets {
		if mode := b.get("mode"); mode == nil || mode.is("enforce") {
			l.find(observerEnforced, orNode(mode, b), "budget %s enforces its limit, and %s only looks on", b.get("name").text(), f.shown())
		}
	}
}

// judgeObserverModes wants all of a call, in pieces.
func (l *linter) judgeObserverModes(mode, owner *node) {
	at := func(name string) *node {
		if mode == nil {
			return owner
		}
		return mode.at(name)
	}
	for _, name := range []string{"request_header_mode", "response_header_mode"} {
		if mode.get(name).is("SKIP") {
			l.find(headersSkipped, at(name), "%s is SKIP", name)
		}
	}
	for _, name := range []string{"request_body_mode", "response_body_mode"} {
		if v := orDefault(mode.get(name).text(), "NONE"); v != "STREAMED" {
			l.find(observerBody, at(name), "%s is %s", name, v)
		}
	}
	for _, name := range []string{"request_trailer_mode", "response_trailer_mode"} {
		if !mode.get(name).is("SEND") {
			l.find(trailersSkipped, at(name), "%s is not SEND", name)
		}
	}
}

// judgeAttributes finds what is too much.
func (l *linter) judgeAttributes(c *node, list string) {
	for _, a := range c.get(list).list() {
		if a.is("xds.node") {
			l.find(nodeAttribute, a, "%s has xds.node", list)
		}
	}
}

func orNode(n, otherwise *node) *node {
	if n == nil {
		return otherwise
	}
	return n
}

// wantsLog is the name of the access log that goes with the filters.
func wantsLog(judged []*filter) string {
	if slices.ContainsFunc(judged, (*filter).observes) {
		return envoy.PassiveLogName
	}
	return envoy.LogName
}

// judgeLogName finds a log that Keel would take for one of another mode. Other names are somebody else's business.
func (l *linter) judgeLogName(name *node, wanted string) {
	if is := name.text(); is != wanted && (is == envoy.LogName || is == envoy.PassiveLogName) {
		l.find(accessLogName, name, "the access log is named %s", is)
	}
}

// judgeMirrors finds copies of calls that somebody pays for.
func (l *linter) judgeMirrors(r route) {
	for _, level := range []*node{r.action(), r.host} {
		for _, p := range level.get("request_mirror_policies").list() {
			l.find(mirrored, p, "route %s sends copies to cluster %s", r.shown(), p.get("cluster").text())
		}
	}
}

// judgeMirrorManifests is judgeMirrors for a VirtualService of Istio and an HTTPRoute.
func (l *linter) judgeMirrorManifests() {
	for _, o := range l.objects {
		switch o.kind {
		case "VirtualService":
			for _, r := range o.spec.get("http").list() {
				for _, name := range []string{"mirror", "mirrors"} {
					if v := r.get(name); v != nil {
						l.find(mirrored, v, "VirtualService %s sends copies", o.name)
					}
				}
			}
		case "HTTPRoute":
			for _, r := range o.spec.get("rules").list() {
				for _, f := range r.get("filters").list() {
					if f.get("type").is("RequestMirror") {
						l.find(mirrored, f, "HTTPRoute %s sends copies", o.name)
					}
				}
			}
		}
	}
}

// judgeHedges finds tries that begin while others go on, where no filter sees each, and those that Envoy does not survive where one does: the router
// drops the answer that it tries again after, and the filter in the cluster, which had it wait for Keel, hands on its body all the same.
// Filter::onUpstreamData of Envoy 1.40 knows such a body by there being no other attempt.
func (l *linter) judgeHedges(r route) {
	for _, level := range []*node{r.action(), r.host} {
		v := level.get("hedge_policy", "hedge_on_per_try_timeout")
		if !v.yes() {
			continue
		}
		for _, name := range targets(r.action()) {
			cluster := l.clusters[name.text()]
			if cluster != nil && !l.seesAttempts(cluster) {
				l.find(hedged, v, "route %s hedges, and cluster %s has no filter", r.shown(), name.text())
			} else if conditions := answered(r.retry().get("retry_on").text()); cluster != nil && len(conditions) > 0 {
				l.find(hedgedAnswers, v, "route %s hedges, and retries on %s", r.shown(), strings.Join(conditions, ","))
			}
		}
	}
}
