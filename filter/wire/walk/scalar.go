package walk

import (
	"bytes"
	"math"
)

// textLen is the length of a quoted string's content with its escapes
// resolved. A surrogate without its partner counts as the three bytes of its
// replacement.
func textLen(content []byte) int64 {
	n := 0
	for {
		plain := bytes.IndexByte(content, '\\')
		if plain < 0 || plain+1 >= len(content) {
			return int64(n + len(content))
		}
		n += plain
		content = content[plain:]
		if content[1] != 'u' || len(content) < 6 {
			n, content = n+1, content[2:]
			continue
		}
		r := hex4(content[2:6])
		content = content[6:]
		switch {
		case r < 0x80:
			n++
		case r < 0x800:
			n += 2
		case r >= 0xd800 && r < 0xdc00 && len(content) >= 6 && content[0] == '\\' && content[1] == 'u' && hex4(content[2:6])>>10 == 0xdc00>>10:
			n, content = n+4, content[6:]
		default:
			n += 3
		}
	}
}

func hex4(digits []byte) (r int) {
	for _, d := range digits[:4] {
		switch {
		case d <= '9':
			d -= '0'
		default:
			d = d&^0x20 - 'A' + 10
		}
		r = r<<4 | int(d)
	}
	return r
}

// integer reads a JSON number as an integer, exactly: 12, 12.0 and 1.2e1 are
// 12, and 12.5 and what does not fit are none.
func integer(number []byte) (int64, bool) {
	negative := number[0] == '-'
	if negative {
		number = number[1:]
	}
	mantissa, exponent := number, 0
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		var ok bool
		if exponent, ok = smallInt(number[i+1:]); !ok {
			return 0, false
		}
		mantissa = number[:i]
	}
	var value uint64
	digit := func(d byte) bool {
		if value > (math.MaxInt64-uint64(d-'0'))/10 {
			return false
		}
		value = value*10 + uint64(d-'0')
		return true
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	fraction = bytes.TrimRight(fraction, "0")
	for _, d := range whole {
		if !digit(d) {
			return 0, false
		}
	}
	for _, d := range fraction {
		if !digit(d) {
			return 0, false
		}
	}
	for exponent -= len(fraction); exponent > 0 && value != 0; exponent-- {
		if !digit('0') {
			return 0, false
		}
	}
	for ; exponent < 0 && value != 0; exponent++ {
		if value%10 != 0 {
			return 0, false
		}
		value /= 10
	}
	if negative {
		return -int64(value), true
	}
	return int64(value), true
}

// smallInt reads an exponent; beyond four digits it is of no use to anybody.
func smallInt(s []byte) (n int, ok bool) {
	negative := len(s) > 0 && s[0] == '-'
	if negative || len(s) > 0 && s[0] == '+' {
		s = s[1:]
	}
	if len(s) == 0 || len(s) > 4 {
		return 0, false
	}
	for _, d := range s {
		n = n*10 + int(d-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}
