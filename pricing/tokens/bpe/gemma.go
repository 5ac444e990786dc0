package bpe

import (
	"bytes"
	"sync"
	"unicode"
	"unicode/utf8"
)

var gemma3 = sync.OnceValue(func() *Vocabulary { return load("gemma3", gemma3Pairs, splitGemma) })

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
	c, width := joinAt(text, i)
	switch c {
	case joinsNothing:
		return i + width
	case joinsRun:
		end := i + 1
		for end < len(text) && end < i+mostRun && text[end] == text[i] {
			end++
		}
		if text[i] != ' ' || end > i+1 {
			return end
		}
		// One space goes with what follows.
		if end == len(text) {
			return end
		}
		if c, width = joinAt(text, end); c == joinsNothing || c == joinsRun || tag(text[end:]) > 0 {
			return end
		}
		i = end
	case joinsSymbols:
		if n := tag(text[i:]); n > 0 {
			return i + n
		}
	}
	for i += width; i < len(text); i += width {
		next, w := joinAt(text, i)
		if next == joinsNothing || next == joinsRun || next != c && next != joinsAll && c != joinsAll || next == joinsSymbols && tag(text[i:]) > 0 {
			break
		}
		c, width = next, w
	}
	return i
}

// mostRun is the longest run that is one token.
const mostRun = 31

// join says what a character can share a token with.
type join uint8

const (
	joinsNothing join = iota // digits, bytes of what is not in the vocabulary
	joinsRun                 // space, line end, tab: its own kind, and a space with what follows
	joinsLetters
	joinsSymbols // in ASCII
	joinsAll     // the rest: more than any token does, which costs time and no exactness
)

func joinAt(text []byte, i int) (join, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return asciiJoins[c], 1
	}
	r, width := utf8.DecodeRune(text[i:])
	if r == utf8.RuneError && width <= 1 || gemmaCharacters()[r/64]>>(r%64)&1 == 0 {
		return joinsNothing, 1
	}
	if c, _ := classAt(text, i); c&(letter|mark) != 0 {
		return joinsLetters, width
	}
	return joinsAll, width
}

var asciiJoins = func() (t [utf8.RuneSelf]join) {
	for c := range t {
		switch {
		case c == ' ' || c == '\n' || c == '\t':
			t[c] = joinsRun
		case '0' <= c && c <= '9':
			t[c] = joinsNothing
		case 'a' <= c|0x20 && c|0x20 <= 'z':
			t[c] = joinsLetters
		default:
			t[c] = joinsSymbols
		}
	}
	return t
}()

// gemmaCharacters has a bit for each character in the vocabulary.
var gemmaCharacters = sync.OnceValue(func() *[unicode.MaxRune/64 + 1]uint64 {
	tokens, err := unpack(gemma3Pairs)
	if err != nil {
		panic("bpe: embedded vocabulary gemma3: " + err.Error() + ": run go generate")
	}
	var known [unicode.MaxRune/64 + 1]uint64
	for i := range tokens.left {
		text := tokens.bytes[tokens.ends[i]:tokens.ends[i+1]]
		if r, width := utf8.DecodeRune(text); utf8.Valid(text) && width == len(text) {
			known[r/64] |= 1 << (r % 64)
		}
	}
	return &known
})

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
