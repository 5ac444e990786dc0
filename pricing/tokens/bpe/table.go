package bpe

import "math/bits"

// none is the rank of what is no token: above all ranks of 18 bits, so that the lowest rank of
// some pairs is a minimum.
const none = 1<<20 - 1

// pairs finds what two tokens merge into: an open hash table whose entries are the
// left rank, the right rank and their token's, 18 bits each; 0 is free, for no token
// of two has rank 0. Each token has one pair only: see lastMerge in internal/pack.
type pairs struct{ entries []uint64 }

const rankBits = 18

func newPairs(n int) pairs {
	if n >= 1<<rankBits {
		panic("bpe: more tokens than a rank has bits for")
	}
	return pairs{make([]uint64, slotsFor(n))}
}

// slotsFor is how large an open hash table is: a third of it stays free, so that what is not there is known to be after five entries on average,
// which are mostly of one cache line. Twice as large a table would have more of itself outside of the caches.
func slotsFor(n int) int { return n + n/2 + 1 }

// slotOf is the place of a hash in a table: a part of the table for each part of the hashes (Lemire, 2016).
func slotOf(hash uint64, entries []uint64) int {
	slot, _ := bits.Mul64(hash, uint64(len(entries)))
	return int(slot)
}

// after is the slot behind slot i, at the end the first.
func after(i int, entries []uint64) int {
	if i++; i == len(entries) {
		return 0
	}
	return i
}

func (p *pairs) slot(key uint64) int { return slotOf(key*0x9e3779b97f4a7c15, p.entries) }

func (p *pairs) add(left, right, rank uint32) {
	key := uint64(left)<<rankBits | uint64(right)
	i := p.slot(key)
	for p.entries[i] != 0 {
		i = after(i, p.entries)
	}
	p.entries[i] = key<<rankBits | uint64(rank)
}

// rank is that of what left and right merge into, or none.
func (p *pairs) rank(left, right uint32) uint32 {
	key := uint64(left)<<rankBits | uint64(right)
	for i := p.slot(key); ; i = after(i, p.entries) {
		switch e := p.entries[i]; {
		case e == 0:
			return none
		case e>>rankBits == key:
			return uint32(e & (1<<rankBits - 1))
		}
	}
}

// words finds whole tokens by the hash of their bytes, all 64 bits of it: an open hash table;
// 0 is free. That some other piece has the hash of a token has a chance of
// 1 in 10^13 for each piece, and nobody can choose such a piece.
//
// Random text is hardly ever a token, and the table is larger than the caches near a
// processor. So a filter of Bloom (1970) is asked first, ten bits a token: it knows
// that most of what is no token is none.
type words struct {
	entries []uint64
	filter  []uint64
}

func newWords(n int) words {
	return words{make([]uint64, slotsFor(n)), make([]uint64, 1<<max(bits.Len(uint(2*n))-4, 0))}
}

// mask has the bits of a hash in its word of the filter, three of 64. They are not those
// that choose the word.
func mask(hash uint64) uint64 {
	return 1<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63)
}

// word is that of a hash in the filter.
func (w *words) word(hash uint64) *uint64 { return &w.filter[hash>>20&uint64(len(w.filter)-1)] }

func (w *words) add(hash uint64) {
	*w.word(hash) |= mask(hash)
	i := slotOf(hash, w.entries)
	for w.entries[i] != 0 {
		i = after(i, w.entries)
	}
	w.entries[i] = hash
}

func (w *words) has(hash uint64) bool {
	if m := mask(hash); *w.word(hash)&m != m {
		return false
	}
	for i := slotOf(hash, w.entries); ; i = after(i, w.entries) {
		switch w.entries[i] {
		case 0:
			return false
		case hash:
			return true
		}
	}
}
