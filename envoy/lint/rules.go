package lint

// A Severity says how bad it is.
type Severity string

const (
	// Error: calls pass unmetered or uncharged, are charged wrongly, or fail for no reason of their own.
	Error Severity = "error"
	// Warning: it works, worse than it could, or until something else goes wrong.
	Warning Severity = "warning"
)

// A Rule is one unsafe combination. Its ID is a contract.
type Rule struct {
	ID       string
	Severity Severity
	Danger   string // what can happen
	Fix      string
}

// Rules are all rules, in the order of the documentation.
func Rules() []Rule { return append([]Rule(nil), rules...) }

func ruleOf(id string) Rule {
	for _, r := range rules {
		if r.ID == id {
			return r
		}
	}
	panic("lint: no rule " + id) // a mistake in this package, which its tests find
}

// The rules by what they are about.
const (
	notAttached        = "not-attached"
	routeNotCovered    = "route-not-covered"
	pathsNotCovered    = "paths-not-covered"
	failsOpen          = "ext-proc-fails-open"
	observesOnly       = "ext-proc-observes-only"
	twice              = "ext-proc-twice"
	phaseMissing       = "ext-proc-phase"
	metadataLost       = "metadata-lost"
	headersSkipped     = "headers-skipped"
	requestBody        = "request-body-mode"
	responseBody       = "response-body-mode"
	trailersSkipped    = "response-trailers-skipped"
	modeOverride       = "mode-override-missing"
	contentLength      = "content-length-dropped"
	messageTimeout     = "message-timeout-short"
	statusOnError      = "status-on-error-missing"
	nodeAttribute      = "xds-node-attribute"
	attemptAttributes  = "attempt-number-missing"
	istioName          = "istio-filter-name"
	decompressorHangs  = "decompressor-hangs"
	decompressorFirst  = "decompressor-first"
	trailersHang       = "synthesized-trailers-hang"
	bufferSmall        = "buffer-limit-small"
	duplexRetried      = "full-duplex-retried"
	attemptsUnseen     = "attempts-unseen"
	aggregateMembers   = "aggregate-members-filtered"
	credentialFirst    = "credential-before-filter"
	attemptCount       = "attempt-count-missing"
	fallbackUnlabeled  = "fallback-unlabeled"
	targetKept         = "target-header-kept"
	targetTrusted      = "target-header-trusted"
	clientRoutes       = "route-by-client-header"
	accessLogMissing   = "access-log-missing"
	accessLogSampled   = "access-log-sampled"
	accessLogState     = "access-log-filter-state"
	breakerDefault     = "breaker-default"
	processorUnchecked = "processor-unchecked"
	processorUnretried = "processor-not-retried"
	processorRetried   = "processor-asked-twice"
	streamLimited      = "processor-stream-limited"
	processorTimeout   = "processor-timeout-short"
	processorFull      = "processor-buffer-full"
	processorCleartext = "processor-cleartext"
	processorUnknown   = "processor-unverified"
	authzFailsOpen     = "ext-authz-fails-open"
	authzSampled       = "ext-authz-sampled"
	authzBody          = "ext-authz-body-missing"
	usageUnseen        = "usage-unseen"
	changeMissing      = "change-missing"
	routeKept          = "authz-route-kept"
	claimsUnseen       = "claims-unseen"

	observerEnforced    = "observe-with-enforce"
	observerFailsClosed = "observe-fails-closed"
	observerBody        = "observe-body-mode"
	observerUnmatched   = "observe-unmatched"
	observerCluster     = "observe-cluster-missing"
	accessLogName       = "access-log-name"
	mirrored            = "mirror-unmetered"
	hedged              = "hedge-unseen"
	hedgedAnswers       = "hedge-after-answer"
)

var rules = []Rule{
	{notAttached, Error, "Nothing of what passes is held, charged or denied.", "Attach Keel: keel envoy config."},
	{routeNotCovered, Error, "Calls on this way reach a provider without a decision, and nothing is charged.", "Let the filter run on every way to a provider; in Envoy Gateway attach the policy to the Gateway, not to an HTTPRoute."},
	{pathsNotCovered, Warning, "A call to any other path reaches a provider without a decision.", "Leave paths, hosts and methods out: what is not an LLM call passes in any case."},
	{failsOpen, Error, "While the processor is away or broken, calls pass unmetered.", "failure_mode_allow: false (failOpen: false), which is the default."},
	{observesOnly, Error, "Envoy does not wait for an answer: no hold, no denial, no rewrite, whatever a budget says.", "Leave observability_mode (shadowMode) out; where only looking on is meant, keel envoy config --mode observe says so."},
	{twice, Error, "Every call is decided, held and charged twice.", "One filter before the router."},
	{phaseMissing, Error, "Keel takes attempts for calls of their own, and charges them twice, or calls for attempts, and decides nothing.", "grpc_service.initial_metadata: [{key: x-keel-phase, value: router}] in the listener, upstream in a cluster."},
	{metadataLost, Error, "The decision does not travel with the call: attempts are not held or charged, and the access log can't be matched.", "metadata_options: forwarding_namespaces and receiving_namespaces with untyped: [keel]."},
	{headersSkipped, Error, "The processor never learns of the call, or of its answer.", "request_header_mode: SEND, response_header_mode: SEND."},
	{requestBody, Error, "A call is decided before its body is known, or without it, and can't be rewritten as a whole.", "request_body_mode: BUFFERED."},
	{responseBody, Error, "Usage is not seen (NONE), streams are held back and fail past the buffer limit (BUFFERED), or chunks are lost when a processor ends (FULL_DUPLEX_STREAMED).", "response_body_mode: STREAMED."},
	{trailersSkipped, Error, "A response with trailers ends without a mark, as an aborted one does, and is charged by an estimate.", "response_trailer_mode: SEND; in Envoy Gateway by the EnvoyPatchPolicy that keel envoy config writes."},
	{modeOverride, Error, "Everything that is not an LLM call is streamed through the processor, small answers leave without their cost, and what a failed attempt was billed is not seen.", "allow_mode_override: true."},
	{contentLength, Warning, "Answers lose their content-length and are chunked, which some clients can't take.", "allow_content_length_header: true."},
	{messageTimeout, Error, "A decision may take 2 s, when a lease is fetched or Postgres fails over. Envoy gives up before that (200 ms by default, at once for 0 s): 504, or a stream that is cut.", "message_timeout: 5s (messageTimeout, for ext_authz grpc_service.timeout)."},
	{statusOnError, Warning, "While the processor is away applications get 500 (ext_authz: 403), which reads like a fault of their own.", "status_on_error: {code: ServiceUnavailable} (statusOnError: 503)."},
	{nodeAttribute, Warning, "84 kB of text go to the processor with every call.", "Leave xds.node out of the attributes."},
	{attemptAttributes, Error, "Attempts can't be told apart: the second is taken for the first, and what that cost is lost.", "request_attributes with upstream.request_attempt_count."},
	{istioName, Error, "Istio inserts a filter of this name by itself for InferencePools: one of the two is lost.", "Another name: keel.ext_proc."},
	{decompressorHangs, Error, "Every compressed response hangs until its timeout (envoyproxy/envoy#21205).", "No decompressor behind the processor: Keel removes accept-encoding and decodes what comes compressed."},
	{decompressorFirst, Warning, "The processor sees the compressed bytes all the same: responses pass the list from its end.", "No decompressor: Keel removes accept-encoding and decodes what comes compressed."},
	{trailersHang, Error, "Responses hang: a filter adds trailers while the processor holds the last chunk.", "usage_signal: NONE (the default), or response_body_mode: NONE."},
	{bufferSmall, Error, "A request body past the limit is answered with 413 before Keel sees it. Long conversations and images are more than 1 MiB; Envoy Gateway's default is 32 KiB.", "request_body_buffer_limit of the routes or per_connection_buffer_limit_bytes of the listener: 33554432 (ClientTrafficPolicy: connection.bufferLimit: 32Mi)."},
	{duplexRetried, Error, "A retried request with trailers sends its body twice, and one over the buffer limit is not retried (envoyproxy/envoy#45470).", "request_body_mode: BUFFERED."},
	{attemptsUnseen, Error, "A try that failed may have been billed. The filter before the router sees only the last one, and charges only that.", "Mode attempts: the filter keel.ext_proc.attempt in http_filters of the cluster; or retry only on connect-failure, refused-stream and reset-before-request."},
	{aggregateMembers, Error, "Envoy does not run the filters of an aggregate's members: attempts are not held or charged.", "http_filters on the aggregate cluster itself."},
	{credentialFirst, Error, "Keel removes the credential where it sends a call to another provider, and what is signed may be rewritten after it: the provider refuses the call.", "credential_injector and aws_request_signing behind Keel's filter, in the cluster of their provider."},
	{attemptCount, Warning, "Neither the filter in the cluster nor a provider can see by a header which try of a call it has.", "include_request_attempt_count: true on the virtual host."},
	{fallbackUnlabeled, Error, "An attempt at this endpoint is charged by the prices of the call's first target, whoever answers it.", "metadata: {filter_metadata: {keel: {provider: NAME, model: NAME}}} on the endpoint."},
	{targetKept, Warning, "A provider is told where Keel sends calls.", "request_headers_to_remove: [x-keel-target] on the route."},
	{targetTrusted, Error, "The header is read where it is still what the client sent: the client chooses where its call goes.", "Read x-keel-target only in routes that the filter runs on."},
	{clientRoutes, Warning, "The client chooses the provider, whatever Keel decided and charged by.", "Match routes on x-keel-target, which Keel overwrites, or remove the header before the filter."},
	{accessLogMissing, Error, "Why a call ended, how often it was tried, and which calls no filter saw stays unknown.", "envoy.access_loggers.http_grpc to Keel's port (Telemetry with an envoyHttpAls provider; EnvoyProxy with a sink of type ALS)."},
	{accessLogSampled, Warning, "Calls that the log leaves out can't be found when they went by unmetered.", "No filter on Keel's access log."},
	{accessLogState, Warning, "Whether the filter failed open for a call is not told.", "custom_tags with keel.failed_open: %FILTER_STATE(NAME-OF-THE-FILTER:FIELD:failed_open)%, or filter_state_objects_to_log with that name (filterStateObjectsToLog)."},
	{breakerDefault, Error, "Every call in flight holds one stream. Past 1024 of them, Envoy's default, calls are answered with 500.", "circuit_breakers with max_requests and max_pending_requests far above the calls in flight (circuitBreaker: maxParallelRequests, maxPendingRequests)."},
	{processorUnchecked, Warning, "A replica that is gone or drains still gets calls, which fail.", "health_checks with grpc_health_check on the processor's cluster (backendSettings.healthCheck.active)."},
	{processorUnretried, Warning, "When a connection to the processor grows old or a replica drains, what Envoy sends at that moment is refused, and the call fails; so it does while a replica is gone that no health check has missed yet.",
		"grpc_service.retry_policy: {retry_on: \"connect-failure,refused-stream,reset-before-request\", num_retries: 2, retry_back_off: {base_interval: 0.005s, max_interval: 5s}}."},
	{processorRetried, Error, "What the processor may have read is sent to it again: one call is decided, held and charged as two.", "retry_on with nothing but connect-failure, refused-stream and reset-before-request in grpc_service.retry_policy."},
	{streamLimited, Error, "The stream to the processor ends with the limit, and the call that is longer is cut.", "No max_stream_duration on the processor's cluster."},
	{processorTimeout, Warning, "A stream to the processor lasts as long as its call. Envoy 1.40 does not apply this limit to it; a version that does would cut longer calls.", "grpc_service.timeout: 0s, and an idle_timeout of minutes on the cluster."},
	{processorFull, Error, "Envoy dies (1.40, segmentation fault) when it comes to this limit while an attempt waits for its connection: a request of 1 MiB, or a processor that hangs, is enough.", "In mode attempts, on the processor's cluster: per_connection_buffer_limit_bytes: 4294967295, and http2_protocol_options with an initial_stream_window_size of twice the longest request: 67108864 (backendSettings: connection.bufferLimit: 4294967295, http2.initialStreamWindowSize: 64Mi)."},
	{processorCleartext, Warning, "Whoever is on the way reads prompts, and can answer as Keel: let calls pass, and send them elsewhere.", "TLS with a certificate of Envoy's own: keel envoy config --tls (a DestinationRule with mode MUTUAL or ISTIO_MUTUAL), or a socket, unix:PATH."},
	{processorUnknown, Warning, "Envoy takes any server for Keel whose certificate somebody signed, or any at all.", "A validation context with trusted_ca and match_typed_subject_alt_names: keel envoy config --tls."},
	{authzFailsOpen, Error, "While the processor is away or broken, calls pass unmetered.", "failure_mode_allow: false (failOpen: false), which is the default."},
	{authzSampled, Error, "Calls that the fraction leaves out pass unmetered.", "No filter_enabled."},
	{authzBody, Error, "A call is decided without its model and its size.", "with_request_body (includeRequestBodyInCheck, bodyToExtAuth)."},
	{observerEnforced, Error, "The budget denies nothing: calls go on past its limit, and are only counted.", "Mode attempts or full, or mode: observe in the budget."},
	{observerFailsClosed, Error, "A processor that is away would stop the traffic that it only looks at.", "failure_mode_allow: true beside observability_mode: true."},
	{observerBody, Error, "In observability mode Envoy sends bodies in pieces or not at all: the call, or its answer, is not seen.", "request_body_mode: STREAMED, response_body_mode: STREAMED."},
	{observerUnmatched, Warning, "The access log can't be matched with what the filter saw: a call that it missed may not be found.", "request_attributes with request.id and request.time."},
	{observerCluster, Error, "Envoy has no such cluster: calls pass, and nothing of them is seen.", "The name that Envoy Gateway gives the cluster of the access log: accesslog_als_SETTINGS_SINK, each counted from 0 in the EnvoyProxy."},
	{accessLogName, Error, "Keel reads the log as that of another mode: calls are not matched, and counted as unmetered.", "log_name: keel_observe for mode observe, keel for all others."},
	{mirrored, Error, "A provider bills the copies. No filter, no budget and no access log sees them.", "No request_mirror_policies on routes to providers; try a model by a Route of Keel, or by keel replay."},
	{hedged, Error, "A second try begins while the first goes on, after whatever condition: both are billed, and the filter before the router sees one.", "Mode attempts, whose filter in the cluster sees each try, and max_attempts of the settings at as many as are wanted; or no hedge_policy."},
	{hedgedAnswers, Error, "Envoy dies (1.40, segmentation fault) when an attempt is answered by what is tried again after, an error most often, while the one beside it goes on: it goes on with an answer that it has dropped.", "On a route with a hedge_policy, retry_on with none but connect-failure, refused-stream, reset and reset-before-request; or no hedge_policy."},
	{usageUnseen, Error, "Answers do not pass Keel (ext_authz, x-keel-phase: light): without Envoy's own extraction nothing says what a call used, and all is estimated.", "The filter keel.usage before the router, as keel envoy config writes it; or json_to_metadata and sse_to_metadata, into the namespace keel.usage."},
	{changeMissing, Error, "Calls whose body has to change go nowhere: they are answered with 404, or fail.", "The filter keel.ext_proc.change behind that of ext_authz, left out for other targets than keel/, as keel envoy config --mode fast writes it; or no x-keel-phase: fast, and Keel denies such calls."},
	{routeKept, Error, "A call goes by the route that it came with, whatever Keel decided: to the wrong provider, or to none.", "clear_route_cache: true (recomputeRoute). Istio leaves out clearRouteCache of MeshConfig: the EnvoyFilter that keel envoy config --custom-policy writes."},
	{claimsUnseen, Warning, "Tokens are verified after Keel was asked: it sees no claims, and subjects that are read from them are missing.", "The filter that verifies tokens in front of Keel's. Istio makes checks by an AuthorizationPolicy of action CUSTOM before that: keel envoy config without --custom-policy."},
}
