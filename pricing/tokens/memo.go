package tokens

import (
	"hash/maphash"
	"sync/atomic"
)

// tools remembers counts of tool definitions.
var tools toolMemo

// toolMemo is a table of fixed size in which a newer entry takes the place of an
// older one. Each slot is two words that must agree, so that readers and writers
// need no lock: a slot caught half written is a miss.
type toolMemo [4096]struct{ check, value atomic.Uint64 }

// get returns what was put under key.
func (m *toolMemo) get(key uint64) (toolCount, bool) {
	slot := &m[key%uint64(len(m))]
	value := slot.value.Load()
	if value == 0 || slot.check.Load()^value != key {
		return toolCount{}, false
	}
	return toolCount{int64(value >> 1 & countMask), int64(value >> 25 & countMask), int64(value >> 49 & memberMask), value&1 != 0}, true
}

// countMask is the most tokens that a slot can hold of each count, memberMask the most members.
const countMask, memberMask = 1<<24 - 1, 1<<15 - 1

func (m *toolMemo) put(key uint64, t toolCount) {
	if t.rendered > countMask || t.compact > countMask || t.members > memberMask {
		return
	}
	value := uint64(t.rendered)<<1 | uint64(t.compact)<<25 | uint64(t.members)<<49
	if t.nested {
		value |= 1
	}
	slot := &m[key%uint64(len(m))]
	slot.value.Store(value)
	slot.check.Store(key ^ value)
}

// seed keeps clients from choosing definitions that collide.
var seed = maphash.MakeSeed()

func toolKey(json []byte, v vocabulary) uint64 {
	return maphash.Bytes(seed, json) ^ uint64(v)*0x9e3779b97f4a7c15
}
