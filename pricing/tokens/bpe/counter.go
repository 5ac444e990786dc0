package bpe

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"unicode/utf8"
)

// Work is how many bytes a Counter merges. It is ample for what people and programs
// write: only pieces that are neither remembered nor tokens by themselves need
// merging. It bounds what one request can cost, some 10 ms.
const Work = 256 << 10

// Counter counts the texts of one request, and bounds the work on all of them
// together. It is for one goroutine. Its zero value is not usable: see
// [Vocabulary.Counter].
type Counter struct {
	v    *Vocabulary
	work int // bytes that may still be merged
}

// Counter begins a request.
func (v *Vocabulary) Counter() Counter { return Counter{v: v, work: Work} }

// Count is the number of tokens of a text by itself, at least 1 and at most
// len(text) unless that is 0; of a text that is no UTF-8 at most three times as many.
//
// Where exact is false n is not below the truth: the text asked for too much
// work and parts of it were charged at a token a byte.
//
// Bytes that are no UTF-8 count as U+FFFD each, which is what JSON readers make of
// them.
func (v *Vocabulary) Count(text []byte) (n int64, exact bool) {
	c := v.Counter()
	return c.Count(text)
}

// Count is [Vocabulary.Count] within the request's work.
func (c *Counter) Count(text []byte) (n int64, exact bool) {
	if utf8.Valid(text) {
		return c.count(text)
	}
	s := borrow()
	defer s.release()
	s.text = appendValid(s.text[:0], text)
	return c.count(s.text)
}

// count is of valid UTF-8.
func (c *Counter) count(text []byte) (n int64, exact bool) {
	s := borrow()
	defer s.release()
	p := &s.pieces
	p.end, p.n, p.tokens, p.exact = 0, 0, 0, true
	for p.end < len(text) {
		from := p.end
		if text[from] >= utf8.RuneSelf {
			c.next(s, text)
			continue
		}
		starts, unsure := c.v.plain.cut(text, from)
		for starts != 0 {
			if ends := starts & (unsure&-unsure - 1); ends != 0 {
				c.plain(s, text, from, ends)
				starts ^= ends
				continue
			}
			next := bits.TrailingZeros64(starts)
			for p.end < from+next {
				c.next(s, text)
			}
			if p.end > from+next { // which no test has seen: the splitter is right
				break
			}
			starts, unsure = starts&(starts-1), unsure&^(1<<next-1)
		}
		if p.end == from { // nothing of the window is plain
			for p.end < min(from+windowSize, len(text)) {
				c.next(s, text)
			}
		}
	}
	c.look(s, text)
	return p.tokens, p.exact
}

// pieces are those of a text that were cut and not yet looked for: the tables lie far from the processor, and so
// it waits for many of their lines at the same time.
type pieces struct {
	end int // of what was cut
	n   int
	cut [2 * atOnce]struct {
		hash       uint64
		begin, end int
	}
	tokens int64 // of what was looked for
	exact  bool
}

// atOnce is how many pieces may wait. A window has no more of two bytes.
const atOnce = windowSize / 2

// plain adds the pieces that end in a window of text before the bytes whose bits are in ends.
func (c *Counter) plain(s *scratch, text []byte, window int, ends uint64) {
	p, h := &s.pieces, &c.v.hash
	last := bits.Len64(ends) - 1
	begins := ends&^(1<<last) | 1<<(p.end-window)
	p.end = window + last
	single := begins & (ends >> 1) // every byte is a token
	p.tokens += int64(bits.OnesCount64(single))
	n := p.n
	for begins &^= single; begins != 0; begins &= begins - 1 {
		at := &p.cut[n%len(p.cut)]
		n++
		first := bits.TrailingZeros64(begins)
		begin, length := window+first, bits.TrailingZeros64(ends>>first&^1)
		at.begin, at.end = begin, begin+length
		if length <= 7 && begin+8 <= len(text) {
			at.hash = h.few(binary.LittleEndian.Uint64(text[begin:])&(1<<(8*length&63)-1), length)
		} else {
			at.hash = h.piece(text, begin, begin+length)
		}
	}
	if p.n = n; n > atOnce {
		c.look(s, text)
	}
}

// next adds the next piece, as the splitter says.
func (c *Counter) next(s *scratch, text []byte) {
	p := &s.pieces
	at := &p.cut[p.n%len(p.cut)]
	at.begin, at.end = p.end, c.v.next(text, p.end)
	at.hash = c.v.hash.piece(text, at.begin, at.end)
	p.end = at.end
	if p.n++; p.n > atOnce {
		c.look(s, text)
	}
}

// look counts the pieces.
func (c *Counter) look(s *scratch, text []byte) {
	p, m := &s.pieces, c.v.memo
	tokens := p.tokens
	for k := range p.cut[:p.n] {
		at := &p.cut[k]
		known := m.count(at.hash)
		if known == 0 {
			learnt, exact := c.learn(text[at.begin:at.end], at.hash, s)
			known, p.exact = uint64(learnt), p.exact && exact
		}
		tokens += int64(known)
	}
	p.n, p.tokens = 0, tokens
}

// learn counts a piece that is not remembered, and remembers it. It is apart from the loop that
// finds most pieces in memory, which is faster without it.
//
//go:noinline
func (c *Counter) learn(piece []byte, hash uint64, s *scratch) (tokens int, exact bool) {
	tokens = 1
	if !c.v.words.has(hash) {
		if len(piece) > maxMerged || len(piece) > c.work {
			return len(piece), false
		}
		c.work -= len(piece)
		tokens = s.merger.count(c.v, piece)
	}
	c.v.memo.remember(hash, uint64(tokens))
	return tokens, true
}

// scratch is memory that a count needs for a while.
type scratch struct {
	pieces pieces
	merger merger
	text   []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func borrow() *scratch { return scratches.Get().(*scratch) }

// maxKept is the capacity of text that is kept: one huge request shall not stay in memory.
const maxKept = 1 << 20

func (s *scratch) release() {
	if cap(s.text) > maxKept {
		s.text = nil
	}
	scratches.Put(s)
}

// appendValid appends text, with U+FFFD for each byte that is no UTF-8.
func appendValid(to, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		to = utf8.AppendRune(to, r)
		text = text[size:]
	}
	return to
}
