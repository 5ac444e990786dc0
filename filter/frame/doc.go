// Package frame reads and writes the messages of Envoy's external processor, and the checks of ext_authz, as they stand in gRPC frames, without reflection:
// a third of what a processor that does nothing costs is spent on that by the generic codec.
//
// Of access logs it makes lines, values of its own with what package filter reads, in memory that the next message uses again: Envoy tells of
// a call all that it knows, most of which nobody asks for.
//
// It knows the fields that Envoy 1.40 sends and that Keel writes. A message with anything else in it, or with anything twice or
// malformed, goes to the generic codec, which so decides everything that is not plain; it is also the oracle of the fuzz
// targets. It refuses to interpret: what a message means is for package filter.
package frame
