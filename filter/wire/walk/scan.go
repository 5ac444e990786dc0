package walk

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"keel/filter/wire"
)

// space returns where white space that begins at i ends.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// kindOf is the kind of value that begins with a byte: see Cursor.Kind.
func kindOf(b byte) byte {
	switch b {
	case '{', '[', '"', 't', 'f', 'n':
		return b
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return '0'
	}
	return 0
}

// tooDeep is the error for a value that nests deeper than MaxDepth.
func tooDeep(offset int) error {
	return &wire.SyntaxError{Offset: int64(offset), Reason: "nesting deeper than 1000"}
}

// value returns where the value that begins at i ends.
func (c *Cursor) value(i int) (int, error) {
	end := -1
	if i < len(c.body) {
		switch kindOf(c.body[i]) {
		case '"':
			end, _ = scanString(c.body, i, c.tolerant)
		case '0':
			end = scanNumber(c.body, i)
		case 't':
			end = literal(c.body, i, "true")
		case 'f':
			end = literal(c.body, i, "false")
		case 'n':
			end = literal(c.body, i, "null")
		case '{':
			return c.skipObject(i)
		case '[':
			return c.skipArray(i)
		}
	}
	if end < 0 {
		c.at = i
		return -1, c.broken()
	}
	return end, nil
}

// skipObject returns where the object that begins at i ends.
func (c *Cursor) skipObject(i int) (int, error) {
	if c.depth++; c.depth > MaxDepth {
		return -1, tooDeep(i)
	}
	b := c.body
	scope := c.names.open()
	i = space(b, i+1)
	if i < len(b) && b[i] == '}' {
		c.names.close(scope)
		c.depth--
		return i + 1, nil
	}
	for {
		_, end, ok := c.key(scope, i)
		if ok {
			i = c.colon(end)
		}
		if !ok || i < 0 {
			return -1, c.broken()
		}
		end, err := c.value(i)
		if err != nil {
			return -1, err
		}
		i = space(b, end)
		switch {
		case i >= len(b):
			return -1, c.broken()
		case b[i] == ',':
			i = space(b, i+1)
		case b[i] == '}':
			c.names.close(scope)
			c.depth--
			return i + 1, nil
		default:
			return -1, c.broken()
		}
	}
}

// skipArray returns where the array that begins at i ends.
func (c *Cursor) skipArray(i int) (int, error) {
	if c.depth++; c.depth > MaxDepth {
		return -1, tooDeep(i)
	}
	b := c.body
	i = space(b, i+1)
	if i < len(b) && b[i] == ']' {
		c.depth--
		return i + 1, nil
	}
	for {
		end, err := c.value(i)
		if err != nil {
			return -1, err
		}
		i = space(b, end)
		switch {
		case i >= len(b):
			return -1, c.broken()
		case b[i] == ',':
			i = space(b, i+1)
		case b[i] == ']':
			c.depth--
			return i + 1, nil
		default:
			return -1, c.broken()
		}
	}
}

// key reads the name at i: its text, and where it ends. It is not ok where there is none, or
// where a strict walk finds it for the second time in its object.
func (c *Cursor) key(s scope, i int) (text []byte, end int, ok bool) {
	if i >= len(c.body) || c.body[i] != '"' {
		return nil, 0, false
	}
	end, escaped := scanString(c.body, i, c.tolerant)
	if end < 0 {
		return nil, 0, false
	}
	text = c.body[i+1 : end-1 : end-1]
	if escaped {
		text = unquote(c.body[i:end])
	}
	return text, end, c.tolerant || c.names.add(s, text)
}

// colon returns where the value of a name begins that ends at i, or -1.
func (c *Cursor) colon(i int) int {
	i = space(c.body, i)
	if i >= len(c.body) || c.body[i] != ':' {
		return -1
	}
	return space(c.body, i+1)
}

// literal returns where the word at i ends, or -1 if it is another one.
func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// scanNumber returns where the number at i ends, or -1.
func scanNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	whole := i
	if i = digits(b, i); i == whole || b[whole] == '0' && i > whole+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		fraction := i + 1
		if i = digits(b, fraction); i == fraction {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		exponent := i + 1
		if exponent < len(b) && (b[exponent] == '+' || b[exponent] == '-') {
			exponent++
		}
		if i = digits(b, exponent); i == exponent {
			return -1
		}
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// plain are the letters of escapes of two bytes.
var plain = [256]bool{'"': true, '\\': true, '/': true, 'b': true, 'f': true, 'n': true, 'r': true, 't': true}

// special has the top bit of the first byte of x that is a quote, a backslash, a control character or no ASCII, and
// none of those before it. Of a byte below 0x80, that of byte - n is set where it is below n, and of any other one of the last two
// is; a borrow can set one by mistake, but only behind a byte that is special.
func special(x uint64) uint64 {
	return (x - ' '*ones) | ((x ^ '"'*ones) - ones) | ((x ^ '\\'*ones) - ones)
}

// scanString returns where the string at i ends, or -1, and whether it has escapes. Eight
// bytes at a time are looked at for a quote, a backslash, a control character or what
// is no ASCII.
func scanString(b []byte, i int, tolerant bool) (end int, escaped bool) {
	i++
	for {
		for len(b)-i >= 8 {
			found := special(binary.LittleEndian.Uint64(b[i:])) & tops
			if found == 0 {
				i += 8
				for len(b)-i >= 16 { // in texts, sixteen
					w := (*[16]byte)(b[i:])
					if (special(binary.LittleEndian.Uint64(w[:]))|special(binary.LittleEndian.Uint64(w[8:])))&tops != 0 {
						break
					}
					i += 16
				}
				continue
			}
			i += bits.TrailingZeros64(found) / 8
			if b[i] != '\\' || i+1 >= len(b) || !plain[b[i+1]] {
				break
			}
			escaped = true
			i += 2
		}
		if i >= len(b) {
			return -1, escaped
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			escaped = true
			n := escape(b[i:], tolerant)
			if n == 0 {
				return -1, escaped
			}
			i += n
		case c < ' ':
			return -1, escaped
		case c < utf8.RuneSelf:
			i++
		default:
			for i < len(b) && b[i] >= utf8.RuneSelf {
				// Most of what is no ASCII has three bytes, and of these all but two ranges of the
				// first allow any that follow.
				if c := b[i]; c > 0xe0 && c < 0xf0 && c != 0xed && len(b)-i >= 3 && b[i+1]&0xc0 == 0x80 && b[i+2]&0xc0 == 0x80 {
					i += 3
					continue
				}
				r, n := utf8.DecodeRune(b[i:])
				if r == utf8.RuneError && n == 1 && !tolerant {
					return -1, escaped
				}
				i += n
			}
		}
	}
}

// escape returns the length of the escape that b begins with, 0 if it is none. Strictly, half a
// surrogate pair is none.
func escape(b []byte, tolerant bool) int {
	if len(b) >= 2 && plain[b[1]] {
		return 2
	}
	high, ok := unicodeEscape(b)
	switch {
	case !ok:
		return 0
	case tolerant || high&^0x7ff != 0xd800:
		return 6
	case high >= 0xdc00:
		return 0
	}
	if low, ok := unicodeEscape(b[6:]); !ok || low&^0x3ff != 0xdc00 {
		return 0
	}
	return 12
}

// unicodeEscape reads \uXXXX.
func unicodeEscape(b []byte) (unit int, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, d := range b[2:6] {
		if d-'0' > 9 && d|0x20-'a' > 5 {
			return 0, false
		}
	}
	return hex4(b[2:6]), true
}
