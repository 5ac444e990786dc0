package lint

import (
	"slices"
	"strings"
)

// providers are the extension providers of a kind.
func (l *linter) providers(kind string) []*node {
	var all []*node
	for _, mesh := range l.meshes {
		for _, p := range mesh.get("extensionProviders").list() {
			if p.get(kind) != nil {
				all = append(all, p)
			}
		}
	}
	return all
}

// judgeMeshLog follows the access log from Telemetry to the provider in MeshConfig.
func (l *linter) judgeMeshLog(router []*filter) {
	logs := l.providers("envoyHttpAls")
	names := map[string]bool{}
	for _, p := range logs {
		names[p.get("name").text()] = true
		l.judgeMeshProvider(p, router)
	}
	if len(router) == 0 {
		return
	}
	if len(l.meshes) > 0 && len(logs) == 0 {
		l.find(accessLogMissing, l.meshes[0].at("extensionProviders"), "no extension provider is an envoyHttpAls")
		return
	}
	asked, logged := l.telemetry(names)
	switch {
	case logged:
	case asked != nil && len(l.meshes) == 0:
		l.unseen(accessLogMissing, asked, "MeshConfig is not among the files: whether the provider of the access log is a gRPC service is not judged")
	case asked != nil:
		l.find(accessLogMissing, asked, "none of the providers of the access log is an envoyHttpAls of MeshConfig")
	default:
		l.absent(accessLogMissing, router[0].node, "no Telemetry of these files has an access log")
	}
}

// telemetry looks for the access log in Telemetry and MeshConfig. asked is where a log is
// asked for; logged says that it is one of the named providers.
func (l *linter) telemetry(names map[string]bool) (asked *node, logged bool) {
	for _, mesh := range l.meshes {
		for _, name := range mesh.get("defaultProviders", "accessLogging").texts() {
			logged = logged || names[name]
		}
	}
	for _, o := range l.objects {
		if o.kind != "Telemetry" {
			continue
		}
		for _, log := range o.spec.get("accessLogging").list() {
			asked = log
			if v := log.get("disabled"); v.yes() {
				l.find(accessLogMissing, v, "Telemetry %s switches access logs off", o.name)
			}
			for _, p := range log.get("providers").list() {
				if names[p.get("name").text()] {
					logged = true
					if v := log.get("filter"); v != nil {
						l.find(accessLogSampled, v, "the access log has a filter")
					}
				}
			}
		}
	}
	return asked, logged
}

func (l *linter) judgeMeshProvider(p *node, router []*filter) {
	state := p.get("envoyHttpAls", "filterStateObjectsToLog")
	if len(router) == 0 && state == nil { // an empty list is meant so: that of ext_authz tells nothing
		l.find(accessLogState, p.at("envoyHttpAls", "filterStateObjectsToLog"), "the access log tells no filter state")
	}
	for _, f := range router {
		if !f.authz && !slices.Contains(state.texts(), f.name()) {
			l.find(accessLogState, p.at("envoyHttpAls", "filterStateObjectsToLog"), "the access log does not tell the state of %s", f.shown())
		}
	}
}

// judgeMeshAuthz judges the providers that AuthorizationPolicies of action CUSTOM ask, where
// nothing else attaches Keel.
func (l *linter) judgeMeshAuthz() {
	if slices.ContainsFunc(l.filters, func(f *filter) bool { return f.judged && !f.authz && f.isKeel() }) {
		return
	}
	for _, p := range slices.Concat(l.providers("envoyExtAuthzGrpc"), l.providers("envoyExtAuthzHttp")) {
		c := p.get("envoyExtAuthzGrpc")
		if c == nil {
			c = p.get("envoyExtAuthzHttp")
		}
		name := p.get("name").text()
		if v := c.get("failOpen"); v.yes() {
			l.find(authzFailsOpen, v, "failOpen is true on provider %s", name)
		}
		if c.get("statusOnError") == nil {
			l.find(statusOnError, c, "provider %s has no statusOnError", name)
		}
		if v := c.get("timeout"); v != nil { // Istio's own is 600s
			l.judgeTimeout(v, v, 0, "timeout")
		}
		body := c.get("includeRequestBodyInCheck")
		if body == nil {
			l.find(authzBody, c, "provider %s has no includeRequestBodyInCheck", name)
		} else if n, ok := body.get("maxRequestBytes").number(); ok && n <= smallBuffer {
			l.find(bufferSmall, body.get("maxRequestBytes"), "maxRequestBytes is %d", n)
		}
		if strings.HasPrefix(name, "keel") {
			l.needUsage(p)
		}
	}
}
