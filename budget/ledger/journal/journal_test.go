package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestAppendReadSettleFinish(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, Options{})
	j := begin(t, f)
	r := j.Reader()
	reads(t, "nothing yet", r, nil)
	all := fillJournal(t, j, 100) // more than three segments
	<-j.Grown()
	reads(t, "all", r, all)
	if err := j.Sync(t.Context(), all[99].at.End); err != nil {
		t.Fatal(err)
	}
	if all[99].at.Seq != 34 || all[0].at.Seq != 1 {
		t.Fatalf("seqs of the first and last record: %d and %d", all[0].at.Seq, all[99].at.Seq)
	}
	if err := j.Finished(); err == nil {
		t.Fatal("finished, and nothing is settled")
	}
	// The last record of the first segment, to the byte.
	last := 0
	for j.indexOf(all[last+1].at.End) == 1 {
		last++
	}
	if err := j.Settled(all[last-1].at); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, j.Epoch().String())
	if got := names(t, path); !strings.HasPrefix(got, "000001.seg") {
		t.Fatalf("settled but for one record: %s", got)
	}
	before, _ := j.Bytes()
	if err := j.Settled(all[last].at); err != nil {
		t.Fatal(err)
	}
	if got := names(t, path); !strings.HasPrefix(got, "000001.done 000002.seg") {
		t.Fatalf("the first segment is settled: %s", got)
	}
	if waiting, _ := j.Bytes(); waiting >= before {
		t.Fatalf("%d bytes wait, %d before", waiting, before)
	}
	reads(t, "from the second segment", j.Reader(), all[last+1:])
	if err := j.Rewind(r); err != nil {
		t.Fatal(err)
	}
	reads(t, "rewound", r, all)
	if err := j.Settled(Position{End: all[99].at.End + 8}); err == nil {
		t.Fatal("settled what was never written")
	}
	if err := j.Settled(all[99].at); err != nil {
		t.Fatal(err)
	}
	if err := j.Finished(); err != nil {
		t.Fatal(err)
	}
	if f.allocated.Load() != 0 {
		t.Fatalf("%d bytes are still counted as not settled", f.allocated.Load())
	}
	if _, err := j.Append("org0", 1, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("append to a finished journal: %v", err)
	}
	reads(t, "a reader of a finished journal", j.Reader(), nil)

	kept, err := f.FinishedJournals()
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d finished journals: %v", len(kept), err)
	}
	r = kept[0].Reader()
	reads(t, "kept", r, nil)
	if err := kept[0].Rewind(r); err != nil {
		t.Fatal(err)
	}
	reads(t, "kept, rewound", r, all)
	later := time.Now().Add(25 * time.Hour)
	if err := f.Prune(later); err != nil || !strings.Contains(names(t, dir), ".finished") {
		t.Fatalf("pruned while it is read again: %v", err)
	}
	if err := kept[0].Finished(); err != nil {
		t.Fatal(err)
	}
	if err := f.Prune(later.Add(-2 * time.Hour)); err != nil || !strings.Contains(names(t, dir), ".finished") {
		t.Fatalf("pruned too early: %v", err)
	}
	if err := f.Prune(later); err != nil || names(t, dir) != "lock" {
		t.Fatalf("not pruned: %s: %v", names(t, dir), err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPruneKeepsTheLastSettledSegment(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, Options{})
	j := begin(t, f)
	all := fillJournal(t, j, 120)
	if err := j.Settled(all[len(all)-1].at); err != nil {
		t.Fatal(err)
	}
	r := j.Reader()
	if err := j.Rewind(r); err != nil {
		t.Fatal(err)
	}
	first, _, err := r.Next()
	if err != nil || first.JournalSeq != 1 {
		t.Fatalf("first record: %d, %v", first.JournalSeq, err)
	}
	if err := f.Prune(time.Now().Add(25 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, j.Epoch().String())
	if got := names(t, path); strings.Count(got, ".done") != 1 || strings.Contains(got, "000001") {
		t.Fatalf("kept: %s", got)
	}
	got, err := readAll(r) // what it had read ahead of the first, then the first that is kept
	if err != nil || len(got) == 0 || got[len(got)-1] != all[119] {
		t.Fatalf("a reader that was overtaken: %d records, %v", len(got), err)
	}
	_ = f.Close()
	f = open(t, dir, Options{})
	left, aside, err := f.Left()
	if err != nil || len(left) != 1 || len(aside) != 0 {
		t.Fatalf("left %d, aside %v, %v", len(left), aside, err)
	}
	rest := left[0].Reader()
	got, err = readAll(rest)
	if err != nil || len(got) == 0 || got[len(got)-1] != all[119] {
		t.Fatalf("after pruning: %d records, %v", len(got), err)
	}
	_ = f.Close()
}

func TestLeftIsReadAndFinished(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, Options{})
	j1 := begin(t, f)
	all := fillJournal(t, j1, 70)
	j2 := begin(t, f) // nothing in it
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"append": second(j1.Append("a", 1, nil)), "settled": j1.Settled(all[0].at)} {
		if !errors.Is(err, ErrClosed) {
			t.Fatalf("%s after close: %v", what, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, uuid.NewString()+".new"), 0o750); err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // what is left is found until it is finished
		f = open(t, dir, Options{})
		left, aside, err := f.Left()
		if err != nil || len(left) != 2 || len(aside) != 0 || left[0].Epoch() != j1.Epoch() || left[1].Epoch() != j2.Epoch() {
			t.Fatalf("left %d, aside %v, %v", len(left), aside, err)
		}
		if strings.Contains(names(t, dir), ".new") {
			t.Fatal("a journal that was never begun is still there")
		}
		if _, err := left[0].Append("a", 1, nil); !errors.Is(err, ErrReadOnly) {
			t.Fatalf("append to a journal that was left: %v", err)
		}
		reads(t, "left", left[0].Reader(), all)
		reads(t, "empty", left[1].Reader(), nil)
		if err := left[0].Settled(all[len(all)*6/7].at); err != nil {
			t.Fatal(err)
		}
		rest, err := readAll(left[0].Reader())
		if err != nil || len(rest) == 0 || round == 0 && len(rest) == len(all) || rest[len(rest)-1] != all[len(all)-1] {
			t.Fatalf("%d not settled, %v", len(rest), err)
		}
		_ = f.Close()
		all = rest
	}
	f = open(t, dir, Options{})
	left, _, err := f.Left()
	if err != nil {
		t.Fatal(err)
	}
	for i, j := range left {
		if i == 0 {
			if err := j.Settled(all[len(all)-1].at); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Finished(); err != nil {
			t.Fatal(err)
		}
	}
	if left, _, err = f.Left(); err != nil || len(left) != 0 {
		t.Fatalf("left %d: %v", len(left), err)
	}
	_ = f.Close()
}

func TestSyncSaysWhenItCannot(t *testing.T) {
	f := open(t, t.TempDir(), Options{SyncEvery: time.Hour})
	j := begin(t, f)
	e := add(t, j, "a", "x")
	if err := j.Sync(t.Context(), e.at.End); err != nil { // does not wait an hour
		t.Fatal(err)
	}
	if err := j.Sync(t.Context(), e.at.End+8); err == nil {
		t.Fatal("synced what was never written")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Sync(ctx, e.at.End); err != nil { // durable is durable
		t.Fatal(err)
	}
}

func TestTooLargeAndFull(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, quiet(Options{MaxBytes: testSegment})); err == nil {
		t.Fatal("a limit without room for two segments")
	}
	if _, err := Open(dir, quiet(Options{SegmentBytes: 5000})); err == nil {
		t.Fatal("segments of 5000 bytes")
	}
	f := open(t, dir, Options{MaxBytes: 2 * testSegment})
	j := begin(t, f)
	var tooLarge *TooLargeError
	if _, err := j.Append("a", 1, make([]byte, testSegment)); !errors.As(err, &tooLarge) {
		t.Fatalf("larger than a segment: %v", err)
	}
	if _, err := j.Append(strings.Repeat("a", 1<<16), 1, nil); !errors.As(err, &tooLarge) {
		t.Fatalf("an org of 64 KiB: %v", err)
	}
	largest := testSegment - recordsAt - frameBytes - fixedBytes - 1
	all := []entry{add(t, j, "a", strings.Repeat("x", largest)), add(t, j, "a", strings.Repeat("y", largest))}
	var full *FullError
	for range 3 {
		if _, err := j.Append("a", 1, nil); !errors.As(err, &full) || j.Err() != nil {
			t.Fatalf("both segments are full: %v, %v", err, j.Err())
		}
	}
	if j.Free() != 0 {
		t.Fatalf("free: %d", j.Free())
	}
	r := j.Reader()
	reads(t, "full", r, all)
	if err := j.Settled(all[0].at); err != nil {
		t.Fatal(err)
	}
	all = append(all, add(t, j, "a", "room again"))
	reads(t, "room again", r, all[2:])
	if err := j.Rewind(r); err != nil {
		t.Fatal(err)
	}
	reads(t, "segments that are full to the last byte", r, all)
	// A process must be able to start, however much was left.
	begin(t, f)
	_ = f.Close()
}

func TestAppendIsSafeForConcurrentUse(t *testing.T) {
	f := open(t, t.TempDir(), Options{SyncEvery: time.Microsecond})
	defer f.Close()
	j := begin(t, f)
	const writers, each = 4, 300
	done := make(chan error, writers)
	for w := range writers {
		go func() {
			payload := bytes.Repeat([]byte{byte(w)}, 200)
			for i := range each {
				at, err := j.Append(fmt.Sprintf("org%d", w%2), byte(w), payload)
				if err == nil && i%50 == 0 {
					err = j.Sync(t.Context(), at.End)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	r, seqs, n := j.Reader(), map[string]uint64{}, 0
	for finished := 0; n < writers*each; {
		rec, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			n++
			if seqs[rec.Org]++; rec.Seq != seqs[rec.Org] || rec.JournalSeq != uint64(n) || len(rec.Payload) != 200 || rec.Payload[199] != rec.Kind {
				t.Fatalf("record %d of %s: %+v", n, rec.Org, rec.Position)
			}
			continue
		}
		if finished == writers {
			t.Fatalf("only %d records", n)
		}
		select {
		case <-j.Grown():
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			finished++
		}
	}
}
