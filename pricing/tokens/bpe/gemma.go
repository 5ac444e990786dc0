package bpe

import (
	"bytes"
	"sync"
	"unicode"
	"unicode/utf8"
)

var gemma3 = sync.OnceValue(func() *Vocabulary {
	tokens := embedded("gemma3", gemma3Pairs)
	gemmaCharacters = new(characterSet)
	gemmaCharacters.fill(tokens)
	return build(tokens, plainGemma, splitGemma)
})

// Gemma3 is the vocabulary of Gemma 3, which Google's own SDK counts the tokens of
// Gemini 2.0 to 3 with (googleapis/python-genai, local_tokenizer.py). The first call makes it.
func Gemma3() *Vocabulary { return gemma3() }

// Gemma's tokenizer is SentencePiece: it merges characters of the whole text, has no split pattern,
// and takes a character that it doesn't know for its bytes. Merging is the same here with pieces cut
// where no token of the vocabulary reaches across (TestGemmaCuts), and with characters merged from
// their bytes before anything else.
//
// Runs of up to 31 spaces, line ends or tabs and some HTML tags are tokens that are taken before
// anything is merged.
func splitGemma(text []byte, i int) int {
	r, width := gemmaCharacters.at(text, i)
	switch {
	case r == unknownCharacter:
		return i + 1
	case r == '<':
		if n := tag(text[i:]); n > 0 {
			return i + n
		}
	case isRun(r):
		end := i + 1
		for end < len(text) && end < i+mostRun && text[end] == text[i] {
			end++
		}
		if r != ' ' || end > i+1 {
			return end
		}
		// One space goes with what follows.
	}
	for i += width; i < len(text); i += width {
		next, w := gemmaCharacters.at(text, i)
		if next == unknownCharacter || isRun(next) || !gemmaCharacters.meet(r, next) || next == '<' && tag(text[i:]) > 0 {
			break
		}
		r, width = next, w
	}
	return i
}

// plainGemma are the plain pieces of Gemma. A sign that may begin a tag is none.
var plainGemma = newPlain(startsGemma, func(c byte) kind {
	switch {
	case asciiKinds[c] == 1:
		return small
	case c == '<':
		return special
	case asciiKinds[c] == 2:
		return sign
	case '0' <= c && c <= '9':
		return digit
	case c == ' ':
		return blank
	}
	return unknown
})

// mostRun is the longest run that is one token.
const mostRun = 31

// isRun reports whether runs of the character are tokens.
func isRun(r rune) bool { return r == ' ' || r == '\n' || r == '\t' }

// unknownCharacter is one that is not in the vocabulary, and each byte of it.
const unknownCharacter = -1

// gemmaCharacters are those of the vocabulary. They are there when the vocabulary is.
var gemmaCharacters *characterSet

// characterSet has a bit for each character of a vocabulary, and one for each pair of characters that meet in
// a token. Pairs share bits: that two seem to meet though they never do makes a longer piece and the same count.
type characterSet struct {
	known [unicode.MaxRune/64 + 1]uint64
	pairs [1 << 16]uint64
}

func (s *characterSet) fill(tokens *tokenList) {
	for i := range tokens.left {
		text := tokens.bytes[tokens.ends[i]:tokens.ends[i+1]]
		r, width := utf8.DecodeRune(text)
		if !utf8.Valid(text) {
			continue // on the way to a character
		}
		if width == len(text) {
			s.known[r/64] |= 1 << (r % 64)
		}
		for len(text) > width {
			text = text[width:]
			before := r
			r, width = utf8.DecodeRune(text)
			slot, bit := pairSlot(before, r)
			s.pairs[slot] |= bit
		}
	}
}

func (s *characterSet) at(text []byte, i int) (rune, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return rune(c), 1
	}
	r, width := utf8.DecodeRune(text[i:])
	if width == 1 || s.known[r/64]>>(r%64)&1 == 0 {
		return unknownCharacter, 1
	}
	return r, width
}

// meet reports whether a token may have the two characters one behind the other.
func (s *characterSet) meet(a, b rune) bool {
	if a|b < utf8.RuneSelf { // quicker, and without the insides of tags
		return asciiKinds[a] != 0 && asciiKinds[a] == asciiKinds[b] || a == ' ' && asciiKinds[b] != 0
	}
	slot, bit := pairSlot(a, b)
	return s.pairs[slot]&bit != 0
}

func pairSlot(a, b rune) (slot, bit uint64) {
	h := (uint64(a)<<21 | uint64(b)) * 0x9e3779b97f4a7c15
	return h >> 48, 1 << (h >> 42 & 63)
}

// asciiKinds are 1 for letters, 2 for symbols: those share tokens with their own kind alone. Digits share none.
var asciiKinds = func() (t [utf8.RuneSelf]uint8) {
	for c := range t {
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z':
			t[c] = 1
		case !isRun(rune(c)) && (c < '0' || c > '9'):
			t[c] = 2
		}
	}
	return t
}()

// tag is the length of the tag that is a token by itself at the beginning of text, or 0.
func tag(text []byte) int {
	if len(text) < 3 || text[0] != '<' {
		return 0
	}
	end := bytes.IndexByte(text[:min(len(text), mostTag)], '>')
	if end < 0 || !tags[string(text[1:end])] {
		return 0
	}
	return end + 1
}

const mostTag = len("<end_of_image>") // longer than any that closes

// tags are the names of all, those that close with their slash.
var tags = func() map[string]bool {
	all := map[string]bool{}
	for _, name := range []string{
		"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote",
		"strong", "em", "b", "i", "u", "s", "sub", "sup", "code", "a", "html", "body", "img", "span", "bbox", "ul", "li", "div", "iframe", "footer",
	} {
		all[name], all["/"+name] = true, true
	}
	return all
}()
