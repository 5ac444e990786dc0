package bpe

import (
	"encoding/json"
	"os"
	"testing"
	"unicode/utf8"

	"keel/pricing/tokens/bpe/sample"
)

func checkGemma(t *testing.T, text string, want int64) {
	t.Helper()
	if n, exact := Gemma3().Count([]byte(text)); n != want || !exact {
		t.Errorf("gemma3: %q is %d tokens, exact %v, want %d", text, n, exact, want)
	}
}

// TestGemmaVectors has what is a matter of Gemma alone: runs of blanks, tags, code, characters that are not in
// the vocabulary. The counts are those of tokenizers 0.23 with Gemma's own file.
func TestGemmaVectors(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/gemma3.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Text   string
		Gemma3 int64
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 80 {
		t.Errorf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		checkGemma(t, v.Text, v.Gemma3)
	}
}

// TestGemmaCuts: to cut a text changes no count, because no token lies across a cut.
func TestGemmaCuts(t *testing.T) {
	t.Parallel()
	Gemma3() // fills the tables of characters
	tokens, err := unpack(gemma3Pairs)
	if err != nil {
		t.Fatal(err)
	}
	// Two of a quarter of a million are counted as two, and the beginnings of tags are no tokens.
	crossing := map[string]bool{"> </": true, " /\u02c8": true}
	whole := 0
	for i := range tokens.left {
		text := tokens.bytes[tokens.ends[i]:tokens.ends[i+1]]
		if !utf8.Valid(text) || crossing[string(text)] || beginsTag(text) {
			continue
		}
		whole++
		if end := splitGemma(text, 0); end != len(text) {
			t.Errorf("token %d, %q, is cut at %d", i, text, end)
		}
		if n, exact := Gemma3().Count(text); n != 1 || !exact {
			t.Errorf("token %d, %q, is %d tokens, exact %v", i, text, n, exact)
		}
	}
	if whole < 255_000 {
		t.Errorf("only %d tokens", whole)
	}
}

// beginsTag reports whether text is a tag without its end.
func beginsTag(text []byte) bool {
	if len(text) < 2 || text[0] != '<' {
		return false
	}
	last := text[len(text)-1]
	return 'a' <= last && last <= 'z' || '0' <= last && last <= '9'
}

// TestGemmaLongTexts: scripts without spaces are cut into pieces that are short enough to be merged.
func TestGemmaLongTexts(t *testing.T) {
	t.Parallel()
	for name, text := range sample.Texts {
		if n, exact := Gemma3().Count(text(60_000)); !exact || n < 5_000 {
			t.Errorf("%s: %d tokens, exact %v", name, n, exact)
		}
	}
}

func BenchmarkGemma(b *testing.B) {
	text := sample.English(30_000)
	v := Gemma3()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		v.Count(text)
	}
}
