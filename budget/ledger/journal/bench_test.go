package journal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkAppend appends while fdatasync runs all the time.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{320, 2048} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := open(b, b.TempDir(), Options{SegmentBytes: 64 << 20, SyncEvery: time.Nanosecond})
			defer f.Close()
			j := begin(b, f)
			payload := make([]byte, size)
			measure(b, func(int) error {
				_, err := j.Append("acme", 1, payload)
				return err
			})
		})
	}
}

// measure writes 20,000 times a second.
func measure(b *testing.B, write func(i int) error) {
	var took []time.Duration
	b.ReportAllocs()
	next := time.Now()
	for i := 0; b.Loop(); i++ {
		for next = next.Add(50 * time.Microsecond); time.Now().Before(next); {
		}
		start := time.Now()
		if err := write(i); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	for _, p := range []float64{50, 99, 99.9} {
		b.ReportMetric(float64(took[int(float64(len(took)-1)*p/100)]), fmt.Sprintf("p%v-ns", p))
	}
}

// BenchmarkPwrite is what the system takes of BenchmarkAppend: the same writes, without a journal.
func BenchmarkPwrite(b *testing.B) {
	f := open(b, b.TempDir(), Options{SegmentBytes: 64 << 20})
	defer f.Close()
	s := begin(b, f).current
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = fdatasync(s.fd)
			}
		}
	}()
	measure(b, func(i int) error {
		return realDisk.write(s.fd, make([]byte, 360), recordsAt+int64(i%100_000)*360)
	})
	close(stop)
	<-stopped
}

func BenchmarkReader(b *testing.B) {
	f := open(b, b.TempDir(), Options{SegmentBytes: 64 << 20, disk: noSync()})
	defer f.Close()
	j := begin(b, f)
	payload := strings.Repeat("x", 320)
	for range 150_000 {
		add(b, j, "acme", payload)
	}
	b.ReportAllocs()
	b.SetBytes(j.end.Load())
	for b.Loop() {
		if all := j.Reader(); all != nil {
			for {
				_, ok, err := all.Next()
				if err != nil {
					b.Fatal(err)
				}
				if !ok {
					break
				}
			}
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	f := open(t, t.TempDir(), Options{SegmentBytes: 1 << 20, SyncEvery: time.Hour})
	defer f.Close()
	j := begin(t, f)
	payload := make([]byte, 320)
	if n := testing.AllocsPerRun(1000, func() { _, _ = j.Append("acme", 1, payload) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
