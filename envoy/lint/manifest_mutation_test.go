package lint

import (
	"slices"
	"testing"
)

// istioMutations are of manifests of Istio with their MeshConfig.
var istioMutations = []mutation{
	{"fails open", failsOpen, []edit{set(inRouter+"failure_mode_allow", true)}},
	{"observes", observesOnly, []edit{set(inRouter+"observability_mode", true)}},
	{"Istio's own name", istioName, []edit{set(patches+"[HTTP_FILTER]/patch/value/name", "envoy.filters.http.ext_proc")}},
	{"trailers skipped", trailersSkipped, []edit{remove(inRouter + "processing_mode/response_trailer_mode")}},
	{"request in chunks", requestBody, []edit{set(inRouter+"processing_mode/request_body_mode", "STREAMED")}},
	{"response not seen", responseBody, []edit{set(inRouter+"processing_mode/response_body_mode", "NONE")}},
	{"timeout gone", messageTimeout, []edit{remove(inRouter + "message_timeout")}},
	{"status gone", statusOnError, []edit{remove(inRouter + "status_on_error")}},
	{"mode override gone", modeOverride, []edit{remove(inRouter + "allow_mode_override")}},
	{"content-length gone", contentLength, []edit{remove(inRouter + "allow_content_length_header")}},
	{"metadata gone", metadataLost, []edit{remove(inRouter + "metadata_options")}},
	{"node", nodeAttribute, []edit{set(inRouter+"request_attributes/0", "xds.node")}},
	{"small buffer", bufferSmall, []edit{set(patches+"[LISTENER]/patch/value/per_connection_buffer_limit_bytes", 32768)}},
	{"decompressor behind", decompressorHangs, []edit{set(patches+"[HTTP_FILTER]/match/context", "GATEWAY"), behindPatch(extension("gunzip", "decompressor.v3.Decompressor", nil))}},
	{"trailers made up", trailersHang, []edit{behindPatch(extension("usage", "ai_protocol_manager.v3.AiProtocolManager", obj{"response_handling": obj{"token_usage": obj{"usage_signal": "SYNTHESIZE_TRAILERS"}}}))}},
	{"routes switched off", routeNotCovered, []edit{set(patches+"[VIRTUAL_HOST]/patch/value/typed_per_filter_config", perRoute(obj{"disabled": true}))}},
	{"log to nobody", accessLogMissing, []edit{set("{Telemetry}/spec/accessLogging/0/providers/0/name", "envoy")}},
	{"log switched off", accessLogMissing, []edit{set("{Telemetry}/spec/accessLogging/0/disabled", true)}},
	{"log sampled", accessLogSampled, []edit{set("{Telemetry}/spec/accessLogging/0/filter", obj{"expression": "response.code >= 400"})}},
	{"provider of the log gone", accessLogMissing, []edit{without("envoyHttpAls")}},
	{"log without state", accessLogState, []edit{without("filterStateObjectsToLog")}},
	{"retries of Istio's own", attemptsUnseen, []edit{withoutAttempts, without("retries")}},
	{"retries of what is billed", attemptsUnseen, []edit{withoutAttempts, set("{VirtualService}/spec/http/0/retries", obj{"attempts": 3, "retryOn": "5xx,gateway-error"})}},
	{"header not removed", targetKept, []edit{remove("{VirtualService}/spec/http/0/headers")}},
	{"copies", mirrored, []edit{set("{VirtualService}/spec/http/0/mirror", obj{"host": "shadow.example"})}},
	{"header of the client", clientRoutes, []edit{set("{VirtualService}/spec/http/0/match/0/headers", obj{"x-model-name": obj{"exact": "dear"}})}},
	{"phase of the cluster", phaseMissing, []edit{set(inRouter+"grpc_service/initial_metadata", []any{obj{"key": "x-keel-phase", "value": "upstream"}})}},
	{"limit on the way to Keel", breakerDefault, []edit{addRule}},
	{"clear text to Keel", processorCleartext, []edit{func(c configuration) bool {
		for _, host := range []string{"keel.keel.svc.cluster.local", "spend-extproc.spend.svc.cluster.local"} {
			c.docs[0] = append(c.docs[0], obj{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": obj{"name": host},
				"spec": obj{"host": host, "trafficPolicy": obj{"tls": obj{"mode": "DISABLE"}}}})
		}
		return true
	}}},
	{"attempts fail open", failsOpen, []edit{set(inAttempts+"failure_mode_allow", true)}},
	{"attempts not counted for the filter", attemptAttributes, []edit{set(inAttempts+"request_attributes", []any{"upstream.address"})}},
	{"attempts that count as calls", phaseMissing, []edit{set(inAttempts+"grpc_service/initial_metadata", []any{obj{"key": "x-keel-phase", "value": "router"}})}},
	{"attempts past a connection that gets full", processorFull, []edit{remove(patches + "[CLUSTER]/patch/value/per_connection_buffer_limit_bytes")}},
	{"attempts past a stream that gets full", processorFull, []edit{remove(patches + "[CLUSTER]/patch/value/" + http2 + "initial_stream_window_size")}},
	{"some paths", pathsNotCovered, []edit{func(c configuration) bool {
		c.docs[0] = append(c.docs[0], obj{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": obj{"name": "keel"},
			"spec": obj{"action": "CUSTOM", "provider": obj{"name": "keel"}, "rules": []any{obj{"to": []any{obj{"operation": obj{"paths": []any{"/v1/*"}}}}}}}})
		return true
	}}},
}

// istioAuthzMutations are of mode authz.
var istioAuthzMutations = []mutation{
	{"fails open", authzFailsOpen, []edit{set(inRouter+"failure_mode_allow", true)}},
	{"no body", authzBody, []edit{remove(inRouter + "with_request_body")}},
	{"route kept", routeKept, []edit{remove(inRouter + "clear_route_cache")}},
	{"log to nobody", accessLogMissing, []edit{set("{Telemetry}/spec/accessLogging/0/providers/0/name", "envoy")}},
	{"header not removed", targetKept, []edit{remove("{VirtualService}/spec/http/0/headers")}},
}

// istioPolicyMutations are of mode authz by an AuthorizationPolicy.
var istioPolicyMutations = []mutation{
	{"route kept", routeKept, []edit{remove(inRouter + "clear_route_cache")}},
	{"no patch of the check", routeKept, []edit{remove(patches + "0")}},
	{"tokens that come too late", claimsUnseen, []edit{func(c configuration) bool {
		c.docs[0] = append(c.docs[0], obj{"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": obj{"name": "idp"},
			"spec": obj{"jwtRules": []any{obj{"issuer": "https://idp.example.com"}}}})
		return true
	}}},
	{"fails open", authzFailsOpen, []edit{replaced("failOpen", true)}},
	{"some paths", pathsNotCovered, []edit{set("{AuthorizationPolicy}/spec/rules/0/to", []any{obj{"operation": obj{"paths": []any{"/v1/*"}}}})}},
}

const (
	patches    = "{EnvoyFilter}/spec/configPatches/"
	inRouter   = patches + "[HTTP_FILTER]/patch/value/typed_config/"
	inAttempts = "{EnvoyFilter}/spec/configPatches/[attempts]/patch/value/" + options + "http_filters/0/typed_config/"
)

// behindPatch adds an EnvoyFilter that comes behind Keel's.
func behindPatch(filter obj) edit {
	return func(c configuration) bool {
		match := obj{"context": "GATEWAY", "listener": obj{"filterChain": obj{"filter": obj{"name": "envoy.filters.network.http_connection_manager", "subFilter": obj{"name": "envoy.filters.http.router"}}}}}
		last := len(c.docs) - 1
		c.docs[last] = append(c.docs[last], obj{"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": obj{"name": "zz"}, "spec": obj{"configPatches": []any{
			obj{"applyTo": "HTTP_FILTER", "match": match, "patch": obj{"operation": "INSERT_BEFORE", "value": filter}}}}})
		return true
	}
}

func addRule(c configuration) bool {
	for _, host := range []string{"keel.keel.svc.cluster.local", "spend-extproc.spend.svc.cluster.local"} {
		c.docs[0] = append(c.docs[0], obj{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": obj{"name": host},
			"spec": obj{"host": host, "trafficPolicy": obj{"connectionPool": obj{"http": obj{"http2MaxRequests": 100}}}}})
	}
	return true
}

// gatewayMutations are of manifests of Envoy Gateway.
var gatewayMutations = []mutation{
	{"fails open", failsOpen, []edit{set(extProc+"failOpen", true)}},
	{"observes", observesOnly, []edit{set(extProc+"shadowMode", true)}},
	{"on a route only", routeNotCovered, []edit{set("{EnvoyExtensionPolicy}/spec/targetRefs/0/kind", "HTTPRoute")}},
	{"another policy on a route", routeNotCovered, []edit{func(c configuration) bool {
		c.docs[0] = append(c.docs[0], obj{"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyExtensionPolicy", "metadata": obj{"name": "lua"},
			"spec": obj{"targetRefs": []any{obj{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "keel"}}, "lua": []any{}}})
		return true
	}}},
	{"status gone", statusOnError, []edit{remove(extProc + "statusOnError")}},
	{"timeout gone", messageTimeout, []edit{remove(extProc + "messageTimeout")}},
	{"timeout of 200ms", messageTimeout, []edit{set(extProc+"messageTimeout", "200ms")}},
	{"request not sent", requestBody, []edit{remove(extProc + "processingMode/request/body")}},
	{"request in chunks", requestBody, []edit{set(extProc+"processingMode/request/body", "Streamed")}},
	{"response held back", responseBody, []edit{set(extProc+"processingMode/response/body", "Buffered")}},
	{"no response", headersSkipped, []edit{remove(extProc + "processingMode/response")}},
	{"mode override gone", modeOverride, []edit{remove(extProc + "processingMode/allowModeOverride")}},
	{"metadata gone", metadataLost, []edit{remove(extProc + "metadata")}},
	{"node", nodeAttribute, []edit{set(extProc+"processingMode/request/attributes/0", "xds.node")}},
	{"breakers gone", breakerDefault, []edit{remove(extProc + "backendSettings/circuitBreaker")}},
	{"breaker of pending gone", breakerDefault, []edit{remove(extProc + "backendSettings/circuitBreaker/maxPendingRequests")}},
	{"health check gone", processorUnchecked, []edit{remove(extProc + "backendSettings/healthCheck")}},
	{"stream with an end", streamLimited, []edit{set(extProc+"backendSettings/timeout", obj{"http": obj{"maxStreamDuration": "60s"}})}},
	{"attempts past a connection that gets full", processorFull, []edit{remove(extProc + "backendSettings/connection")}},
	{"attempts past a stream that gets full", processorFull, []edit{remove(extProc + "backendSettings/http2/initialStreamWindowSize")}},
	{"buffer of 32 KiB", bufferSmall, []edit{remove("{ClientTrafficPolicy}/spec/connection")}},
	{"small buffer", bufferSmall, []edit{set("{ClientTrafficPolicy}/spec/connection/bufferLimit", "1Mi")}},
	{"log gone", accessLogMissing, []edit{remove("{EnvoyProxy}/spec/telemetry")}},
	{"log switched off", accessLogMissing, []edit{set("{EnvoyProxy}/spec/telemetry/accessLog/disable", true)}},
	{"log of another mode", accessLogName, []edit{set(proxySinks+"/0/als/logName", "keel_observe")}},
	{"log sampled", accessLogSampled, []edit{set("{EnvoyProxy}/spec/telemetry/accessLog/settings/0/matches", []any{"response.code >= 400"})}},
	{"retries of what is billed", attemptsUnseen, []edit{withoutAttempts, set("{BackendTrafficPolicy}/spec/retry", obj{"numRetries": 2, "retryOn": obj{"triggers": []any{"5xx"}}})}},
	{"header not removed", targetKept, []edit{remove("{HTTPRoute}/spec/rules/0/filters")}},
	{"copies", mirrored, []edit{set("{HTTPRoute}/spec/rules/0/filters", []any{obj{"type": "RequestMirror", "requestMirror": obj{"backendRef": obj{"name": "shadow"}}}})}},
	{"header of the client", clientRoutes, []edit{set("{HTTPRoute}/spec/rules/0/matches/0/headers", []any{obj{"name": "x-model-name", "value": "dear"}})}},
	{"a nameless fallback", fallbackUnlabeled, []edit{set("{Backend}/spec/fallback", true)}},
	{"patch without trailers", trailersSkipped, []edit{givenPatch, set("{EnvoyPatchPolicy}/spec/jsonPatches/0/operation/value/processing_mode/response_trailer_mode", "SKIP")}},
	{"patch that fails open", failsOpen, []edit{givenPatch, set("{EnvoyPatchPolicy}/spec/jsonPatches/0/operation/value/failure_mode_allow", true)}},
}

var givenPatch = given("{EnvoyPatchPolicy}/spec/jsonPatches/0/type", "type.googleapis.com/envoy.config.listener.v3.Listener")

const extProc = "{EnvoyExtensionPolicy}/spec/extProc/0/"

// gatewayObserverMutations are of manifests of Envoy Gateway for mode observe.
var gatewayObserverMutations = []mutation{
	{"closed", observerFailsClosed, []edit{remove(inPatch + "failure_mode_allow")}},
	{"waited for", phaseMissing, []edit{remove(inPatch + "observability_mode")}},
	{"not said", observesOnly, []edit{set(inPatch+"grpc_service/initial_metadata/0/value", "router")}},
	{"a body in one piece", observerBody, []edit{set(inPatch+"processing_mode/request_body_mode", "BUFFERED")}},
	{"trailers skipped", trailersSkipped, []edit{remove(inPatch + "processing_mode/response_trailer_mode")}},
	{"no time", observerUnmatched, []edit{set(inPatch+"request_attributes", []any{"request.id"})}},
	{"on a route only", routeNotCovered, []edit{set("{EnvoyPatchPolicy}/spec/targetRef/kind", "HTTPRoute")}},
	{"a cluster that is not there", observerCluster, []edit{set(inPatch+"grpc_service/envoy_grpc/cluster_name", "accesslog_als_1_0")}},
	{"another sink before it", observerCluster, []edit{insert(proxySinks, obj{"type": "File", "file": obj{"path": "/dev/stdout"}})}},
	{"no EnvoyProxy", observerCluster, []edit{set("{EnvoyProxy}/kind", "Other")}},
	{"log gone", accessLogMissing, []edit{remove("{EnvoyProxy}/spec/telemetry")}},
	{"log switched off", accessLogMissing, []edit{set("{EnvoyProxy}/spec/telemetry/accessLog/disable", true)}},
	{"log of another mode", accessLogName, []edit{set(proxySinks+"/0/als/logName", "keel")}},
	{"breakers gone", breakerDefault, []edit{remove(proxySinks + "/0/als/backendSettings/circuitBreaker")}},
	{"health check gone", processorUnchecked, []edit{remove(proxySinks + "/0/als/backendSettings/healthCheck")}},
}

const (
	inPatch    = "{EnvoyPatchPolicy}/spec/jsonPatches/0/operation/value/typed_config/"
	proxySinks = "{EnvoyProxy}/spec/telemetry/accessLog/settings/0/sinks"
)

// ext_authz is judged where it is all that asks Keel.
func testAuthz(t *testing.T) {
	const file = "testdata/ext_authz.yaml"
	before := func(t *testing.T) configuration { return load(t, file) }
	if report := before(t).lint(t, Options{}); len(report.Findings)+len(report.Unseen) > 0 {
		t.Errorf("not clean: %+v", report)
	}
	if n := mutate(t, slices.Concat(authzMutations, declaredMutations), Options{}, before); n < 15 {
		t.Errorf("only %d mutations apply", n)
	}
}
