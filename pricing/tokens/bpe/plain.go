package bpe

import "unicode/utf8"

// plain cuts what most text is made of: words, numbers, signs and blanks in ASCII. It looks at a window of text at a time, with
// a bit for each byte, and so takes no branch for a piece. It says nothing of what it is not sure of. The splitter of
// the vocabulary does, which also says what is right.
//
// A piece depends on the text from where it begins, and on nothing before. So windows begin where a piece does, and
// each other beginning must follow from the few bytes around it.
type plain struct {
	kinds [256]kind
	// starts are the bytes that pieces begin with, by the kinds of their neighbours; odd are bytes that spoil this for those
	// around them, besides all of no kind.
	starts func(w window) (starts, odd uint64)
}

func newPlain(starts func(w window) (starts, odd uint64), of func(c byte) kind) plain {
	p := plain{starts: starts}
	for c := range byte(utf8.RuneSelf) {
		p.kinds[c] = of(c)
	}
	return p
}

// kind is what plain knows of a byte, in four bits that windows are told from.
type kind uint8

const (
	unknown kind = 0b0000 // not plain
	blank   kind = 0b0001 // the space
	tab     kind = 0b0010 // another blank
	line    kind = 0b0011 // a line end
	sign    kind = 0b0100
	special kind = 0b0101 // a sign that makes what is not plain, if it stands in certain places
	slash   kind = 0b0110 // a sign that may be among line ends
	small   kind = 0b1000 // a letter
	capital kind = 0b1001
	digit   kind = 0b1010
)

// windowSize is how many bytes are looked at together.
const windowSize = 64

// window has a bit for each byte of a text that is of a kind, the lowest for the first. Signs are special ones and slashes,
// too, and blanks are spaces.
type window struct{ letters, capitals, digits, signs, specials, slashes, spaces, blanks, lines uint64 }

// cut looks at the window at text[i:], where a piece begins. starts are the beginnings of others that are sure. Between two of them is no
// other unless one of the bytes is unsure.
func (p *plain) cut(text []byte, i int) (starts, unsure uint64) {
	var w window
	if i+windowSize <= len(text) {
		w = read(&p.kinds, (*[windowSize]byte)(text[i:]))
	} else {
		var last [windowSize]byte
		for k := copy(last[:], text[i:]); k < windowSize; k++ {
			last[k] = 0xff // of no kind
		}
		w = read(&p.kinds, &last)
	}
	starts, odd := p.starts(w)
	odd |= ^w.known()
	// Nor are its neighbours sure, up to two behind it, and the last byte, whose neighbour is not seen.
	before := odd>>1 | 1<<(windowSize-1)
	unsure = odd | before | odd<<1 | odd<<2
	// Nor are blanks in front of it: line ends among them make one piece of all up to the last.
	for run := before & (w.blanks | w.lines); run != 0; run = run >> 1 & (w.blanks | w.lines) {
		unsure |= run
	}
	return starts &^ (unsure | 1), unsure
}

const ones = 0x0101010101010101 // one in each of eight bytes

// read has a table say of what kind each byte is, and sorts the bits of eight of these at a time.
func read(kinds *[256]kind, text *[windowSize]byte) (w window) {
	var bit0, bit1, bit2, bit3 uint64
	for i := windowSize - 8; i >= 0; i -= 8 {
		t := (*[8]byte)(text[i:])
		of := uint64(kinds[t[0]]) | uint64(kinds[t[1]])<<8 | uint64(kinds[t[2]])<<16 | uint64(kinds[t[3]])<<24 |
			uint64(kinds[t[4]])<<32 | uint64(kinds[t[5]])<<40 | uint64(kinds[t[6]])<<48 | uint64(kinds[t[7]])<<56
		bit0 = bit0<<8 | lowest(of)
		bit1 = bit1<<8 | lowest(of>>1)
		bit2 = bit2<<8 | lowest(of>>2)
		bit3 = bit3<<8 | lowest(of>>3)
	}
	w.letters, w.capitals, w.digits = bit3&^bit1, bit3&bit0, bit3&bit1
	w.signs, w.specials, w.slashes = bit2, bit2&bit0, bit2&bit1
	others := ^(bit2 | bit3)
	w.spaces, w.blanks, w.lines = bit0&^bit1&others, (bit0^bit1)&others, bit0&bit1&others
	return w
}

// known is all that is of some kind.
func (w window) known() uint64 { return w.letters | w.digits | w.signs | w.blanks | w.lines }

// lowest has the lowest bits of eight bytes.
func lowest(w uint64) uint64 { return w & ones * 0x0102040810204080 >> 56 }

// startsO200k: see splitO200k. A contraction may be behind a word, also one that is not plain, and slashes may be among the
// line ends behind signs. Blanks in front of a line end are one piece with it.
func startsO200k(w window) (starts, odd uint64) {
	odd = w.specials & ((w.letters | ^w.known()) << 1)
	for more := w.slashes & (w.lines << 1); more != 0; more = more << 1 & (w.slashes | w.lines) {
		odd |= more
	}
	starts, lone := w.starts()
	small := w.letters &^ w.capitals
	return starts | w.letters&^(w.letters<<1|w.blanks<<1|lone<<1) | w.capitals&(small<<1), odd | w.lines&(w.blanks<<1)
}

// startsCl100k: see splitCl100k. A contraction is a piece of its own, wherever it is.
func startsCl100k(w window) (starts, odd uint64) {
	odd = w.specials & (w.letters >> 1)
	starts, lone := w.starts()
	return starts | w.letters&^(w.letters<<1|w.blanks<<1|lone<<1), odd | w.lines&(w.blanks<<1)
}

// starts is what o200k and cl100k have in common: all but the beginnings of words. lone are signs that begin pieces: with a
// letter behind it such a sign is the first of a word.
func (w window) starts() (starts, lone uint64) {
	lone = w.signs &^ (w.signs<<1 | w.spaces<<1)
	// The last of blanks is apart, for it goes with what follows.
	blanks := w.blanks &^ (w.blanks << 1 & (w.blanks >> 1))
	return lone | blanks | w.lines&((w.letters|w.digits)<<1) | w.numbers(), lone
}

// numbers is where numbers of three digits begin, and what is left of them.
func (w window) numbers() (starts uint64) {
	// Before them is no digit of another kind.
	starts = w.digits &^ (w.digits << 1) & (w.known()<<1 | 1)
	third := w.digits & (w.digits << 1) & (w.digits << 2)
	for more := starts << 3 & third; more != 0; more = more << 3 & third {
		starts |= more
	}
	return starts
}

// startsGemma: see splitGemma. Runs of spaces are not plain, nor is what may be a tag.
func startsGemma(w window) (starts, odd uint64) {
	odd = w.spaces & (w.spaces << 1)
	tags := w.specials
	tags |= tags << 1
	tags |= tags << 2
	tags |= tags << 4
	tags |= tags << 8
	letters := w.letters &^ (w.letters<<1 | w.spaces<<1)
	signs := w.signs &^ (w.signs<<1 | w.spaces<<1)
	return letters | signs | w.digits | w.spaces, odd | tags
}
