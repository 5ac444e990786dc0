package bpe

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// CountJSON counts the content of a JSON string as it stands in a body, with its
// quotes and escapes. Any other value is counted as it stands. It promises
// what Count does; what is no JSON is counted in some way, without error.
func (v *Vocabulary) CountJSON(value []byte) (n int64, exact bool) {
	c := v.Counter()
	return c.CountJSON(value)
}

// CountJSON is [Vocabulary.CountJSON] within the request's work.
func (c *Counter) CountJSON(value []byte) (n int64, exact bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return c.Count(value)
	}
	content := value[1 : len(value)-1]
	first := bytes.IndexByte(content, '\\')
	if first < 0 {
		return c.Count(content)
	}
	s := borrow()
	defer s.release()
	s.text = appendUnescaped(append(s.text[:0], content[:first]...), content[first:])
	return c.Count(s.text)
}

// appendUnescaped appends the content of a JSON string. Half a surrogate pair is
// U+FFFD; a backslash that begins no escape stands for itself.
func appendUnescaped(to, content []byte) []byte {
	for {
		i := bytes.IndexByte(content, '\\')
		if i < 0 || i+1 == len(content) {
			return append(to, content...)
		}
		to = append(to, content[:i]...)
		content = content[i:]
		size := 2
		switch content[1] {
		case '"', '\\', '/':
			to = append(to, content[1])
		case 'b':
			to = append(to, '\b')
		case 'f':
			to = append(to, '\f')
		case 'n':
			to = append(to, '\n')
		case 'r':
			to = append(to, '\r')
		case 't':
			to = append(to, '\t')
		default:
			r, ok := hexEscape(content)
			if !ok {
				to, size = append(to, '\\'), 1
				break
			}
			size = 6
			if utf16.IsSurrogate(r) {
				low, _ := hexEscape(content[6:])
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					size = 12
				}
			}
			to = utf8.AppendRune(to, r)
		}
		content = content[size:]
	}
}

// hexEscape reads \uXXXX.
func hexEscape(t []byte) (r rune, ok bool) {
	if len(t) < 6 || t[0] != '\\' || t[1] != 'u' {
		return 0, false
	}
	for _, c := range t[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
