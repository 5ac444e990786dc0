package bpe

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/dlclark/regexp2/v2"
	"github.com/tiktoken-go/tokenizer"
)

// reference counts as tiktoken's own code is written: its pattern in a regexp
// engine, and merging by looking up bytes.
type reference struct {
	*Vocabulary
	name    string
	pattern *regexp2.Regexp
	ranks   map[string]int
	other   tokenizer.Codec
}

// patterns are those of openai_public.py in tiktoken 0.12. The engine writes possessive
// quantifiers as atomic groups, ends the text by \z and has no long s in (?i:s).
var references = sync.OnceValue(func() []*reference {
	var all []*reference
	for _, v := range []struct {
		*Vocabulary
		name, sum, pattern string
		packed             []byte
		other              tokenizer.Encoding
	}{
		{
			O200k(), "o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
			`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'ſ|'t|'re|'ve|'m|'ll|'d)?|` +
				`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'ſ|'t|'re|'ve|'m|'ll|'d)?|` +
				`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
			o200kPairs, tokenizer.O200kBase,
		},
		{
			Cl100k(), "cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
			`'(?i:[sdmtſ]|ll|ve|re)|(?>[^\r\n\p{L}\p{N}]?)(?>\p{L}+)|(?>\p{N}{1,3})| ?(?>[^\s\p{L}\p{N}]+)(?>[\r\n]*)|(?>\s+)\z|\s*[\r\n]|\s+(?!\S)|\s`,
			cl100kPairs, tokenizer.Cl100kBase,
		},
	} {
		list, err := unpack(v.packed)
		if err != nil {
			panic(err)
		}
		r := &reference{Vocabulary: v.Vocabulary, name: v.name, pattern: regexp2.MustCompile(v.pattern, regexp2.None), ranks: map[string]int{}}
		file := sha256.New()
		for rank := range list.left {
			token := list.bytes[list.ends[rank]:list.ends[rank+1]]
			r.ranks[string(token)] = rank
			fmt.Fprintf(file, "%s %d\n", base64.StdEncoding.EncodeToString(token), rank)
		}
		if sum := fmt.Sprintf("%x", file.Sum(nil)); sum != v.sum {
			panic(fmt.Sprintf("%s is not the vocabulary that OpenAI publishes: as a file its SHA-256 is %s, want %s", v.name, sum, v.sum))
		}
		if r.other, err = tokenizer.Get(v.other); err != nil {
			panic(err)
		}
		all = append(all, r)
	}
	return all
})

// count is the reference's number of tokens.
func (r *reference) count(t testing.TB, text string) (n int64) {
	t.Helper()
	m, err := r.pattern.FindStringMatch(text)
	var covered int
	for ; m != nil && err == nil; m, err = r.pattern.FindNextMatch(m) {
		covered += len(m.String())
		n += r.merge(m.String())
	}
	if err != nil || covered != len(text) {
		t.Fatalf("%s: the reference reads %d bytes of %q: %v", r.name, covered, text, err)
	}
	return n
}

func (r *reference) merge(piece string) int64 {
	if _, ok := r.ranks[piece]; ok {
		return 1
	}
	var parts []string
	for i := range len(piece) {
		parts = append(parts, piece[i:i+1])
	}
	for {
		at, lowest := 0, math.MaxInt
		for i := range len(parts) - 1 {
			if rank, ok := r.ranks[parts[i]+parts[i+1]]; ok && rank < lowest {
				at, lowest = i, rank
			}
		}
		if lowest == math.MaxInt {
			return int64(len(parts))
		}
		parts[at] += parts[at+1]
		parts = append(parts[:at+1], parts[at+2:]...)
	}
}
