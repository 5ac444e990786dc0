package bpe

import "sync/atomic"

// memo remembers the counts of pieces. A slot is the upper 56 bits of the piece's hash
// and 8 bits of count; the lower bits of the hash are its place. Readers and
// writers need no lock, as a slot is one word: whoever comes last stays.
type memo []atomic.Uint64

// memoSlots are half a megabyte. Prose and code of 300 KB have some ten thousand
// different pieces.
const memoSlots = 1 << 16

// maxRemembered is the highest count that a slot holds.
const maxRemembered = 1<<8 - 1

func newMemo() memo { return make(memo, memoSlots) }

// count is that of the piece with this hash, or 0.
func (m memo) count(hash uint64) uint64 {
	e := m[hash&(memoSlots-1)].Load()
	if (e^hash)>>8 != 0 {
		return 0
	}
	return e & maxRemembered
}

func (m memo) remember(hash, count uint64) {
	if count <= maxRemembered {
		m[hash&(memoSlots-1)].Store(hash&^maxRemembered | count)
	}
}
