package bpe

// A splitter is where the piece of text that begins at text[i:] ends. There is at
// least one more byte.
type splitter func(text []byte, i int) int

// The plain pieces of the vocabularies.
var (
	plainO200k = newPlain(startsO200k, func(c byte) kind {
		if c == '/' {
			return slash
		}
		return kindOf(c)
	})
	plainCl100k = newPlain(startsCl100k, kindOf)
)

func kindOf(c byte) kind {
	switch of := ascii[c]; {
	case of&upper != 0:
		return capital
	case of&letter != 0:
		return small
	case of&number != 0:
		return digit
	case c == '\'':
		return special
	case of&symbol != 0:
		return sign
	case of&newline != 0:
		return line
	case c == ' ':
		return blank
	}
	return tab
}

// splitO200k follows tiktoken's pattern of o200k_base, whose alternatives are tried
// in this order:
//
//	[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	\p{N}{1,3}
//	 ?[^\s\p{L}\p{N}]+[\r\n/]*
//	\s*[\r\n]+
//	\s+(?!\S)
//	\s+
func splitO200k(text []byte, i int) int {
	first, width := classAt(text, i)
	switch {
	case first&letter != 0:
		end, _ := word(text, i)
		return end
	case first&number != 0:
		return digits(text, i+width)
	case first&newline != 0:
		return blanks(text, i, false)
	}
	if next := i + width; next < len(text) {
		c, _ := classAt(text, next)
		if c&(letter|mark) != 0 {
			// Both patterns of a word begin with what may be a mark, but a mark may also
			// be all of a word: the first pattern prefers that to a word in capitals.
			if end, closed := word(text, next); closed || first != mark {
				return end
			}
		}
		if text[i] == ' ' && c == symbol {
			return symbols(text, next, '/')
		}
	}
	switch first {
	case mark:
		end, _ := word(text, i)
		return end
	case symbol:
		return symbols(text, i, '/')
	}
	return blanks(text, i, false)
}

// splitCl100k follows tiktoken's pattern of cl100k_base, whose alternatives are tried
// in this order (the quantifiers that never give back change speed only):
//
//	'(?i:[sdmt]|ll|ve|re)
//	[^\r\n\p{L}\p{N}]?+\p{L}++
//	\p{N}{1,3}+
//	 ?[^\s\p{L}\p{N}]++[\r\n]*+
//	\s++$
//	\s*[\r\n]
//	\s+(?!\S)
//	\s
func splitCl100k(text []byte, i int) int {
	first, width := classAt(text, i)
	switch {
	case first&letter != 0:
		return run(text, i+width, letter)
	case first&number != 0:
		return digits(text, i+width)
	case first&newline != 0:
		return blanks(text, i, true)
	}
	if end := contraction(text, i); end > i {
		return end
	}
	if next := i + width; next < len(text) {
		c, _ := classAt(text, next)
		if c&letter != 0 {
			return run(text, next, letter)
		}
		if text[i] == ' ' && c&(symbol|mark) != 0 {
			return symbols(text, next, '\n')
		}
	}
	if first&(symbol|mark) != 0 {
		return symbols(text, i, '\n')
	}
	return blanks(text, i, true)
}

const (
	head = upper | caseless | mark // what o200k has a word begin with
	tail = lower | caseless | mark // and end in
)

// run is the end of the characters from text[i:] on whose class is in set.
func run(text []byte, i int, set class) int {
	for i < len(text) {
		c, width := classAt(text, i)
		if c&set == 0 {
			break
		}
		i += width
	}
	return i
}

// word is the end of a word of o200k at text[i:]. Closed words match the first of its two
// patterns: they have a character that a word can end in. What is not closed is
// capitals only.
func word(text []byte, i int) (end int, closed bool) {
	for i < len(text) {
		c, width := classAt(text, i)
		if c == lower {
			return contraction(text, run(text, i+width, tail)), true
		}
		if c&head == 0 {
			break
		}
		i += width
		if c&tail != 0 {
			end, closed = i, true
		}
	}
	if !closed {
		end = i
	}
	return contraction(text, end), closed
}

// contraction is the end of an English contraction at text[i:], i if there is none.
// The long s is an s in another case.
func contraction(text []byte, i int) int {
	if i+1 >= len(text) || text[i] != '\'' {
		return i
	}
	switch text[i+1] | 0x20 {
	case 's', 't', 'm', 'd':
		return i + 2
	case 'r', 'v':
		if i+2 < len(text) && text[i+2]|0x20 == 'e' {
			return i + 3
		}
	case 'l':
		if i+2 < len(text) && text[i+2]|0x20 == 'l' {
			return i + 3
		}
	case 0xc5 | 0x20:
		if i+2 < len(text) && text[i+1] == 0xc5 && text[i+2] == 0xbf {
			return i + 3
		}
	}
	return i
}

// digits is the end of a number of up to three digits, the first of which ends at i.
func digits(text []byte, i int) int {
	for range 2 {
		if i == len(text) {
			break
		}
		c, width := classAt(text, i)
		if c != number {
			break
		}
		i += width
	}
	return i
}

// symbols is the end of a run of what is neither blank, letter nor number, with the line ends
// after it, among which the character also is one.
func symbols(text []byte, i int, also byte) int {
	for i < len(text) {
		c, width := classAt(text, i)
		if c&(symbol|mark) == 0 {
			break
		}
		i += width
	}
	for i < len(text) && (text[i] == '\n' || text[i] == '\r' || text[i] == also) {
		i++
	}
	return i
}

// blanks is the end of blanks that begin at i: after the last line end among them, else
// before the last character, which goes with what follows. At the end of
// the text nothing follows; trailing says that line ends do not matter there.
func blanks(text []byte, i int, trailing bool) int {
	begin, last, line := i, i, -1
	for i < len(text) {
		c, width := classAt(text, i)
		if c&space == 0 {
			break
		}
		last = i
		i += width
		if c&newline != 0 {
			line = i
		}
	}
	switch {
	case i == len(text) && trailing:
		return i
	case line >= 0:
		return line
	case i == len(text) || last == begin:
		return i
	}
	return last
}
