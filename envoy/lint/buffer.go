package lint

import "strings"

const (
	// leastBuffer is what a connection to the processor must be able to hold where attempts pass it: more than comes together while
	// nobody reads.
	leastBuffer = 1 << 30

	// defaultWindow is Envoy's own initial_stream_window_size, by which it also bounds what it keeps for a stream.
	defaultWindow = 16 << 20
)

// judgeFull finds where Envoy may come to the limit of what it keeps for a processor that attempts pass. It holds back the provider of an attempt
// then, which has none before its connection is made (UpstreamCodecFilter::onAboveWriteBufferHighWatermark of Envoy 1.40).
func (l *linter) judgeFull(f *filter) {
	if !f.upstream {
		return
	}
	name := f.processor()
	if cluster := l.clusters[name]; cluster != nil {
		l.judgeBuffers(cluster, "cluster "+name)
		return
	}
	host := name[strings.LastIndexByte(name, '|')+1:]
	if host == name { // Envoy Gateway makes it, by a policy: see judgePolicy
		return
	}
	for _, p := range l.patches {
		if p.applyTo == "CLUSTER" && p.concerns(host) && p.value.get("per_connection_buffer_limit_bytes") != nil {
			l.judgeBuffers(p.value, "the cluster of "+host)
			return
		}
	}
	l.absent(processorFull, f.node, "no EnvoyFilter of these files raises the per_connection_buffer_limit_bytes of the cluster of %s: 1 MiB", host)
}

func (l *linter) judgeBuffers(cluster *node, name string) {
	l.judgeAmount(cluster, "per_connection_buffer_limit_bytes", leastBuffer, "1 MiB", name)
	at := cluster.at("typed_extension_protocol_options")
	for _, o := range cluster.get("typed_extension_protocol_options").values() {
		if o.typeName() == msgOptions {
			at = o.at("explicit_http_config", "http2_protocol_options")
		}
	}
	l.judgeAmount(at, "initial_stream_window_size", defaultWindow+1, "16 MiB", name)
}

// judgeAmount wants a number of bytes in a field, whose default is too little.
func (l *linter) judgeAmount(n *node, field string, least uint64, missing, name string) {
	v := n.get(field)
	if v == nil {
		l.find(processorFull, n.at(field), "%s has no %s: %s", name, field, missing)
	} else if bytes, ok := v.quantity(); ok && bytes < least {
		l.find(processorFull, v, "%s of %s is %s", field, name, v.text())
	}
}

// judgeBackendBuffers does the same for the cluster that Envoy Gateway makes of an ext_proc.
func (l *linter) judgeBackendBuffers(n *node, name string) {
	l.judgeAmount(n.at("backendSettings", "connection"), "bufferLimit", leastBuffer, "1 MiB", name)
	l.judgeAmount(n.at("backendSettings", "http2"), "initialStreamWindowSize", defaultWindow+1, "64 KiB", name)
}
