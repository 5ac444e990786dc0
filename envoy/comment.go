package envoy

import (
	"path"
	"slices"
	"strings"
)

// A comment is why a setting is as it is. It is written once, at the first place that
// its pattern matches.
type comment struct {
	at    string // the last fields that lead to it, by "."; a step may be a path.Match pattern
	text  string
	value any // written where it is missing, since its default is meant
}

func (c comment) steps() []string { return strings.Split(c.at, " ") }

func (c comment) field() string {
	steps := c.steps()
	return steps[len(steps)-1]
}

func (c comment) matches(steps []string) bool {
	want := c.steps()
	if len(steps) < len(want) {
		return false
	}
	return slices.EqualFunc(want, steps[len(steps)-len(want):], func(pattern, step string) bool {
		ok, err := path.Match(pattern, step)
		return err == nil && ok
	})
}

const (
	atRouter   = `*\[` + PhaseRouter + `\] `
	atAttempt  = `*\[` + PhaseUpstream + `\] `
	atObserver = `*\[` + PhaseObserve + `\] `
	atAuthz    = `*\[` + AuthzFilterName + `\] typed_config* `
	atReroute  = `*\[` + istioAuthzFilter + `\] typed_config `
	atLight    = `*\[` + PhaseLight + `\] `
	atChange   = `*\[` + PhaseChange + `\] `
)

// comments of what Envoy itself reads; those of manifests follow in manifestComments.
var comments = []comment{
	{at: `*\[` + FilterName + `\] typed_config*`, text: "The last before the router that changes a request. Its name is not Envoy's own, under which Istio inserts another."},
	{at: atRouter + "grpc_service timeout", text: "A stream lasts as long as its call."},
	{at: atRouter + "grpc_service initial_metadata", text: "Both filters call one service, and say here which of them calls."},
	{at: atRouter + "failure_mode_allow", text: "A processor that fails must not mean free calls.", value: false},
	{at: atRouter + "processing_mode request_body_mode", text: "A call is priced, and may be rewritten, whole."},
	{at: atRouter + "processing_mode response_body_mode", text: "Chunks go on as they come."},
	{at: atRouter + "processing_mode response_trailer_mode", text: "Without it a response with trailers ends without a mark, which looks like an abort."},
	{at: atRouter + "message_timeout", text: "Above the 2s that a decision may take. Envoy's default is 200ms."},
	{at: atRouter + "status_on_error", text: "What an application gets while no processor answers; Envoy's default is 500."},
	{at: atRouter + "request_attributes", text: "Not xds.node, which is 84 kB with every call."},
	{at: atRouter + "allow_mode_override", text: "Calls that are not to an LLM are not sent to Keel; small answers wait for their cost."},
	{at: atRouter + "allow_content_length_header", text: "Else every answer is chunked, and its length is lost."},
	{at: atRouter + "metadata_options", text: "The decision travels with the call in the metadata of this name."},
	{at: atRouter + "mutation_rules", text: "Keel may change the path, which has the model in some APIs; not the host, and not what steers Envoy."},

	{at: atObserver + "observability_mode", text: "Envoy sends what passes, and waits for nothing: no hold, no denial, no change."},
	{at: atObserver + "failure_mode_allow", text: "Nothing that happens to the processor happens to a call."},
	{at: atObserver + "deferred_close_timeout", text: "How long a processor that is behind may go on reading a call that is over. A client that leaves is noticed so much later."},
	{at: atObserver + "processing_mode request_body_mode", text: "In one piece a body would not be sent in this mode."},
	{at: atObserver + "request_attributes", text: "By the id and the time of a request the access log is matched with what the filter saw."},
	{at: atObserver + "grpc_service initial_metadata", text: "Says that looking on is meant."},
	{at: atLight + "grpc_service timeout", text: "A decision ends it; an idle connection does not."},
	{at: atLight + "grpc_service initial_metadata", text: "Keel is told that it sees requests only, so that the access log ends a call."},
	{at: atLight + "failure_mode_allow", text: "A processor that fails must not mean free calls.", value: false},
	{at: atLight + "processing_mode request_body_mode", text: "A call is priced, and may be rewritten, whole."},
	{at: atLight + "processing_mode response_header_mode", text: "Answers do not pass Keel: nothing waits for it but the request."},
	{at: atLight + "message_timeout", text: "Above the 2s that a decision may take. Envoy's default is 200ms."},
	{at: atLight + "status_on_error", text: "What an application gets while no processor answers; Envoy's default is 500."},
	{at: atLight + "allow_mode_override", text: "The body of a call that is not to an LLM is not sent to Keel."},
	{at: atLight + "metadata_options", text: "The decision travels with the call in the metadata of this name, to its end in the access log."},
	{at: atLight + "mutation_rules", text: "Keel may change the path, which has the model in some APIs; not the host, and not what steers Envoy."},

	{at: atAuthz + "grpc_service timeout", text: "Above the 2s that a decision may take. Envoy's default is 200ms."},
	{at: atAuthz + "with_request_body max_request_bytes", text: "A longer body is refused by Keel, or passed unmetered, by its settings."},
	{at: atAuthz + "with_request_body pack_as_bytes", text: "A body need not be UTF-8."},
	{at: atAuthz + "clear_route_cache", text: "The call is matched again when Keel has set its target."},
	{at: atAuthz + "failure_mode_allow", text: "A processor that fails must not mean free calls.", value: false},
	{at: atAuthz + "status_on_error", text: "What an application gets while no processor answers; Envoy's default is 403."},
	{at: atAuthz + "include_peer_certificate", text: "Subjects may be read from the names in it."},
	{at: atAuthz + "decoder_header_mutation_rules", text: "Keel may not change the host, and not what steers Envoy."},

	{at: atAuthz + "grpc_service initial_metadata", text: "Keel is told that a filter behind this one can change what has to be changed. Else it denies such calls."},
	{at: `*\[` + ChangeFilterName + `\] typed_config`, text: "Only calls whose body has to change pass it: the model, the most output, what policies fix. It does what was decided before it."},
	{at: `*\[` + ChangeFilterName + `\] typed_config xds_matcher`, text: "Keel gives such a call a target that no route leads to. Should this filter be missing or fail, the call goes nowhere."},
	{at: atChange + "grpc_service timeout", text: "A change ends it; an idle connection does not."},
	{at: atChange + "processing_mode request_header_mode", text: "Without the headers the length and the target of the changed request could not be set."},
	{at: atChange + "message_timeout", text: "Envoy's default is 200ms, which a body of megabytes may take."},
	{at: atChange + "failure_mode_allow", text: "What was not changed must not go out.", value: false},
	{at: atChange + "metadata_options", text: "The decision of the check before it, which Envoy keeps in the metadata of this name."},

	{at: atReroute + "clear_route_cache", text: "The call is matched again when Keel has set its target: Istio leaves out what MeshConfig says of that."},
	{at: `*\[` + UsageName + `\] typed_config`, text: "Reads what an answer says that it used, as it passes: it holds nothing back, changes nothing, and tells of a stream\nthat was cut what it saw."},
	{at: "response_headers_to_add", text: "What Keel says of a call in its answer, which does not pass Keel. A header without a value is left out."},
	{at: atAttempt + "processing_mode", text: "Headers only. Keel asks for the body of an attempt that failed, which says what was billed,\nand for a request whose endpoint is for another model."},
	{at: atAttempt + "failure_mode_allow", text: "An attempt that Keel can't hold money for is not made.", value: false},
	{at: atAttempt + "request_attributes", text: "Which attempt it is, and at whose endpoint."},
	{at: atAttempt + "metadata_options", text: "The decision comes with the attempt, and what it was charged goes to those after it."},

	{at: "*combined_validation_context default_validation_context", text: "Whom Envoy takes for Keel: a certificate of the authorities, with one of these names."},
	{at: "*tls_certificate_sds_secret_configs", text: "What Envoy shows to Keel. \"keel envoy config --tls-secret\" writes these files; Envoy takes new certificates without a restart."},
	{at: "access_log", text: "Always on: it says why each call ended, and finds calls that no filter saw."},
	{at: "common_config custom_tags", text: "Whether the filter failed open, and whether it was shown an answer. All of its state would cost Envoy a twentieth more a call."},
	{at: "common_config grpc_stream_retry_policy", text: "Kept, up to 64 kB, while no replica takes it: else what passed meanwhile would never be found."},
	{at: "grpc_service retry_policy", text: "What no replica had is tried again: what it is sent while a connection grows old, or it drains, is refused. Nothing that may\nhave been read is sent twice. Envoy takes max_interval for the most that a try may last, too."},
	{at: "use_remote_address", text: "What a client says of its own address is not believed."},
	{at: "stream_idle_timeout", text: "Reasoning models are silent for minutes."},
	{at: "request_timeout", text: "Until a request is whole, which Envoy keeps in memory: none may come in drops for ever."},
	{at: "normalize_path", text: "Keel and the provider have to read the same path."},
	{at: "enable_reuse_port", text: "A second Envoy on the same port would silently take half of the calls."},
	{at: "include_request_attempt_count", text: "Tells which try of a call a request is."},
	{at: "validate_clusters", text: "The last route leads to a cluster that does not exist, which Envoy answers itself."},
	{at: `routes\[*\] match headers`, text: "A call enters by the last route, and is matched again when Keel has set its target. A target that a\nclient made up is overwritten before anything is sent."},
	{at: "route retry_policy", text: "In modes full and light only after failures that no provider can have seen, let alone billed. In mode attempts\nany will do: each try is held and charged by itself."},
	{at: "route timeout", text: "A stream may take as long as it moves."},
	{at: "request_headers_to_remove", text: "A provider is told neither where a call goes nor who in the house makes it."},
	{at: "request_body_buffer_limit", text: "Past it a call is answered with 413. Envoy's default is 1 MiB, less than a long conversation."},
	{at: `routes\[` + unrouted + `\] route`, text: "Calls that Keel knows no target for. A direct response would be simpler, but has a body limit of 1 MiB."},
	{at: `clusters\[keel_*\] circuit_breakers`, text: "Every call in flight holds a stream for minutes. Past Envoy's default of 1024 calls are answered with 500."},
	{at: `clusters\[keel_*\] health_checks`, text: "A replica that drains says so here before it refuses streams."},
	{at: `clusters\[` + accessLogCluster + `\] type`, text: "A cluster of its own, so that neither can use up the other's connections."},
	{at: `clusters\[` + processorCluster + `\] per_connection_buffer_limit_bytes`, text: "What is kept for a processor that does not read, before calls wait for it: Envoy's default is 1 MiB. In mode attempts nothing\nmay wait: Envoy 1.40 dies where an attempt is held back that has no connection yet."},
	{at: "common_http_protocol_options max_connection_duration", text: "Certificates are shown again by then. Before the processor asks for it, within the hour: what Envoy is about to begin then is refused."},
	{at: "*http2_protocol_options connection_keepalive", text: "Finds a peer whose machine is gone while a call waits for it."},
	{at: `lb_endpoints metadata`, text: "Whose prices count for an attempt at this endpoint. An endpoint to fall back to needs provider and model."},
}
