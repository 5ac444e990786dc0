package bpe

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf8"

	"keel/pricing/tokens/bpe/sample"
)

// BenchmarkHostile has 1 MB of texts that take the most work, with an empty memory
// and with a full one. MB/s are to be compared with those of English: a fifth of
// them is what a hostile text may bring them down to.
func BenchmarkHostile(b *testing.B) {
	const size = 1 << 20
	texts := sample.Hostile(size)
	texts["English"] = sample.English(size)
	v := O200k()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		text := texts[name]
		b.Run(name+"/cold", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				b.StopTimer()
				forget(v)
				b.StartTimer()
				v.Count(text)
			}
		})
		b.Run(name+"/warm", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				v.Count(text)
			}
		})
	}
}

// BenchmarkUnique has texts of 1 KB that nobody has seen, as requests have them: of a text that is counted again the processor
// knows each branch.
func BenchmarkUnique(b *testing.B) {
	const size = 1 << 10
	v := O200k()
	for _, name := range slices.Sorted(maps.Keys(sample.Texts)) {
		all := sample.Texts[name](1 << 20)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			v.Count(all)
			for b.Loop() {
				begin := rand.IntN(len(all) - size - utf8.UTFMax)
				for !utf8.RuneStart(all[begin]) {
					begin++
				}
				end := begin + size
				for !utf8.RuneStart(all[end]) {
					end++
				}
				v.Count(all[begin:end])
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		load("o200k_base", o200kPairs, plainO200k, splitO200k)
	}
}
