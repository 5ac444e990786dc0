package bpe

import (
	"encoding/binary"
	"math/bits"
)

// plain cuts what most text is made of: words, short numbers and signs in ASCII. It says nothing of what it is not
// sure of. The splitter of the vocabulary does, which also says what is right.
type plain struct {
	kinds  [256]kind
	fold   uint64 // what makes letters small, where words have large ones inside
	digits int    // the most of one number
	stop   byte   // what behind a word the splitter has to see, as all that is not ASCII
}

// kind is what plain knows of a byte, 0 for nothing.
type kind uint8

const (
	inWord   kind = 1 << iota // a letter
	capital                   // a letter that only begins words, in front of small ones
	toWord                    // belongs to the word behind it
	digit                     // of a number
	sign                      // belongs to the signs beside it
	toSigns                   // the space: it belongs to the signs behind it
	together                  // may be the first of signs
)

const (
	ones = 0x0101010101010101 // one in each of eight bytes
	tops = 0x80 * ones
	// noStop is no ASCII character.
	noStop = 0xff
)

// newPlain is of a vocabulary with these kinds.
func newPlain(digits int, stop byte, of func(c byte) kind) plain {
	p := plain{digits: digits, stop: stop, fold: 0x20 * ones}
	for c := range byte(0x80) {
		p.kinds[c] = of(c)
		if p.kinds[c]&capital != 0 {
			p.fold = 0
		}
	}
	return p
}

// small has the top bit of each byte that is a letter from a to z.
func small(w uint64) uint64 {
	x := w &^ tops
	return (x + (0x80-'a')*ones) &^ (x + (0x80-'z'-1)*ones) &^ w & tops
}

// word is where the piece ends that begins at text[i:], if it is a word with text behind it, else 0; first are
// the eight bytes that begin there, 0 if there are fewer.
func (p *plain) word(text []byte, i int) (end int, first uint64) {
	if i+8 > len(text) {
		return 0, 0
	}
	first = binary.LittleEndian.Uint64(text[i:])
	letters := small(first | p.fold)
	if letters&0x80 == 0 {
		// The first is large, or before the word, or the second is large, too.
		k, need := p.kinds[byte(first)], uint64(0x80<<8)
		if p.kinds[byte(first>>8)]&capital != 0 {
			letters |= need
			need <<= 8
		}
		if k&(toWord|capital) == 0 || letters&need == 0 {
			return 0, first
		}
		letters |= 0x80
	}
	w := first
	for letters == tops {
		if i += 8; i+8 > len(text) {
			return 0, first
		}
		w = binary.LittleEndian.Uint64(text[i:])
		letters = small(w | p.fold)
	}
	n := bits.TrailingZeros64(^letters&tops) &^ 7
	if after := byte(w >> n); after >= 0x80 || after == p.stop {
		return 0, first
	}
	return i + n/8, first
}

// other is word for numbers, signs, and the space before a number.
func (p *plain) other(text []byte, i int) (end int) {
	if end = i + 1; end >= len(text) {
		return 0
	}
	first, next := p.kinds[text[i]], p.kinds[text[end]]
	switch {
	case first&digit != 0:
		for next&digit != 0 && end < i+p.digits {
			if end++; end == len(text) {
				return 0
			}
			next = p.kinds[text[end]]
		}
		if next == 0 { // maybe a digit that is not ASCII
			return 0
		}
		return end
	case first&toSigns != 0 && next&digit != 0:
		return end
	case first&toSigns != 0 && next&sign != 0:
	case first&together != 0 && (next&inWord == 0 || first&toWord == 0):
	default:
		return 0
	}
	for next&sign != 0 {
		if end++; end == len(text) {
			return 0
		}
		next = p.kinds[text[end]]
	}
	if next&(inWord|digit|toSigns) == 0 { // maybe a line end, or a sign that is not ASCII
		return 0
	}
	return end
}
