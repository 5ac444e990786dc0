package lint

import (
	"slices"
	"time"

	"keel/envoy"
)

// changer is the configuration of the filter that changes what ext_authz can't, of a filter of a manager; nil for another filter.
// It is not among those that are judged as the way to Keel: it does what was decided before it.
func changer(n *node) *node {
	if n.get("typed_config").typeName() != msgWithMatcher {
		return nil
	}
	f := &filter{node: n, config: wrapped(n)}
	if phase, _ := f.phase(); f.config.typeName() != msgExtProc || phase != envoy.PhaseChange {
		return nil
	}
	return f.config
}

// judgeChange looks for that filter behind one of ext_authz that says that there is one.
func (l *linter) judgeChange(f *filter) {
	phase, at := f.phase()
	if f.manager == nil || phase != envoy.PhaseFast {
		return
	}
	filters := f.manager.filters
	behind := filters[slices.Index(filters, f.node)+1:]
	i := slices.IndexFunc(behind, func(n *node) bool { return changer(n) != nil && !n.get("disabled").yes() })
	if i < 0 {
		l.find(changeMissing, at, "%s says %s: %s, and no filter behind it says %s", f.shown(), envoy.PhaseKey, phase, envoy.PhaseChange)
		return
	}
	n := behind[i]
	if !n.mentions(envoy.TargetHeader) || !n.mentions(envoy.ChangeTarget) {
		l.find(changeMissing, n, "%s is not chosen by %s: %s", n.get("name").text(), envoy.TargetHeader, envoy.ChangeTarget)
	}
	c, name := changer(n), n.get("name").text()
	mode := c.get("processing_mode")
	if request := requestMode(mode); request != "BUFFERED" {
		l.find(requestBody, c.at("processing_mode", "request_body_mode"), "request_body_mode of %s is %s", name, request)
	}
	if v := mode.get("request_header_mode"); v.is("SKIP") {
		l.find(headersSkipped, v, "request_header_mode of %s is SKIP", name)
	}
	if spaces := c.get("metadata_options", "forwarding_namespaces", "untyped"); !slices.Contains(spaces.texts(), envoy.AuthzNamespace) {
		l.find(metadataLost, c.at("metadata_options", "forwarding_namespaces", "untyped"), "%s has no %q in forwarding_namespaces", name, envoy.AuthzNamespace)
	}
	if c.get("status_on_error") == nil {
		l.find(statusOnError, c, "%s has no status_on_error", name)
	}
	l.judgeTimeout(c.at("message_timeout"), c.get("message_timeout"), 200*time.Millisecond, "message_timeout of "+name)
	l.judgeRefused(c, name)
}
