// Package encoding undoes the content-encoding of a response while it arrives:
// gzip, deflate, br, zstd, and stacks of them.
//
// Why the processor has to do this itself: Envoy's decompressor filter cannot
// stand where it would help. In front of the processor in the encode path
// (listed behind it) every gzip response hangs, because the decompressor adds
// trailers at the end of the stream while ext_proc holds the last chunk
// (envoyproxy/envoy#21205, seen on 1.40 in every body mode but observability);
// listed the other way round the processor sees the compressed bytes; and in an
// upstream filter chain there is no decompressor at all. So Keel removes
// accept-encoding from the request, and what a provider still compresses is
// decoded here.
//
// The decoder is pushed: each Write returns the plain bytes that have become
// known, so that usage in an event stream is read when the event comes. It
// refuses to guess: an encoding that it does not know is an error, and so is
// output out of proportion to its input.
package encoding
