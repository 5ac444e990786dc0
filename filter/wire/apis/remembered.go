package apis

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"keel/filter/wire"
)

// Most calls have a request line and a host that calls before them had. What was found for these is remembered in tables of fixed
// size, as clients choose the names: a newer entry takes the place of an older one.
var (
	codecs    table[wire.Codec]
	providers table[string]
)

type table[V any] [256]atomic.Pointer[entry[V]]

type entry[V any] struct {
	key   key
	value V
}

// key is a request line, or a host as its path.
type key struct{ provider, method, path string }

// maxRemembered is the longest key that is remembered, in bytes.
const maxRemembered = 160

var seed = maphash.MakeSeed()

// get returns what was put under a key, or what find finds, which is remembered where it says so.
func (t *table[V]) get(k key, find func(key) (V, bool)) (v V, ok bool) {
	place := &t[maphash.Comparable(seed, k)%uint64(len(t))]
	if e := place.Load(); e != nil && e.key == k {
		return e.value, true
	}
	if v, ok = find(k); ok && len(k.provider)+len(k.method)+len(k.path) <= maxRemembered {
		// The names may be parts of a message whose memory is used again.
		k = key{strings.Clone(k.provider), strings.Clone(k.method), strings.Clone(k.path)}
		place.Store(&entry[V]{k, v})
	}
	return v, ok
}
