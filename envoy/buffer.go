package envoy

import "math"

// processorBuffers are how many bytes Envoy keeps for a processor that does not read, before it holds back what it sends.
type processorBuffers struct {
	stream     uint32 // of one call or attempt: Envoy takes the HTTP/2 window that it gives a stream for this, too
	connection uint32 // of all on a connection
}

// buffers of a cluster that leads to the processor are what its mode needs; nil for Envoy's own, 16 MiB and 1 MiB. A processor that does not read
// at all loses its connection after pingEvery and pingWait, and with it all that was kept.
//
// In mode attempts nothing must ever be held back: Envoy 1.40 dies where an attempt still waits for its connection, since there is no provider yet
// to hold back (UpstreamCodecFilter::onAboveWriteBufferHighWatermark). What a stream may take there is a whole request, which Keel asks for when
// an endpoint is for another model; what it takes of an answer Envoy bounds by itself, by as much as a request may have.
func (b *builder) buffers(cluster string) *processorBuffers {
	switch {
	case b.Mode == ModeObserve:
		return &processorBuffers{stream: observerBuffer, connection: observerBuffer}
	case b.Mode == ModeAttempts && cluster != accessLogCluster:
		return &processorBuffers{stream: uint32(min(max(2*b.RequestLimit, observerBuffer), math.MaxInt32)), connection: math.MaxUint32}
	}
	return nil
}

// observerBuffer is for mode observe, in which Envoy holds the traffic back past it (proven on 1.40, for all that this mode waits
// for nothing).
const observerBuffer = 64 << 20
