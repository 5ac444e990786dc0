package bpe

import (
	"bytes"
	"math/bits"
	"strings"
	"testing"

	"keel/pricing/tokens/bpe/sample"
	"pgregory.net/rapid"
)

// checkPlain has the splitter of a vocabulary say where pieces begin, and what is plain of the window at each of them.
func checkPlain(t rapid.TB, v *Vocabulary, text []byte) (plain int) {
	t.Helper()
	var begins []int
	for i := 0; i < len(text); i = v.next(text, i) {
		begins = append(begins, i)
	}
	begins = append(begins, len(text))
	for k, from := range begins[:len(begins)-1] {
		starts, unsure := v.plain.cut(text, from)
		for at := k; starts != 0; starts &= starts - 1 {
			start, before := from+bits.TrailingZeros64(starts), begins[at]
			next := at + 1
			for next < len(begins) && begins[next] < start {
				next++
			}
			if next == len(begins) || begins[next] != start {
				t.Fatalf("%q: seen from %d, a piece begins at %d, but the splitter has them at %v", text, from, start, begins)
			}
			known := starts&-starts - 1
			switch {
			case unsure&known != 0:
			case next > at+1:
				t.Fatalf("%q: seen from %d, no piece begins in %d to %d, but the splitter has them at %v", text, from, before, start, begins)
			case at == k:
				plain += start - before
			}
			unsure, at = unsure&^known, next
		}
	}
	return plain
}

// plainly has characters that plain pieces and their ends are told by.
var plainly = append(strings.Split("a z A Z Q the The THE tHe aB word unbelievably extraordinary ' 's 'S 're 't 12 3456 7 . , ( ) < <b> </td> ` | - -- \" / // \\ \n \r\n \t", " "), " ", "  ", " ", " ", "é", "É", "中", "\u0301", "\u00a0", "٣", "’", "\x00", "\x7f", "[", "@", "{", "`")

func TestPlain(t *testing.T) {
	t.Parallel()
	piece := rapid.OneOf(rapid.SampledFrom(plainly), rapid.SampledFrom(plainly), rapid.SampledFrom(hostile), rapid.StringMatching(`[ -~]{0,12}`))
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(strings.Join(rapid.SliceOf(piece).Draw(t, "text"), ""))
		for _, v := range vocabularies() {
			checkPlain(t, v, bytes.ToValidUTF8(text, nil))
		}
	})
	for name, text := range sample.Texts {
		text := bytes.ToValidUTF8(text(100_000), nil)
		for i, v := range vocabularies() {
			plain := checkPlain(t, v, text)
			t.Logf("%s: %d %% is plain in vocabulary %d", name, 100*plain/len(text), i)
			if name != "CJK" && plain < len(text)/2 {
				t.Errorf("%s: only %d of %d bytes are plain in vocabulary %d", name, plain, len(text), i)
			}
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s + s + " " + s + "        "))
	}
	f.Add([]byte("!0 !0!A!0ǂ0000000000000000000"))
	for _, s := range []string{
		"x\n   \n\n z", "x;\n  \u00a0 \ny", "x \n ", "x\n  ", // blanks that end otherwise than they begin
		"'\n//'aa b", "'\n/\n/'aa b", "x\n/'aa b", ";\n//\n b", // slashes among line ends
		"é'lLa b", "é'sB c", "a'reb c", "it's'd e", "x ''S y", // contractions
		"٣123456 7", "é1234 5", "1234567 8", "½1234 5", // numbers
		"(\u0301a) b", "((\u0301a b", "A\u0301Bc d", "AB\u0301c D", // marks
		"<strong>1</strong>a1", "</blockquote>12(ab)34", "</blockquote>a", "<<table>>  a", "a  b   c\td", // tags and runs
	} {
		f.Add([]byte(s))
		f.Add([]byte(s + strings.Repeat(" and so on", 8)))
	}
	f.Add([]byte("The quick brown Fox isn't 12345 (really)... <b>unbelievably</b> HTTPServer's\n\n  done.        "))
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.ToValidUTF8(text, []byte("?"))
		for _, v := range vocabularies() {
			checkPlain(t, v, text)
		}
	})
}

// Whatever is not merged needs no work.
func TestEveryByteIsAToken(t *testing.T) {
	t.Parallel()
	for i, v := range vocabularies() {
		for c := range 256 {
			if b := []byte{byte(c)}; !v.words.has(v.hash.piece(b, 0, 1)) {
				t.Errorf("vocabulary %d has no token of the byte %#x", i, c)
			}
		}
	}
}
