package journal

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const testSegment = 16 << 10

// entry is a record as a test knows it.
type entry struct {
	org     string
	kind    byte
	payload string
	at      Position
}

type tester interface {
	Helper()
	Fatalf(string, ...any)
}

func quiet(o Options) Options {
	o.Logger = slog.New(slog.DiscardHandler)
	if o.SegmentBytes == 0 {
		o.SegmentBytes = testSegment
	}
	if o.Host == "" {
		o.Host = "here"
	}
	return o
}

func open(t tester, dir string, o Options) *Folder {
	t.Helper()
	f, err := Open(dir, quiet(o))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return f
}

func begin(t tester, f *Folder) *Journal {
	t.Helper()
	j, err := f.Create(uuid.Must(uuid.NewV7()))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return j
}

func add(t tester, j *Journal, org string, payload string) entry {
	t.Helper()
	at, err := j.Append(org, 7, []byte(payload))
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return entry{org, 7, payload, at}
}

// fill appends records of about 500 bytes.
func fillJournal(t tester, j *Journal, n int) (all []entry) {
	t.Helper()
	for i := range n {
		all = append(all, add(t, j, fmt.Sprintf("org%d", i%3), strings.Repeat(fmt.Sprintf("%04d", i), 100+i%40)))
	}
	return all
}

func readAll(r *Reader) (all []entry, err error) {
	for {
		rec, ok, err := r.Next()
		if err != nil || !ok {
			return all, err
		}
		all = append(all, entry{rec.Org, rec.Kind, string(rec.Payload), rec.Position})
	}
}

func same(t tester, what string, got, want []entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: record %d is %.80v, want %.80v", what, i, got[i], want[i])
		}
	}
}

func reads(t tester, what string, r *Reader, want []entry) {
	t.Helper()
	got, err := readAll(r)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	same(t, what, got, want)
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func second[T any](_ T, err error) error { return err }

// noSync is a disk whose syncs only count, for tests that end no machine.
func noSync() *disk {
	d := realDisk
	d.fdatasync, d.syncDir = func(int) error { return nil }, func(string) error { return nil }
	return &d
}

func copyDir(t tester, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatalf("copy: %v", err)
	}
}

// leftOf opens a folder and returns its only journal, or why it is kept aside.
func leftOf(t tester, dir string, o Options) (*Journal, *Aside, func()) {
	t.Helper()
	if o.disk == nil {
		o.disk = noSync()
	}
	f := open(t, dir, o)
	left, aside, err := f.Left()
	if err != nil || len(left)+len(aside) != 1 {
		t.Fatalf("left %v, aside %v, %v", left, aside, err)
	}
	if len(aside) == 1 {
		return nil, &aside[0], func() { _ = f.Close() }
	}
	return left[0], nil, func() { _ = f.Close() }
}
