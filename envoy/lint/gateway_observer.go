package lint

import (
	"fmt"
	"strings"

	"keel/envoy"
)

// logCluster is how Envoy Gateway names the clusters of access logs: by their settings and their sink, each counted from 0.
const logCluster = "accesslog_als_"

// judgeGatewayObservers judges what a filter of mode observe needs beside it. An EnvoyPatchPolicy puts it into the listener, so no
// policy has its limits, and Envoy Gateway knows nothing of the cluster that it calls.
func (l *linter) judgeGatewayObservers() {
	for _, f := range l.filters {
		if !f.judged || f.upstream || f.object == nil || f.object.kind != "EnvoyPatchPolicy" || !f.observes() {
			continue
		}
		l.judgeProxies(f.node, envoy.PassiveLogName)
		l.judgeAttached(f.object)
		l.judgeLogCluster(f)
	}
}

// judgeLogCluster looks for the sink whose cluster the filter calls.
func (l *linter) judgeLogCluster(f *filter) {
	name := f.processor()
	if !strings.HasPrefix(name, logCluster) {
		return // one of their own
	}
	at := f.config.get("grpc_service", "envoy_grpc", "cluster_name")
	proxies := false
	for _, o := range l.objects {
		if o.kind != "EnvoyProxy" {
			continue
		}
		proxies = true
		for i, settings := range o.spec.get("telemetry", "accessLog", "settings").list() {
			for j, sink := range settings.get("sinks").list() {
				if fmt.Sprint(logCluster, i, "_", j) == name && sink.get("type").is("ALS") {
					l.judgeBackendSettings(sink.get("als"), "EnvoyProxy "+o.name)
					return
				}
			}
		}
	}
	if proxies {
		l.find(observerCluster, at, "%s calls cluster %s, and no EnvoyProxy of these files has a sink of that number", f.shown(), name)
		return
	}
	l.absent(observerCluster, at, "no EnvoyProxy of these files makes the cluster %s", name)
}
