package bpe

import (
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
// len(text) unless that is 0.
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
	v := c.v
	exact = true
	var s *scratch
	var cut [atOnce]struct {
		begin, end int
		hash       uint64
	}
	for i := 0; i < len(text); {
		pieces := cut[:0]
		for len(pieces) < atOnce && i < len(text) {
			end, first := v.piece(text, i)
			switch length := end - i; {
			case length == 1: // every byte is a token
				n++
			default:
				pieces = pieces[:len(pieces)+1]
				p := &pieces[len(pieces)-1]
				p.begin, p.end = i, end
				if first != 0 && length <= 7 {
					p.hash = v.hash.few(first&(1<<(8*length)-1), length)
				} else {
					p.hash = v.hash.piece(text, i, end)
				}
			}
			i = end
		}
		for k := range pieces {
			p := &pieces[k]
			tokens := v.memo.count(p.hash)
			if tokens == 0 {
				if s == nil {
					s = borrow()
				}
				learnt, merged := c.learn(text[p.begin:p.end], p.hash, s)
				tokens, exact = uint64(learnt), exact && merged
			}
			n += int64(tokens)
		}
	}
	if s != nil {
		s.release()
	}
	return n, exact
}

// atOnce is how many pieces are cut before any of them is looked for: the table lies far from the processor, and so
// it waits for many of its lines at the same time.
const atOnce = 32

// piece is where the piece ends that begins at text[i:], and the eight bytes that begin there if they were looked at.
func (v *Vocabulary) piece(text []byte, i int) (end int, first uint64) {
	if end, first = v.plain.word(text, i); end > 0 {
		return end, first
	}
	if end = v.plain.other(text, i); end > 0 {
		return end, first
	}
	return v.next(text, i), first
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
