package lint

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A mutation makes a configuration unsafe in one way.
type mutation struct {
	name  string
	rule  string
	edits []edit
}

type obj = map[string]any

func extension(name, kind string, config obj) obj {
	if config == nil {
		config = obj{}
	}
	config["@type"] = "type.googleapis.com/envoy.extensions.filters.http." + kind
	return obj{"name": name, "typed_config": config}
}

// perRoute is for the filter of our own configuration and that of the recorded ones.
func perRoute(config obj) obj {
	config["@type"] = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
	return obj{"keel.ext_proc": config, "spend.ext_proc.router": config}
}

// authzPerRoute is the same for ext_authz.
func authzPerRoute(config obj) obj {
	config["@type"] = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
	return obj{"keel.ext_authz": config, "envoy.filters.http.ext_authz": config}
}

// anotherListener leads to the first route's cluster, and has no filter.
func anotherListener(c configuration) bool {
	root, ok := c.docs[0][0].(map[string]any)
	if !ok || root["static_resources"] == nil {
		return false
	}
	static := root["static_resources"].(map[string]any)
	routes := []any{}
	for _, cluster := range static["clusters"].([]any) {
		routes = append(routes, obj{"match": obj{"prefix": "/"}, "route": obj{"cluster": cluster.(map[string]any)["name"]}})
	}
	manager := obj{
		"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "past",
		"route_config": obj{"virtual_hosts": []any{obj{"name": "all", "domains": []any{"*"}, "routes": routes}}},
		"http_filters": []any{extension("envoy.filters.http.router", "router.v3.Router", nil)},
	}
	static["listeners"] = append(static["listeners"].([]any), obj{"name": "past", "filter_chains": []any{obj{"filters": []any{obj{"name": "hcm", "typed_config": manager}}}}})
	return true
}

// envoyMutations are of a raw configuration with ext_proc. Those that do not apply, such
// as those of a filter in the cluster where there is none, are left out.
var envoyMutations = []mutation{
	{"fails open", failsOpen, []edit{set("router/failure_mode_allow", true)}},
	{"observes", observesOnly, []edit{given("router/observability_mode", nil), set("router/observability_mode", true)}},
	{"decompressor behind", decompressorHangs, []edit{givenBody, behindFilter(extension("gunzip", "decompressor.v3.Decompressor", obj{"decompressor_library": obj{"name": "gzip", "typed_config": obj{"@type": "type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip"}}}))}},
	{"decompressor before", decompressorFirst, []edit{insert("hcm/http_filters", extension("gunzip", "decompressor.v3.Decompressor", nil))}},
	{"trailers made up", trailersHang, []edit{givenBody, behindFilter(extension("usage", "ai_protocol_manager.v3.AiProtocolManager", obj{"response_handling": obj{"token_usage": obj{"usage_signal": "SYNTHESIZE_TRAILERS"}}}))}},
	{"full duplex with retries", duplexRetried, []edit{set("router/processing_mode/request_body_mode", "FULL_DUPLEX_STREAMED")}},
	{"request in chunks", requestBody, []edit{set("router/processing_mode/request_body_mode", "BUFFERED_PARTIAL")}},
	{"response held back", responseBody, []edit{set("router/processing_mode/response_body_mode", "BUFFERED")}},
	{"route with a small limit", bufferSmall, []edit{givenBuffered, set("host/routes/0/request_body_buffer_limit", "32768")}},
	{"route without a limit", bufferSmall, []edit{givenBuffered, remove("host/routes/0/request_body_buffer_limit")}},
	{"listener with a small limit", bufferSmall, []edit{givenBuffered, remove("host/routes/0/request_body_buffer_limit"), set("listener/per_connection_buffer_limit_bytes", 32768)}},
	{"breakers gone", breakerDefault, []edit{remove("clusters/[processor]/circuit_breakers")}},
	{"breaker of pending gone", breakerDefault, []edit{remove("clusters/[processor]/circuit_breakers/thresholds/0/max_pending_requests")}},
	{"breaker at its default", breakerDefault, []edit{set("clusters/[processor]/circuit_breakers/thresholds/0/max_requests", 1024)}},
	{"trailers skipped", trailersSkipped, []edit{set("router/processing_mode/response_trailer_mode", "SKIP")}},
	{"headers skipped", headersSkipped, []edit{set("router/processing_mode/request_header_mode", "SKIP")}},
	{"route switched off", routeNotCovered, []edit{set("host/routes/0/typed_per_filter_config", perRoute(obj{"disabled": true}))}},
	{"host switched off", routeNotCovered, []edit{set("host/typed_per_filter_config", perRoute(obj{"disabled": true}))}},
	{"route that fails open", failsOpen, []edit{set("host/routes/0/typed_per_filter_config", perRoute(obj{"overrides": obj{"failure_mode_allow": true}}))}},
	{"route without the body", requestBody, []edit{set("host/routes/0/typed_per_filter_config", perRoute(obj{"overrides": obj{"processing_mode": obj{"request_body_mode": "NONE"}}}))}},
	{"filter switched off", routeNotCovered, []edit{set("hcm/http_filters/[ExternalProcessor]/disabled", true)}},
	{"node", nodeAttribute, []edit{set("router/request_attributes", []any{"request.id", "xds.node"})}},
	{"timeout gone", messageTimeout, []edit{remove("router/message_timeout")}},
	{"timeout of 0.2s", messageTimeout, []edit{set("router/message_timeout", "0.2s")}},
	{"no timeout at all", messageTimeout, []edit{set("router/message_timeout", "0s")}},
	{"status gone", statusOnError, []edit{remove("router/status_on_error")}},
	{"mode override gone", modeOverride, []edit{remove("router/allow_mode_override")}},
	{"content-length gone", contentLength, []edit{givenBody, remove("router/allow_content_length_header")}},
	{"metadata gone", metadataLost, []edit{remove("router/metadata_options")}},
	{"phase of the cluster", phaseMissing, []edit{set("router/grpc_service/initial_metadata", []any{obj{"key": "x-keel-phase", "value": "upstream"}})}},
	{"header not removed", targetKept, []edit{remove("host/routes/0/request_headers_to_remove")}},
	{"header of the client", clientRoutes, []edit{set("host/routes/0/match/headers", []any{obj{"name": "x-model", "string_match": obj{"exact": "dear"}}})}},
	{"header believed on a free route", targetTrusted, []edit{
		set("host/routes/0/match/headers", []any{obj{"name": "x-keel-target", "string_match": obj{"prefix": "openai/"}}}),
		set("host/routes/0/typed_per_filter_config", perRoute(obj{"disabled": true})),
	}},
	{"header read before the filter", targetTrusted, []edit{insert("hcm/http_filters", extension("early", "header_to_metadata.v3.Config", obj{"request_rules": []any{obj{"header": "x-keel-target"}}}))}},
	{"retries of what is billed", attemptsUnseen, []edit{
		set("host/routes/0/route/retry_policy", obj{"retry_on": "5xx"}), withoutAttempts,
	}},
	{"copies", mirrored, []edit{set("host/routes/0/route/request_mirror_policies", []any{obj{"cluster": "local"}})}},
	{"copies of a host", mirrored, []edit{set("host/request_mirror_policies", []any{obj{"cluster": "local"}})}},
	{"hedges", hedged, []edit{set("host/routes/0/route/hedge_policy", obj{"hedge_on_per_try_timeout": true}), withoutAttempts}},
	{"hedges beside errors", hedgedAnswers, []edit{givenAttempts, set("host/routes/0/route/hedge_policy", obj{"hedge_on_per_try_timeout": true}),
		set("host/routes/0/route/retry_policy", obj{"retry_on": "reset,retriable-status-codes"})}},
	{"hedges of a host beside errors", hedgedAnswers, []edit{givenAttempts, set("host/hedge_policy", obj{"hedge_on_per_try_timeout": true}),
		set("host/routes/0/route/retry_policy", obj{"retry_on": "5xx"})}},
	{"log of another mode", accessLogName, []edit{set("log/typed_config/common_config/log_name", "keel_observe")}},
	{"attempts not counted", attemptCount, []edit{remove("host/include_request_attempt_count")}},
	{"log gone", accessLogMissing, []edit{remove("hcm/access_log")}},
	{"log sampled", accessLogSampled, []edit{set("log/filter", obj{"status_code_filter": obj{"comparison": obj{"op": "GE", "value": obj{"default_value": 400, "runtime_key": "x"}}}})}},
	{"log without state", accessLogState, []edit{remove("log/typed_config/common_config/filter_state_objects_to_log")}},
	{"log without tags", accessLogState, []edit{remove("log/typed_config/common_config/custom_tags")}},
	{"log with tags of another filter", accessLogState, []edit{remove("log/typed_config/common_config/custom_tags"),
		set("log/typed_config/common_config/custom_tags", []any{obj{"tag": "keel.failed_open", "value": "%FILTER_STATE(ext_proc:FIELD:failed_open)%"}})}},
	{"health check gone", processorUnchecked, []edit{remove("clusters/[processor]/health_checks")}},
	{"refused streams given up", processorUnretried, []edit{remove("router/grpc_service/retry_policy")}},
	{"no retries", processorUnretried, []edit{given("router/grpc_service/retry_policy/num_retries", 2), set("router/grpc_service/retry_policy/num_retries", 0)}},
	{"broken streams begun again", processorRetried, []edit{set("router/grpc_service/retry_policy", obj{"retry_on": "refused-stream, reset"})}},
	{"a credential before calls", credentialFirst, []edit{given("router/observability_mode", nil), insert("hcm/http_filters", extension("envoy.filters.http.aws_request_signing", "aws_request_signing.v3.AwsRequestSigning", obj{"service_name": "bedrock", "region": "eu-west-1"}))}},
	{"clear text", processorCleartext, []edit{remove("clusters/[processor]/transport_socket")}},
	{"any name", processorUnknown, []edit{remove("clusters/[processor]/transport_socket/typed_config/common_tls_context/combined_validation_context/default_validation_context/match_typed_subject_alt_names")}},
	{"any authority", processorUnknown, []edit{remove("clusters/[processor]/transport_socket/typed_config/common_tls_context/combined_validation_context")}},
	{"another machine", processorCleartext, []edit{
		givenLoopback, set("clusters/[processor]/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address", "192.0.2.1"),
	}},
	{"stream with an end", streamLimited, []edit{set("clusters/[processor]/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/common_http_protocol_options", obj{"max_stream_duration": "60s"})}},
	{"idle connections closed", processorTimeout, []edit{set("clusters/[processor]/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/common_http_protocol_options", obj{"idle_timeout": "1s"})}},
	{"timeout of the service", processorTimeout, []edit{set("router/grpc_service/timeout", "10s")}},
	{"a second filter", twice, []edit{again}},
	{"no filter", notAttached, []edit{remove("hcm/http_filters/[ExternalProcessor]")}},
	{"a listener past it", routeNotCovered, []edit{anotherListener}},

	{"attempts fail open", failsOpen, []edit{set("clusters/[provider]/"+options+"http_filters/0/typed_config/failure_mode_allow", true)}},
	{"attempts not counted for the filter", attemptAttributes, []edit{remove("clusters/[provider]/" + options + "http_filters/0/typed_config/request_attributes")}},
	{"attempts that count as calls", phaseMissing, []edit{set("clusters/[provider]/"+options+"http_filters/0/typed_config/grpc_service/initial_metadata", []any{obj{"key": "x-keel-phase", "value": "router"}})}},
	{"attempts cut short", messageTimeout, []edit{set("clusters/[provider]/"+options+"http_filters/0/typed_config/message_timeout", "0.5s")}},
	{"attempts past a connection that gets full", processorFull, []edit{givenAttempts, remove("clusters/[processor]/per_connection_buffer_limit_bytes")}},
	{"attempts past a connection of 64 MiB", processorFull, []edit{givenAttempts, set("clusters/[processor]/per_connection_buffer_limit_bytes", 64<<20)}},
	{"attempts past a stream that gets full", processorFull, []edit{remove("clusters/[processor]/" + http2 + "initial_stream_window_size")}},
	{"attempts past a stream of 16 MiB", processorFull, []edit{givenAttempts, set("clusters/[processor]/"+http2+"initial_stream_window_size", 16<<20)}},
	{"attempts that are refused", processorUnretried, []edit{remove("clusters/[provider]/" + options + "http_filters/0/typed_config/grpc_service/retry_policy")}},
	{"attempts without metadata", metadataLost, []edit{remove("clusters/[provider]/" + options + "http_filters/0/typed_config/metadata_options")}},
	{"what attempts add is not told", metadataLost, []edit{given("router/metadata_options/forwarding_namespaces/untyped/0", "keel"),
		set("router/metadata_options/forwarding_namespaces/untyped", []any{"envoy.filters.http.jwt_authn"})}},
	{"a credential before attempts", credentialFirst, []edit{insert("clusters/[provider]/"+options+"http_filters", extension("envoy.filters.http.credential_injector", "credential_injector.v3.CredentialInjector", nil))}},
	{"a nameless fallback", fallbackUnlabeled, []edit{set("clusters/[provider]/load_assignment/endpoints/+", obj{"priority": 1, "lb_endpoints": []any{obj{"endpoint": obj{"address": obj{"pipe": obj{"path": "/x"}}}}}})}},
	{"filters of members only", aggregateMembers, []edit{set("clusters/[provider]/connect_timeout", "5s"), insert("static_resources/clusters", obj{"name": "all", "cluster_type": obj{"name": "envoy.clusters.aggregate", "typed_config": obj{
		"@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": []any{"openai", "local", "llm", "llm_cheap"}}}})}},
}

// observerMutations are of mode observe.
var observerMutations = []mutation{
	{"closed", observerFailsClosed, []edit{remove("router/failure_mode_allow")}},
	{"a body in one piece", observerBody, []edit{set("router/processing_mode/request_body_mode", "BUFFERED")}},
	{"no answer", observerBody, []edit{set("router/processing_mode/response_body_mode", "NONE")}},
	{"trailers skipped", trailersSkipped, []edit{remove("router/processing_mode/request_trailer_mode")}},
	{"headers skipped", headersSkipped, []edit{set("router/processing_mode/response_header_mode", "SKIP")}},
	{"no id", observerUnmatched, []edit{set("router/request_attributes", []any{"request.time"})}},
	{"node", nodeAttribute, []edit{set("router/response_attributes", []any{"xds.node"})}},
	{"waited for", phaseMissing, []edit{remove("router/observability_mode")}},
	{"not said", observesOnly, []edit{set("router/grpc_service/initial_metadata/0/value", "router")}},
	{"log of another mode", accessLogName, []edit{set("log/typed_config/common_config/log_name", "keel")}},
	{"log gone", accessLogMissing, []edit{remove("hcm/access_log")}},
	{"log without state", accessLogState, []edit{remove("log/typed_config/common_config/filter_state_objects_to_log")}},
	{"log without tags", accessLogState, []edit{remove("log/typed_config/common_config/custom_tags")}},
	{"log with tags of another filter", accessLogState, []edit{remove("log/typed_config/common_config/custom_tags"),
		set("log/typed_config/common_config/custom_tags", []any{obj{"tag": "keel.failed_open", "value": "%FILTER_STATE(ext_proc:FIELD:failed_open)%"}})}},
	{"route switched off", routeNotCovered, []edit{set("host/routes/0/typed_per_filter_config", perRoute(obj{"disabled": true}))}},
	{"copies", mirrored, []edit{set("host/routes/0/route/request_mirror_policies", []any{obj{"cluster": "local"}})}},
	{"breakers gone", breakerDefault, []edit{remove("clusters/[processor]/circuit_breakers")}},
}

var (
	givenLoopback = given("clusters/[processor]/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address", "127.0.0.1")
	givenAttempts = given("clusters/[provider]/"+options+"http_filters/0/name", "keel.ext_proc.attempt", "spend.ext_proc.upstream")
	givenBuffered = given("router/processing_mode/request_body_mode", "BUFFERED")

	// What hangs does so where the processor gets bodies and Envoy waits for it.
	givenBody edit = func(c configuration) bool {
		return given("router/processing_mode/response_body_mode", "STREAMED", "FULL_DUPLEX_STREAMED")(c) && given("router/observability_mode", nil)(c)
	}
)

const http2 = options + "explicit_http_config/http2_protocol_options/"

const options = "typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/"

var authzMutations = []mutation{
	{"fails open", authzFailsOpen, []edit{set("authz/failure_mode_allow", true)}},
	{"some calls", authzSampled, []edit{set("authz/filter_enabled", obj{"default_value": obj{"numerator": 50}})}},
	{"no body", authzBody, []edit{remove("authz/with_request_body")}},
	{"a piece of the body", bufferSmall, []edit{set("authz/with_request_body/max_request_bytes", 8192)}},
	{"status gone", statusOnError, []edit{remove("authz/status_on_error")}},
	{"timeout gone", messageTimeout, []edit{remove("authz/grpc_service/timeout")}},
	{"timeout of 0.2s", messageTimeout, []edit{set("authz/grpc_service/timeout", "0.2s")}},
	{"refused checks given up", processorUnretried, []edit{remove("authz/grpc_service/retry_policy")}},
	{"checks made twice", processorRetried, []edit{set("authz/grpc_service/retry_policy", obj{"retry_on": "refused-stream,5xx"})}},
	{"tries cut short", messageTimeout, []edit{set("authz/grpc_service/retry_policy", obj{"retry_on": "refused-stream", "retry_back_off": obj{"base_interval": "0.005s"}})}},
	{"log gone", accessLogMissing, []edit{remove("hcm/access_log")}},
	{"log sampled", accessLogSampled, []edit{set("log/filter", obj{"not_health_check_filter": obj{}})}},
	{"breakers gone", breakerDefault, []edit{remove("clusters/[processor]/circuit_breakers")}},
	{"route switched off", routeNotCovered, []edit{set("host/routes/0/typed_per_filter_config", authzPerRoute(obj{"disabled": true}))}},
	{"attempts not counted", attemptCount, []edit{remove("host/include_request_attempt_count")}},
	{"stream with an end", streamLimited, []edit{set("clusters/[processor]/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/common_http_protocol_options", obj{"max_stream_duration": "60s"})}},
	{"route kept", routeKept, []edit{remove("authz/clear_route_cache")}},
	{"claims too late", claimsUnseen, []edit{lastBeforeRouter(extension("tokens", "jwt_authn.v3.JwtAuthentication", nil))}},
	{"usage not extracted", usageUnseen, []edit{without("sse_to_metadata", "json_to_metadata", "ai_protocol_manager")}},
}

// fastMutations are of the filter that changes what ext_authz can't.
var fastMutations = []mutation{
	{"no filter that changes", changeMissing, []edit{remove("hcm/http_filters/[keel.ext_proc.change]")}},
	{"one before the check", changeMissing, []edit{changeFirst}},
	{"one that is switched off", changeMissing, []edit{set("hcm/http_filters/[keel.ext_proc.change]/disabled", true)}},
	{"one for another target", changeMissing, []edit{replaced("prefix", "change/")}},
	{"one that says that it is another", changeMissing, []edit{set(theChange+"grpc_service/initial_metadata", []any{obj{"key": "x-keel-phase", "value": "router"}})}},
	{"no body for it", requestBody, []edit{set(theChange+"processing_mode/request_body_mode", "NONE")}},
	{"no headers for it", headersSkipped, []edit{set(theChange+"processing_mode/request_header_mode", "SKIP")}},
	{"no decision for it", metadataLost, []edit{set(theChange+"metadata_options/forwarding_namespaces/untyped", []any{"keel"})}},
	{"no status of it", statusOnError, []edit{remove(theChange + "status_on_error")}},
	{"refused changes given up", processorUnretried, []edit{remove(theChange + "grpc_service/retry_policy")}},
	{"no time for it", messageTimeout, []edit{remove(theChange + "message_timeout")}},
	{"a credential between", credentialFirst, []edit{insert("hcm/http_filters", extension("envoy.filters.http.aws_request_signing", "aws_request_signing.v3.AwsRequestSigning", obj{"service_name": "bedrock", "region": "eu-west-1"}))}},
}

const theChange = "hcm/http_filters/[keel.ext_proc.change]/typed_config/xds_matcher/matcher_list/matchers/0/on_match/action/typed_config/typed_config/typed_config/"

// usageMutations are of manifests in which Envoy reads the usage.
var usageMutations = []mutation{
	{"usage elsewhere", usageUnseen, []edit{rewritten(`"keel.usage"`, `"spend"`)}},
	{"usage in a namespace of that name and more", usageUnseen, []edit{rewritten(`"keel.usage"`, `"keel.usage.old"`)}},
}

// declaredMutations are of filters without a script that read the usage.
var declaredMutations = []mutation{
	{"usage elsewhere", usageUnseen, []edit{replaced("metadata_namespace", "spend")}},
	{"usage in a namespace of that name and more", usageUnseen, []edit{replaced("metadata_namespace", "keel.usage.old")}},
	{"decompressor before the router", decompressorHangs, []edit{lastBeforeRouter(extension("gunzip", "decompressor.v3.Decompressor", nil))}},
}

// loggedMutations are of a raw configuration in which Envoy reads the usage.
var loggedMutations = append([]mutation{
	{"usage not extracted", usageUnseen, []edit{without("keel.usage")}},
}, usageMutations...)

// seen are the rules that some mutation has shown to be found.
var seen sync.Map

// mutate applies each mutation to a fresh configuration and wants its rule among what is new.
// It returns how many apply.
func mutate(t *testing.T, mutations []mutation, o Options, load func(t *testing.T) configuration) int {
	before := load(t).lint(t, o)
	applied := 0
	for _, m := range mutations {
		c := load(t)
		if !c.apply(m.edits...) {
			continue
		}
		applied++
		t.Run(m.name, func(t *testing.T) {
			after := c.lint(t, o)
			found := fresh(before, after)
			i := slices.IndexFunc(found, func(f Finding) bool { return f.Rule == m.rule })
			if i < 0 {
				t.Fatalf("%s is not found; new are %v", m.rule, rulesOf(found))
			}
			seen.Store(m.rule, true)
			if f := found[i]; f.Line < 1 || f.Column < 1 || f.File == "" || f.Message == "" || f.Danger == "" || f.Fix == "" {
				t.Errorf("incomplete: %+v", f)
			}
		})
	}
	return applied
}

const own = "../testdata/attach/"

// What keel envoy config writes is safe, taken as all there is, and nothing in it is unseen;
// and it is not so when it is changed. Every rule is one that a mutation shows.
func TestRules(t *testing.T) {
	t.Run("own", testOwn)
	t.Run("ext_authz", testAuthz)
	t.Run("budgets", testBudgets)
	if only := flag.Lookup("test.run").Value.String(); strings.Contains(only, "/") {
		return
	}
	for _, r := range Rules() {
		if _, ok := seen.Load(r.ID); !ok {
			t.Errorf("no mutation shows %s", r.ID)
		}
	}
}

func testOwn(t *testing.T) {
	for name, c := range map[string]struct {
		files     []string
		mutations []mutation
		least     int
	}{
		"envoy-full":             {[]string{"envoy-full.yaml"}, envoyMutations, 40},
		"envoy-attempts":         {[]string{"envoy-attempts.yaml"}, envoyMutations, 45},
		"envoy-uds":              {[]string{"envoy-uds.yaml"}, envoyMutations, 45},
		"envoy-observe":          {[]string{"envoy-observe.yaml"}, observerMutations, 15},
		"istio-observe":          {[]string{"istio-observe.yaml", "istio-observe-mesh-config.yaml"}, nil, 0},
		"envoy-light":            {[]string{"envoy-light.yaml"}, loggedMutations, 3},
		"envoy-authz":            {[]string{"envoy-authz.yaml"}, append(loggedMutations, authzMutations...), 13},
		"envoy-fast":             {[]string{"envoy-fast.yaml"}, slices.Concat(loggedMutations, authzMutations, fastMutations), 24},
		"istio-light":            {[]string{"istio-light.yaml", "istio-mesh-config.yaml"}, usageMutations, 2},
		"istio-authz":            {[]string{"istio-authz.yaml", "istio-authz-mesh-config.yaml"}, append(istioAuthzMutations, usageMutations...), 7},
		"istio-policy":           {[]string{"istio-policy.yaml", "istio-policy-mesh-config.yaml"}, append(istioPolicyMutations, usageMutations...), 6},
		"envoy-gateway-light":    {[]string{"envoy-gateway-light.yaml"}, usageMutations, 2},
		"envoy-gateway-authz":    {[]string{"envoy-gateway-authz.yaml"}, append([]mutation{{"route kept", routeKept, []edit{remove("{SecurityPolicy}/spec/extAuth/recomputeRoute")}}}, usageMutations...), 3},
		"envoy-gateway-observe":  {[]string{"envoy-gateway-observe.yaml"}, gatewayObserverMutations, 14},
		"istio-full":             {[]string{"istio-full.yaml", "istio-mesh-config.yaml"}, istioMutations, 20},
		"istio-attempts":         {[]string{"istio-attempts.yaml", "istio-mesh-config.yaml"}, istioMutations, 25},
		"istio-uds":              {[]string{"istio-uds.yaml", "istio-mesh-config.yaml"}, nil, 0},
		"istio-address":          {[]string{"istio-address.yaml", "istio-mesh-config.yaml"}, nil, 0},
		"istio-tls":              {[]string{"istio-tls.yaml", "istio-mesh-config.yaml"}, nil, 0},
		"envoy-gateway-tls":      {[]string{"envoy-gateway-tls.yaml"}, nil, 0},
		"envoy-gateway-full":     {[]string{"envoy-gateway-full.yaml"}, gatewayMutations, 20},
		"envoy-gateway-attempts": {[]string{"envoy-gateway-attempts.yaml"}, gatewayMutations, 20},
		"envoy-gateway-uds":      {[]string{"envoy-gateway-uds.yaml"}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var files []string
			for _, file := range c.files {
				files = append(files, own+file)
			}
			load := func(t *testing.T) configuration { return load(t, files...) }
			report := load(t).lint(t, Options{Complete: true})
			if len(report.Findings)+len(report.Unseen) > 0 {
				t.Errorf("not clean: %+v", report)
			}
			if n := mutate(t, c.mutations, Options{Complete: true}, load); n < c.least {
				t.Errorf("only %d mutations apply, want %d", n, c.least)
			}
		})
	}
}

// The configurations that ran on the real Envoy, Istio and Envoy Gateway, each mutated in ten ways or more.
func TestSharedConfigurations(t *testing.T) {
	const shared = "../../../shared/envoy/"
	if _, err := os.Stat(shared); err != nil {
		t.Skip("the recorded configurations are not beside the repository: ", err)
	}
	sets := map[string][]string{}
	raw, _ := filepath.Glob(shared + "*.yaml")
	for _, file := range raw {
		sets[filepath.Base(file)] = []string{file}
	}
	sets["istio"], _ = filepath.Glob(shared + "istio/*.yaml")
	sets["envoy-gateway"], _ = filepath.Glob(shared + "envoy-gateway/*.yaml")
	if len(sets) < 9 {
		t.Fatalf("only %d configurations in %s", len(sets), shared)
	}
	mutations := map[string][]mutation{"istio": istioMutations, "envoy-gateway": gatewayMutations}
	for name, files := range sets {
		t.Run(name, func(t *testing.T) {
			all := mutations[name]
			switch {
			case all != nil:
			case strings.Contains(name, "extauthz"):
				all = authzMutations
			default:
				all = envoyMutations
			}
			if n := mutate(t, all, Options{}, func(t *testing.T) configuration { return load(t, files...) }); n < 10 {
				t.Errorf("only %d mutations apply, want ten", n)
			} else {
				t.Logf("%d mutations, each named", n)
			}
		})
	}
}

// What only looks on and a budget that enforces are judged together where both are among the files.
func testBudgets(t *testing.T) {
	const enforces, observed = "kind: Budget\nname: strict\nlimit: 5 USD\nmode: enforce\n", "kind: Budget\nname: seen\nlimit: 5 USD\nmode: observe\n"
	for _, tt := range []struct {
		file, documents string
		want            int
	}{
		{"envoy-observe.yaml", enforces, 1},
		{"envoy-observe.yaml", "kind: Budget\nname: strict\nlimit: 5 USD\n", 1}, // which enforces, where nothing is said
		{"envoy-observe.yaml", observed, 0},
		{"envoy-observe.yaml", observed + "---\n" + enforces, 1},
		{"envoy-full.yaml", enforces, 0},
	} {
		text, err := os.ReadFile(own + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		report, err := Lint([]Source{{tt.file, text}, {"budgets.yaml", []byte(tt.documents)}}, Options{Complete: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Findings) != tt.want || tt.want > 0 && (report.Findings[0].Rule != observerEnforced || report.Findings[0].File != "budgets.yaml") {
			t.Errorf("%s with %q: %+v", tt.file, tt.documents, report)
		}
		if tt.want > 0 {
			seen.Store(observerEnforced, true)
		}
	}
}
