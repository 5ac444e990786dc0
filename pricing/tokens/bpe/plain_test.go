package bpe

import (
	"bytes"
	"strings"
	"testing"

	"keel/pricing/tokens/bpe/sample"
	"pgregory.net/rapid"
)

// checkPlain has the splitter of a vocabulary say where pieces end, wherever one may begin.
func checkPlain(t rapid.TB, v *Vocabulary, text []byte) (plain int) {
	t.Helper()
	for i := 0; i < len(text); {
		end := v.next(text, i)
		word, first := v.plain.word(text, i)
		other := v.plain.other(text, i)
		if word > 0 && word != end || other > 0 && other != end {
			t.Fatalf("%q at %d ends at %d, but at %d as a word, and %d as another (0 for none)", text, i, end, word, other)
		}
		if n := end - i; first != 0 && n <= 7 && v.hash.few(first&(1<<(8*n)-1), n) != v.hash.piece(text, i, end) {
			t.Fatalf("%q at %d has another hash by its first bytes", text, i)
		}
		if word > 0 || other > 0 {
			plain += end - i
		}
		i = end
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
	f.Add([]byte("The quick brown Fox isn't 12345 (really)... <b>unbelievably</b> HTTPServer's\n\n  done.        "))
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.ToValidUTF8(text, []byte("?"))
		for _, v := range vocabularies() {
			checkPlain(t, v, text)
		}
	})
}

// Count does not look up what has one byte.
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
