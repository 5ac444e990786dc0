package bpe

import (
	"maps"
	"slices"
	"testing"

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

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		load("o200k_base", o200kPairs, plainO200k, splitO200k)
	}
}
