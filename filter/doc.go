// Package filter is what Envoy talks to: the external processor that sees every
// call, the authorization service that sees its request, and the access log service that tells how calls ended.
//
// One call is one gRPC stream and one [Call] value, filled phase by phase:
//
//	stream.go    the stream: one message in, one answer out, and the end, however it comes
//	identify.go  request headers → API, provider, subject, decision id
//	decide.go    request body    → what is asked, the decision, and its answer: pass, rewrite or refuse
//	observe.go   response        → decoded, metered, forwarded
//	watch.go     a streamed answer whose cost a policy watches, extended or ended
//	settle.go    the end         → what it cost and why it ended
//	attempt.go   one try at one upstream, a stream of its own from the filter in the cluster
//	carry.go     what travels with the call in Envoy's dynamic metadata
//	mutation.go  the answers in Envoy's terms
//	accesslog.go the access log service: how calls ended, and which passed without the filter
//	authz.go     a call whose request alone is asked about, by ext_authz, in the same phases
//	change.go    mode fast: a call that ext_authz asked about and whose body has to change
//	logged.go    the end of a call whose answer does not pass here, from its access log entry
//	extracted.go what Envoy's filter found in that answer, for the format's reader
//	passive.go   mode observe: a call that Envoy does not hold for the filter; missed.go finds those that it did not come to read
//	checks.go    who still has to hear that this replica drains
//
// The filter refuses to know prices, limits and rules (packages pricing and
// budget) and provider formats (the packages below wire). It holds no state
// between calls: what must survive it travels in Envoy's dynamic metadata.
//
// Two facts about Envoy shape this package, both proven on 1.40:
//   - A processor that ends a stream with OK makes Envoy pass the rest through,
//     unmetered, whatever failure_mode_allow says. So Process returns an error, always; only a call in
//     mode observe has nothing that could pass, and its stream may end well.
//   - How a stream ends does not say whether the call succeeded. A call is complete
//     when a terminal marker was seen: the end of the response body, its trailers, or
//     headers that end the stream. Anything else was cut.
package filter
