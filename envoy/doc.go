// Package envoy writes Envoy configuration that sends LLM traffic through
// Keel's processor, and starts an Envoy with it.
//
// Bootstrap turns a Config into a whole static configuration: one listener; one
// external processor filter, last before the router, or ext_authz and filters that read usage; the access log sent to
// the same processor; and a route and a cluster for each provider. Start
// installs a pinned Envoy, has it check that configuration, and runs it.
//
// Render writes the same, with a comment at every setting that matters, for an Envoy that is
// already there: as a bootstrap, or as manifests for Istio and Envoy Gateway.
//
// It knows nothing of prices, budgets or wire formats: the processor decides, and
// says where a call goes in the header x-keel-target. It refuses what would let a call pass
// unmetered or an outsider reconfigure the proxy: there is no way to switch
// the filter off for a route, to let calls pass when the processor is away (but in mode observe, where it holds none up), or
// to open the admin interface beyond the loopback interface.
//
// # What to watch
//
// These counters of Envoy mean that calls went unmetered or were lost; each
// should stay at 0, or be explained (path /stats of the admin interface):
//
//	http.keel.ext_proc.keel.server_half_closed        the processor ended a stream in good order: the rest of that call was not metered
//	http.keel.ext_proc.keel.failure_mode_allowed      a call passed without the processor
//	http.keel.ext_proc.keel.streams_failed            the processor failed or could not be reached: the call was refused or cut
//	http.keel.ext_proc.keel.message_timeouts          the processor did not answer in time: the call was refused or cut
//	cluster.keel_processor.upstream_rq_active_overflow  a call was refused as too many were in flight
package envoy
