package journal

import (
	"errors"
	"syscall"
	"testing"
)

// TestDiskFull fills a real file system: every record that was taken is there, and the error comes before one is lost.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=100k"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	f := open(t, dir, Options{})
	j := begin(t, f)
	var all []entry
	for {
		at, err := j.Append("a", 1, make([]byte, 1000))
		if err != nil {
			break
		}
		all = append(all, entry{"a", 1, string(make([]byte, 1000)), at})
	}
	var failed *FailedError
	if !errors.As(j.Err(), &failed) || failed.Op != "allocate" || !errors.Is(j.Err(), syscall.ENOSPC) {
		t.Fatalf("%v", j.Err())
	}
	reads(t, "of a full disk", j.Reader(), all)
	if err := j.Settled(all[len(all)-1].at); err != nil {
		t.Fatal(err)
	}
	if err := j.Finished(); err != nil { // gives room for the next
		t.Fatal(err)
	}
	_ = f.Close()
}
