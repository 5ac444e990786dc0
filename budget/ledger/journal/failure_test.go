package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestFailsForGood lets one operation fail once: the journal takes nothing more, writes nothing more, and
// what it had taken is read here, and after the end of the process what was durable.
func TestFailsForGood(t *testing.T) {
	for _, c := range []struct {
		name, op string
		arm      func(d *disk, fail func() bool)
		errno    error
	}{
		{"EIO when a record is written", "write", func(d *disk, fail func() bool) {
			pwrite := d.pwrite
			d.pwrite = func(fd int, b []byte, at int64) (int, error) {
				if at >= recordsAt && fail() {
					return 0, syscall.EIO
				}
				return pwrite(fd, b, at)
			}
		}, syscall.EIO},
		{"half a record is written", "write", func(d *disk, fail func() bool) {
			pwrite := d.pwrite
			d.pwrite = func(fd int, b []byte, at int64) (int, error) {
				if at >= recordsAt && fail() {
					return pwrite(fd, b[:len(b)/2], at)
				}
				return pwrite(fd, b, at)
			}
		}, nil},
		{"ENOSPC when a record is written", "write", func(d *disk, fail func() bool) {
			pwrite := d.pwrite
			d.pwrite = func(fd int, b []byte, at int64) (int, error) {
				if at >= recordsAt && fail() {
					return 0, syscall.ENOSPC
				}
				return pwrite(fd, b, at)
			}
		}, syscall.ENOSPC},
		{"EIO when a mark is written", "write", func(d *disk, fail func() bool) {
			pwrite := d.pwrite
			d.pwrite = func(fd int, b []byte, at int64) (int, error) {
				if at == markAt && fail() {
					return 0, syscall.EIO
				}
				return pwrite(fd, b, at)
			}
		}, syscall.EIO},
		{"EIO at fdatasync", "sync", func(d *disk, fail func() bool) {
			d.fdatasync = func(int) error {
				if fail() {
					return syscall.EIO
				}
				return nil
			}
		}, syscall.EIO},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			d := noSync()
			var armed, happened atomic.Bool
			c.arm(d, func() bool { return armed.Load() && happened.CompareAndSwap(false, true) })
			var late atomic.Int32
			pwrite, sync := d.pwrite, d.fdatasync
			f := open(t, dir, Options{disk: d, SyncEvery: time.Hour})
			d.pwrite = func(fd int, b []byte, at int64) (int, error) {
				if happened.Load() {
					late.Add(1)
				}
				return pwrite(fd, b, at)
			}
			d.fdatasync = func(fd int) error {
				if happened.Load() {
					late.Add(1)
				}
				return sync(fd)
			}
			j := begin(t, f)
			all := fillJournal(t, j, 5)
			if err := j.Sync(t.Context(), all[4].at.End); err != nil {
				t.Fatal(err)
			}
			armed.Store(true)
			at, err := j.Append("org0", 7, []byte("one more"))
			if err == nil {
				all = append(all, entry{"org0", 7, "one more", at})
				if err = j.Sync(t.Context(), at.End); err == nil {
					_, err = j.Append("org0", 7, nil) // a mark that can't be written does not undo a sync
				}
			}
			var failed *FailedError
			if !errors.As(err, &failed) || j.Err() == nil || failed.Op != c.op || !strings.HasSuffix(failed.File, "000001.seg") || c.errno != nil && !errors.Is(err, c.errno) {
				t.Fatalf("%v", err)
			}
			if c.op == "sync" && failed.Offset != all[4].at.End {
				t.Fatalf("offset %d: durable up to %d", failed.Offset, all[4].at.End)
			}
			for range 3 {
				if _, err := j.Append("org1", 1, nil); !errors.As(err, &failed) {
					t.Fatalf("append after that: %v", err)
				}
			}
			reads(t, "what was taken", j.Reader(), all)
			_ = f.Close()
			if n := late.Load(); n != 0 {
				t.Fatalf("%d writes and syncs after the first that failed", n)
			}
			left, aside, done := leftOf(t, dir, Options{})
			defer done()
			if aside != nil {
				t.Fatal(aside.Reason)
			}
			reads(t, "by the next process", left.Reader(), all)
		})
	}
}

// The next segment can't be made: that is said when there is still room, tried again, and
// the journal fails when a record does not fit.
func TestNoNextSegment(t *testing.T) {
	for _, what := range []string{"fallocate", "rename", "seal"} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			d := noSync()
			var broken atomic.Bool
			fallocate, rename := d.fallocate, d.rename
			d.fallocate = func(fd int, size int64) error {
				if what == "fallocate" && broken.Load() {
					return syscall.ENOSPC
				}
				return fallocate(fd, size)
			}
			d.rename = func(from, to string) error {
				if what == "rename" && broken.Load() {
					return syscall.ENOSPC
				}
				return rename(from, to)
			}
			d.fdatasync = func(int) error {
				if what == "seal" && broken.Load() {
					return syscall.ENOSPC
				}
				return nil
			}
			f := open(t, dir, Options{disk: d, SyncEvery: time.Hour})
			j := begin(t, f)
			all := []entry{add(t, j, "a", "x")}
			if err := j.Sync(t.Context(), all[0].at.End); err != nil {
				t.Fatal(err)
			}
			broken.Store(true)
			for j.Err() == nil {
				at, err := j.Append("a", 7, []byte(strings.Repeat("y", 900)))
				if err == nil {
					all = append(all, entry{"a", 7, strings.Repeat("y", 900), at})
				}
			}
			if len(all) < 13 || !errors.Is(j.Err(), syscall.ENOSPC) {
				t.Fatalf("failed after %d records: %v", len(all), j.Err())
			}
			reads(t, "what was taken", j.Reader(), all)
			_ = f.Close()
			left, aside, done := leftOf(t, dir, Options{})
			defer done()
			if aside != nil {
				t.Fatal(aside.Reason)
			}
			reads(t, "by the next process", left.Reader(), all)
		})
	}
}

func TestCreateFailsWhole(t *testing.T) {
	for n := range 4 {
		dir := t.TempDir()
		d := noSync()
		fail := func(i int) error {
			if i == n {
				return syscall.ENOSPC
			}
			return nil
		}
		fallocate, rename, pwrite := d.fallocate, d.rename, d.pwrite
		d.fallocate = func(fd int, size int64) error { return errors.Join(fail(0), fallocate(fd, size)) }
		d.rename = func(from, to string) error {
			if err := fail(1); err != nil {
				return err
			}
			return rename(from, to)
		}
		d.pwrite = func(fd int, b []byte, at int64) (int, error) {
			if err := fail(2); err != nil {
				return 0, err
			}
			return pwrite(fd, b, at)
		}
		d.fdatasync = func(int) error { return fail(3) }
		f := open(t, dir, Options{disk: d})
		if _, err := f.Create(uuid.New()); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%d: %v", n, err)
		}
		if got := names(t, dir); got != "lock" {
			t.Fatalf("%d: there is something left: %s", n, got)
		}
		_ = f.Close()
	}
}

func TestSettledCannotBeMarked(t *testing.T) {
	dir := t.TempDir()
	d := noSync()
	var broken atomic.Bool
	d.rename = func(from, to string) error {
		if broken.Load() {
			return syscall.EIO
		}
		return os.Rename(from, to)
	}
	f := open(t, dir, Options{disk: d})
	defer f.Close()
	j := begin(t, f)
	all := fillJournal(t, j, 60)
	broken.Store(true)
	if err := j.Settled(all[59].at); !errors.Is(err, syscall.EIO) {
		t.Fatalf("%v", err)
	}
	if j.Err() != nil {
		t.Fatalf("the journal failed: %v", j.Err())
	}
	reads(t, "nothing is lost by it", j.Reader(), all)
	broken.Store(false)
	if err := j.Settled(all[59].at); err != nil {
		t.Fatal(err)
	}
	if got := names(t, filepath.Join(dir, j.Epoch().String())); !strings.HasPrefix(got, "000001.done 000002.done") {
		t.Fatal(got)
	}
}
