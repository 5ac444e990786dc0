package bpe

import (
	"sync"
	"unicode"
)

// class is what split patterns tell apart, a bit each. A character has one bit; a
// line break has space as well.
type class uint8

const (
	upper    class = 1 << iota // Lu, Lt
	lower                      // Ll
	caseless                   // Lm, Lo
	mark                       // M
	number                     // N
	space                      // White_Space, which is \s
	newline                    // \r and \n, on top of space
	symbol                     // all the rest

	letter = upper | lower | caseless
)

// ascii are the classes of ASCII.
var ascii = func() (t [128]class) {
	for r := range t {
		t[r] = classify(rune(r))
	}
	return t
}()

func classify(r rune) class {
	switch {
	case r == '\r' || r == '\n':
		return space | newline
	case unicode.In(r, unicode.Lu, unicode.Lt):
		return upper
	case unicode.Is(unicode.Ll, r):
		return lower
	case unicode.Is(unicode.L, r):
		return caseless
	case unicode.Is(unicode.M, r):
		return mark
	case unicode.Is(unicode.N, r):
		return number
	case unicode.Is(unicode.White_Space, r):
		return space
	}
	return symbol
}

// classes has those of all characters, in pages of 256.
type classes struct {
	page  [(unicode.MaxRune + 1) / 256]uint8
	pages [][256]class
}

// wide is filled when the first vocabulary is loaded.
var wide classes

var fillWide = sync.OnceFunc(func() {
	seen := make(map[[256]class]uint8)
	flat := flatClasses()
	for p := range wide.page {
		page := [256]class(flat[p*256:])
		i, ok := seen[page]
		if !ok {
			i = uint8(len(wide.pages))
			seen[page] = i
			wide.pages = append(wide.pages, page)
		}
		wide.page[p] = i
	}
})

// flatClasses walks the ranges of the Unicode tables: asking for each of the
// million characters takes a hundred times as long.
func flatClasses() []class {
	flat := make([]class, unicode.MaxRune+1)
	for i := range flat {
		flat[i] = symbol
	}
	fill := func(c class, tables ...*unicode.RangeTable) {
		for _, t := range tables {
			for _, r := range t.R16 {
				for x := int(r.Lo); x <= int(r.Hi); x += int(r.Stride) {
					flat[x] = c
				}
			}
			for _, r := range t.R32 {
				for x := int(r.Lo); x <= int(r.Hi); x += int(r.Stride) {
					flat[x] = c
				}
			}
		}
	}
	fill(upper, unicode.Lu, unicode.Lt)
	fill(lower, unicode.Ll)
	fill(caseless, unicode.Lm, unicode.Lo)
	fill(mark, unicode.M)
	fill(number, unicode.N)
	fill(space, unicode.White_Space)
	flat['\r'], flat['\n'] = space|newline, space|newline
	return flat
}

// classAt is the class of the character at i of valid UTF-8, and its length.
func classAt(t []byte, i int) (class, int) {
	if c := t[i]; c < 0x80 {
		return ascii[c], 1
	}
	return wideAt(t, i)
}

func wideAt(t []byte, i int) (class, int) {
	var r, size int
	switch c := int(t[i]); {
	case c < 0xe0:
		r, size = c&0x1f<<6|int(t[i+1])&0x3f, 2
	case c < 0xf0:
		r, size = c&0x0f<<12|int(t[i+1])&0x3f<<6|int(t[i+2])&0x3f, 3
	default:
		r, size = c&0x07<<18|int(t[i+1])&0x3f<<12|int(t[i+2])&0x3f<<6|int(t[i+3])&0x3f, 4
	}
	return wide.pages[wide.page[r>>8]][r&0xff], size
}
