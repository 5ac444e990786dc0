package lint

import (
	"net/netip"
)

// judgeTransport judges how the processor is spoken to where that is another machine.
func (l *linter) judgeTransport(cluster *node, name string) {
	address := l.remote(cluster, name)
	if address == nil || len(cluster.get("transport_socket_matches").list()) > 0 { // those of a mesh go by what an endpoint says of itself
		return
	}
	socket := cluster.get("transport_socket", "typed_config")
	if socket == nil || socket.typeName() == msgRawBuffer {
		l.find(processorCleartext, address, "cluster %s goes to %s in clear text", name, address.text())
		return
	}
	if socket.typeName() != msgUpstreamTLS || socket.get("auto_sni_san_validation").yes() {
		return
	}
	common := socket.get("common_tls_context")
	validation, trusted := common.get("validation_context"), common.get("validation_context", "trusted_ca") != nil
	if combined := common.get("combined_validation_context"); combined != nil {
		validation = combined.get("default_validation_context")
		trusted = validation.get("trusted_ca") != nil || combined.get("validation_context_sds_secret_config") != nil
	} else if common.get("validation_context_sds_secret_config") != nil {
		return // what it checks is not among the files
	}
	switch {
	case !trusted:
		l.find(processorUnknown, common.at("combined_validation_context", "default_validation_context"), "the certificate of cluster %s is checked against no authority", name)
	case len(validation.get("match_typed_subject_alt_names").list())+len(validation.get("match_subject_alt_names").list()) == 0:
		l.find(processorUnknown, common.at("combined_validation_context", "default_validation_context"), "the certificate of cluster %s may have any name", name)
	}
}

// remote is the first address of a cluster that is on another machine, nil if there is none.
func (l *linter) remote(cluster *node, name string) *node {
	for _, assignment := range []*node{cluster.get("load_assignment"), l.assignments[name]} {
		for _, locality := range assignment.get("endpoints").list() {
			for _, endpoint := range locality.get("lb_endpoints").list() {
				address := endpoint.get("endpoint", "address", "socket_address", "address")
				ip, err := netip.ParseAddr(address.text())
				if address == nil || address.is("localhost") || err == nil && ip.IsLoopback() {
					continue
				}
				return address
			}
		}
	}
	return nil
}
