package tokens_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tiktoken-go/tokenizer"
	"keel/pricing/tokens/bpe"
	"keel/pricing/tokens/bpe/sample"
)

// BenchmarkCount counts texts by package bpe and, once, by tiktoken-go/tokenizer. The metric
// "times-tiktoken-go" is how many times faster bpe is.
func BenchmarkCount(b *testing.B) {
	other, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		b.Fatal(err)
	}
	v := bpe.O200k()
	for _, kind := range []string{"English", "code", "JSON", "CJK"} {
		for _, size := range []int{30_000, 300_000} {
			text := sample.Texts[kind](size)
			b.Run(fmt.Sprintf("%s/%dKB", kind, size/1000), func(b *testing.B) {
				slow := fastest(b, func() error { _, err := other.Count(string(text)); return err })
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					v.Count(text)
				}
				ours := float64(b.Elapsed()) / float64(b.N)
				b.ReportMetric(float64(slow)/ours, "times-tiktoken-go")
			})
		}
	}
}

// fastest is the time of the fastest of some calls.
func fastest(b *testing.B, f func() error) time.Duration {
	best := time.Hour
	for range 5 {
		begin := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(begin))
	}
	return best
}

// BenchmarkSegment counts a text that was counted before.
func BenchmarkSegment(b *testing.B) {
	for _, size := range []int{300, 30_000, 300_000} {
		quoted, err := json.Marshal(string(sample.English(size)))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.SetBytes(int64(len(quoted)))
			b.ReportAllocs()
			for b.Loop() {
				bpe.O200k().Segment(quoted)
			}
		})
	}
}
