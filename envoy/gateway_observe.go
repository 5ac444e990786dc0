package envoy

// GatewayLogCluster is what Envoy Gateway names the cluster of the first sink of an EnvoyProxy's first settings.
const GatewayLogCluster = "accesslog_als_0_0"

// gatewayObserver is mode observe for Envoy Gateway. No policy of a route is written, and none replaces the filter: it is put
// into the listener itself, so it sees what any route takes, and nothing else is changed. It calls Keel by the cluster that Envoy
// Gateway makes for the access log, with whatever TLS and endpoints that has.
func (a Attachment) gatewayObserver(b *builder) ([]byte, error) {
	b.processorCluster = GatewayLogCluster
	processor, backend := a.gatewayProcessor()
	var all []document
	if backend != nil {
		all = append(all, document{body: backend, head: a.gatewayProcessorHead()})
	}
	log := a.gatewayLog(b, processor, b.gatewaySettings(b.processorCluster))
	log.head = append(log.head,
		"Where the Gateway has an EnvoyProxy, take the sink over into it: the filter finds Keel by the name of the sink's cluster,",
		"accesslog_als_SETTINGS_SINK, each counted from 0. Without such a cluster calls pass, and nothing of them is seen.")
	patches, err := a.gatewayFilters(b.filters())
	if err != nil {
		return nil, err
	}
	logged, err := b.gatewayLogPatches(a, FilterName)
	if err != nil {
		return nil, err
	}
	return a.gatewayDocuments(b, append(all, log,
		a.gatewayPatchPolicy(append(patches, logged...), "The filter before the router; routes and their policies stay as they are.")))
}
