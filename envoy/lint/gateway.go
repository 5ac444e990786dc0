package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"keel/envoy"
)

// A policy is one extProc of an EnvoyExtensionPolicy.
type policy struct {
	object *object
	node   *node
	judged bool
}

func policyIsKeel(p *policy) bool {
	if strings.HasPrefix(p.object.name, "keel") {
		return true
	}
	return slices.ContainsFunc(p.node.get("backendRefs").list(), func(n *node) bool { return strings.HasPrefix(n.get("name").text(), "keel") })
}

// policies are the extProc entries of all EnvoyExtensionPolicies.
func (l *linter) policies(kind string) []*policy {
	if l.extProcs == nil {
		for _, o := range l.objects {
			if o.kind != kind {
				continue
			}
			for _, n := range o.spec.get("extProc").list() {
				l.extProcs = append(l.extProcs, &policy{object: o, node: n})
			}
		}
	}
	return l.extProcs
}

// patchPolicy reads what an EnvoyPatchPolicy puts into Envoy's own configuration.
func (l *linter) patchPolicy(o *object) {
	for _, n := range o.spec.get("jsonPatches").list() {
		resource := n.get("type").text()
		resource = resource[strings.LastIndexByte(resource, '/')+1:]
		operation := n.get("operation")
		p := &patch{object: o, applyTo: resource, operation: operation.get("op").text(), match: n, value: operation.get("value")}
		l.patches = append(l.patches, p)
		switch {
		case p.value == nil:
		case p.value.get("@type") != nil:
			l.extension(p.value)
		case p.value.get("typed_config") != nil:
			l.understand(p.value, msgHTTPFilter)
		case operation.get("jsonPath") == nil:
			l.placed(p.value, resource, operation.get("path").text())
		}
	}
}

// placed reads a value by where a patch puts it.
func (l *linter) placed(n *node, resource, pointer string) {
	md, mapOf := within(resource, pointer)
	if md == nil {
		return
	}
	each := func(v *node, md protoreflect.MessageDescriptor) { l.message(v, md) }
	switch {
	case mapOf && n.kind == mapping:
		for _, f := range n.fields {
			each(f, md)
		}
	case n.kind == sequence:
		for _, item := range n.items {
			each(item, md)
		}
	case n.kind == mapping:
		each(n, md)
	}
}

// policyFilters finds the filters that an EnvoyPatchPolicy has.
func (l *linter) policyFilters() {
	for _, p := range l.patches {
		if p.object.kind != "EnvoyPatchPolicy" {
			continue
		}
		upstream := p.applyTo == msgCluster
		if p.value.typeName() == msgExtProc { // of a filter that has its name elsewhere
			l.filters = append(l.filters, &filter{node: p.value, config: p.value, upstream: upstream, object: p.object})
			continue
		}
		p.value.walk(func(n *node) {
			if f := newFilter(n, upstream); f != nil {
				f.object = p.object
				l.filters = append(l.filters, f)
			}
		})
	}
}

// judgeGateway judges what manifests of Envoy Gateway make together.
func (l *linter) judgeGateway() {
	var judged []*policy
	for _, p := range l.policies("EnvoyExtensionPolicy") {
		if p.judged {
			judged = append(judged, p)
			l.judgePolicy(p)
		}
	}
	for _, o := range l.objects {
		switch o.kind {
		case "SecurityPolicy":
			if len(judged) == 0 || strings.HasPrefix(o.name, "keel") {
				l.judgeSecurityPolicy(o)
			}
		case "EnvoyExtensionPolicy":
			l.judgeOverriding(o, judged)
		}
	}
	if len(judged) == 0 {
		l.judgeGatewayObservers()
		return
	}
	l.judgeClientPolicies(judged)
	l.judgeProxies(judged[0].node, envoy.LogName)
	for _, o := range l.objects {
		switch o.kind {
		case "BackendTrafficPolicy":
			l.judgeGatewayRetry(o)
		case "HTTPRoute":
			l.judgeHTTPRoute(o)
		case "Backend":
			if v := o.spec.get("fallback"); v.yes() {
				l.find(fallbackUnlabeled, v, "Backend %s is fallen back to, and Envoy Gateway gives its endpoints no metadata %s", o.name, envoy.MetadataNamespace)
			}
		}
	}
}

// targetKinds are the kinds that a policy is attached to.
func targetKinds(o *object) (kinds []string, at *node) {
	for _, list := range []string{"targetRefs", "targetSelectors"} {
		for _, ref := range o.spec.get(list).list() {
			kinds = append(kinds, ref.get("kind").text())
			at = o.spec.get(list)
		}
	}
	if ref := o.spec.get("targetRef"); ref != nil {
		kinds, at = append(kinds, ref.get("kind").text()), ref
	}
	return kinds, at
}

func (l *linter) judgeAttached(o *object) {
	if kinds, at := targetKinds(o); len(kinds) > 0 && !slices.Contains(kinds, "Gateway") && !slices.Contains(kinds, "GatewayClass") {
		l.find(routeNotCovered, at, "%s is attached to %s only: a call that matches another route passes by it", o.name, strings.Join(kinds, " and "))
	}
}

// judgeOverriding finds policies of others on a route, in whose place Envoy Gateway puts none of the Gateway's.
func (l *linter) judgeOverriding(o *object, judged []*policy) {
	if len(judged) == 0 || slices.ContainsFunc(judged, func(p *policy) bool { return p.object == o }) || o.spec.get("mergeType") != nil {
		return
	}
	if kinds, at := targetKinds(o); len(kinds) > 0 && !slices.Contains(kinds, "Gateway") {
		l.find(routeNotCovered, at, "%s takes the place of %s on its route", o.name, judged[0].object.name)
	}
}

func (l *linter) judgePolicy(p *policy) {
	n := p.node
	l.judgeAttached(p.object)
	if v := n.get("failOpen"); v.yes() {
		l.find(failsOpen, v, "failOpen is true on %s", p.object.name)
	}
	if v := n.get("shadowMode"); v.yes() {
		l.find(observesOnly, v, "shadowMode is true on %s", p.object.name)
	}
	if n.get("statusOnError") == nil {
		l.find(statusOnError, n, "%s has no statusOnError", p.object.name)
	}
	l.judgeTimeout(n, n.get("messageTimeout"), 200*time.Millisecond, "messageTimeout")
	mode := n.get("processingMode")
	light := slices.ContainsFunc(l.filters, func(f *filter) bool {
		return f.judged && f.object != nil && f.object.kind == "EnvoyPatchPolicy" && f.logged()
	})
	for _, side := range []string{"request", "response"} {
		if mode.get(side) == nil && !(light && side == "response") {
			l.find(headersSkipped, n.at("processingMode"), "%s has no processingMode.%s: not even headers are sent", p.object.name, side)
		}
		for _, a := range mode.get(side, "attributes").list() {
			if a.is("xds.node") {
				l.find(nodeAttribute, a, "the attributes have xds.node")
			}
		}
	}
	if body := orDefault(mode.get("request", "body").text(), "not sent"); body != "Buffered" {
		l.find(requestBody, n.at("processingMode", "request", "body"), "the body of a request is %s", body)
	}
	if body := orDefault(mode.get("response", "body").text(), "not sent"); body != "Streamed" && !light {
		l.find(responseBody, n.at("processingMode", "response", "body"), "the body of a response is %s", body)
	}
	if !mode.get("allowModeOverride").yes() {
		l.find(modeOverride, n.at("processingMode", "allowModeOverride"), "%s can't change the mode of a call", p.object.name)
	}
	lists := []string{"writableNamespaces"}
	if l.hasAttempts() {
		lists = append(lists, "accessibleNamespaces")
	}
	for _, list := range lists {
		if !slices.Contains(n.get("metadata", list).texts(), envoy.MetadataNamespace) {
			l.find(metadataLost, n.at("metadata", list), "%s has no %q in %s", p.object.name, envoy.MetadataNamespace, list)
		}
	}
	if !slices.ContainsFunc(l.filters, func(f *filter) bool {
		return f.judged && !f.upstream && f.object != nil && f.object.kind == "EnvoyPatchPolicy"
	}) {
		l.absent(trailersSkipped, n.at("processingMode", "response"), "Envoy Gateway sends no trailers with a streamed body, and no EnvoyPatchPolicy of these files says so")
	}
	l.judgeBackendSettings(n, p.object.name)
	if l.hasAttempts() {
		l.judgeBackendBuffers(n, p.object.name)
	}
}

func (l *linter) judgeBackendSettings(n *node, name string) {
	breaker := n.get("backendSettings", "circuitBreaker")
	for _, field := range []string{"maxParallelRequests", "maxPendingRequests"} {
		if v := breaker.get(field); v == nil {
			l.find(breakerDefault, n.at("backendSettings", "circuitBreaker", field), "%s has no %s: %d", name, field, defaultBreaker)
		} else if limit, ok := v.number(); ok && limit <= defaultBreaker {
			l.find(breakerDefault, v, "%s of %s is %d", field, name, limit)
		}
	}
	if n.get("backendSettings", "healthCheck", "active") == nil {
		l.find(processorUnchecked, n.at("backendSettings", "healthCheck", "active"), "the processor of %s has no health check", name)
	}
	if v := n.get("backendSettings", "timeout", "http", "maxStreamDuration"); v != nil {
		if d, ok := v.duration(); ok && d > 0 {
			l.find(streamLimited, v, "a stream to the processor lasts %v at most", d)
		}
	}
}

// judgeClientPolicies looks for the policy that raises the buffer limit of the Gateway.
func (l *linter) judgeClientPolicies(judged []*policy) {
	found := false
	for _, o := range l.objects {
		if o.kind != "ClientTrafficPolicy" {
			continue
		}
		found = true
		v := o.spec.get("connection", "bufferLimit")
		if v == nil {
			l.find(bufferSmall, o.spec.at("connection", "bufferLimit"), "%s has no connection.bufferLimit: 32 KiB", o.name)
		} else if n, ok := v.quantity(); ok && n <= smallBuffer {
			l.find(bufferSmall, v, "connection.bufferLimit is %s", v.text())
		}
	}
	if !found {
		l.absent(bufferSmall, judged[0].node, "no ClientTrafficPolicy of these files raises the buffer limit of 32 KiB")
	}
}

// judgeProxies looks for the access log of the Gateway's Envoys, which has a name. at is what needs it.
func (l *linter) judgeProxies(at *node, logName string) {
	found := false
	for _, o := range l.objects {
		if o.kind != "EnvoyProxy" {
			continue
		}
		found = true
		log := o.spec.get("telemetry", "accessLog")
		if v := log.get("disable"); v.yes() {
			l.find(accessLogMissing, v, "EnvoyProxy %s switches access logs off", o.name)
		}
		sinks := 0
		for _, s := range log.get("settings").list() {
			for _, sink := range s.get("sinks").list() {
				if !sink.get("type").is("ALS") {
					continue
				}
				sinks++
				l.judgeLogName(sink.get("als", "logName"), logName)
				if v := s.get("matches"); len(v.list()) > 0 {
					l.find(accessLogSampled, v, "the access log has conditions")
				}
			}
		}
		if sinks == 0 {
			l.find(accessLogMissing, o.spec.at("telemetry", "accessLog", "settings"), "EnvoyProxy %s has no sink of type ALS", o.name)
		}
	}
	if !found {
		l.absent(accessLogMissing, at, "no EnvoyProxy of these files has an access log")
	}
}

// judgeGatewayRetry judges the retries of routes, whose clusters only an EnvoyPatchPolicy can give a filter.
func (l *linter) judgeGatewayRetry(o *object) {
	retry := o.spec.get("retry")
	if n, ok := retry.get("numRetries").number(); retry == nil || ok && n == 0 {
		return
	}
	conditions := billed(strings.Join(retry.get("retryOn", "triggers").texts(), ","))
	if len(retry.get("retryOn", "httpStatusCodes").list()) > 0 || retry.get("retryOn", "triggers") == nil {
		conditions = append(conditions, "statuses")
	}
	if len(conditions) == 0 {
		return
	}
	patched := map[string]bool{}
	policies := false
	for _, p := range l.patches {
		if p.object.kind == "EnvoyPatchPolicy" {
			policies = true
			if p.applyTo == msgCluster && slices.ContainsFunc(l.filters, func(f *filter) bool { return f.judged && f.upstream && contains(p.value, f.node) }) {
				patched[p.match.get("name").text()] = true
			}
		}
	}
	if !policies {
		l.absent(attemptsUnseen, retry, "%s retries on %s, and no EnvoyPatchPolicy of these files puts a filter in the clusters", o.name, strings.Join(conditions, ","))
		return
	}
	missing := l.unpatched(o, patched)
	if len(missing) > 0 {
		l.find(attemptsUnseen, retry, "%s retries on %s, and no EnvoyPatchPolicy puts a filter in %s", o.name, strings.Join(conditions, ","), strings.Join(missing, ", "))
	}
}

// contains reports whether a node lies in another.
func contains(outer, inner *node) bool {
	for ; inner != nil; inner = inner.parent {
		if inner == outer {
			return true
		}
	}
	return false
}

// unpatched are the clusters of the routes that a policy is for which have no filter.
func (l *linter) unpatched(o *object, patched map[string]bool) []string {
	if len(patched) == 0 {
		return []string{"any cluster"}
	}
	var missing []string
	for _, r := range l.objects {
		if r.kind != "HTTPRoute" || !targetsObject(o, r) {
			continue
		}
		for i, rule := range r.spec.get("rules").list() {
			name := fmt.Sprintf("httproute/%s/%s/rule/%d", r.namespace, r.name, i)
			if len(rule.get("backendRefs").list()) > 0 && !patched[name] {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

func targetsObject(policy, o *object) bool {
	kinds, _ := targetKinds(policy)
	if slices.Contains(kinds, "Gateway") {
		return true
	}
	refs := policy.spec.get("targetRefs").list()
	if ref := policy.spec.get("targetRef"); ref != nil {
		refs = append(refs[:len(refs):len(refs)], ref)
	}
	return slices.ContainsFunc(refs, func(ref *node) bool { return ref.get("name").is(o.name) })
}

func (l *linter) judgeHTTPRoute(o *object) {
	var byHeader []*node
	backends := map[string]bool{}
	for _, rule := range o.spec.get("rules").list() {
		for _, b := range rule.get("backendRefs").list() {
			backends[b.get("name").text()] = true
		}
		if len(rule.get("backendRefs").list()) == 0 {
			continue
		}
		removed := slices.ContainsFunc(rule.get("filters").list(), func(f *node) bool {
			return slices.ContainsFunc(f.get("requestHeaderModifier", "remove").texts(), isTarget)
		})
		if !removed {
			l.find(targetKept, rule.at("filters"), "rule %s does not remove %s", orDefault(rule.get("name").text(), "without a name"), envoy.TargetHeader)
		}
		for _, m := range rule.get("matches").list() {
			for _, h := range m.get("headers").list() {
				if clientHeader(h.get("name").text()) {
					byHeader = append(byHeader, h)
				}
			}
		}
	}
	if len(backends) > 1 {
		for _, h := range byHeader {
			l.find(clientRoutes, h, "a rule is chosen by the header %s", h.get("name").text())
		}
	}
}

func (l *linter) judgeSecurityPolicy(o *object) {
	auth := o.spec.get("extAuth")
	if auth == nil {
		return
	}
	l.judgeAttached(o)
	if v := auth.get("failOpen"); v.yes() {
		l.find(authzFailsOpen, v, "failOpen is true on %s", o.name)
	}
	if auth.get("statusOnError") == nil {
		l.find(statusOnError, auth, "%s has no statusOnError", o.name)
	}
	if !auth.get("recomputeRoute").yes() {
		l.find(routeKept, auth.at("recomputeRoute"), "recomputeRoute is not true on %s", o.name)
	}
	body := auth.get("bodyToExtAuth")
	if body == nil {
		l.find(authzBody, auth, "%s has no bodyToExtAuth", o.name)
	} else if n, ok := body.get("maxRequestBytes").quantity(); ok && n <= smallBuffer {
		l.find(bufferSmall, body.get("maxRequestBytes"), "maxRequestBytes is %d", n)
	}
	if v := auth.get("timeout"); v != nil {
		l.judgeTimeout(v, v, 0, "timeout")
	}
	if strings.HasPrefix(o.name, "keel") {
		l.needUsage(auth)
	}
}
