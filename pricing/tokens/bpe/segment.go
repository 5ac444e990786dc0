package bpe

import "sync/atomic"

// Segment is CountJSON with a memory of whole segments: conversations repeat
// their history in every request, and a segment that was counted before costs its
// hash only. It is worth its while from minSegment bytes on; shorter ones
// are counted. Only exact counts are kept.
func (v *Vocabulary) Segment(value []byte) (n int64, exact bool) {
	c := v.Counter()
	return c.Segment(value)
}

// Segment is [Vocabulary.Segment] within the request's work.
func (c *Counter) Segment(value []byte) (n int64, exact bool) {
	if len(value) < minSegment {
		return c.CountJSON(value)
	}
	f := c.v.hash.long.of(value)
	if n, ok := c.v.segments.count(f); ok {
		return n, true
	}
	n, exact = c.CountJSON(value)
	if exact {
		c.v.segments.remember(f, n)
	}
	return n, exact
}

const minSegment = 64

// segments remembers counts by fingerprint. Readers and writers need no lock: a slot
// has the count together with 36 bits of the fingerprint, and 64 other bits of it
// mixed with these. A slot whose words two writers wrote matches neither.
type segments []segment

type segment struct{ mixed, data atomic.Uint64 }

// segmentSlots are a megabyte.
const segmentSlots = 1 << 16

// countBits are enough for 268 million tokens.
const countBits = 28

func newSegments() segments { return make(segments, segmentSlots) }

func (s segments) count(f fingerprint) (n int64, ok bool) {
	slot := &s[f.lo&(segmentSlots-1)]
	data := slot.data.Load()
	if data == 0 || slot.mixed.Load()^data != f.lo || (data^f.hi<<countBits)>>countBits != 0 {
		return 0, false
	}
	return int64(data & (1<<countBits - 1)), true
}

func (s segments) remember(f fingerprint, n int64) {
	if n < 1<<countBits {
		slot := &s[f.lo&(segmentSlots-1)]
		data := f.hi<<countBits | uint64(n)
		slot.mixed.Store(f.lo ^ data)
		slot.data.Store(data)
	}
}
