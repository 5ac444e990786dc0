package journal

import (
	"bytes"
	"encoding/binary"
	"syscall"
	"testing"
	"time"
)

// FuzzSegment: of any bytes, only records with a valid checksum are read, and reading costs no more than the bytes are worth.
func FuzzSegment(f *testing.F) {
	const salt, base = 77, 0
	good := make([]byte, recordsAt)
	good = appendRecord(good, salt, recordsAt, 1, 0, "a", 1, 3, []byte("payload"))
	good = appendRecord(good, salt, int64(len(good)), 2, uint64(len(good)), "org", 1, 3, nil)
	f.Add(good[recordsAt:], 0)
	f.Add(append(bytes.Clone(good[recordsAt:]), 255, 255, 255, 255, 1, 2, 3, 4), 0)
	f.Add(good[recordsAt:], 12)
	f.Fuzz(func(t *testing.T, records []byte, flip int) {
		data := append(make([]byte, recordsAt), records...)
		if len(records) > 0 && flip != 0 {
			data[recordsAt+uint(flip)%uint(len(records))] ^= 1
		}
		c := &chain{salt: salt, fromZero: true}
		end, why := c.scan(data, base)
		if why == "" {
			_ = c.torn(data, base, end)
		}
		for at := int64(recordsAt); at < end; {
			size := int64(binary.LittleEndian.Uint32(data[at:]))
			if checksum(data[at:], size, salt, at) != binary.LittleEndian.Uint32(data[at+4:]) {
				t.Fatalf("a record with a wrong checksum at %d", at)
			}
			at += extent(data[at:])
		}
		if len(data) > testSegment {
			return
		}
		// The reader sees what the scan saw, in a file.
		folder := open(t, t.TempDir(), Options{disk: noSync(), SyncEvery: time.Hour})
		defer folder.Close()
		j := begin(t, folder)
		j.salt = salt
		if _, err := syscall.Pwrite(j.current.fd, data[recordsAt:], recordsAt); err != nil {
			t.Fatal(err)
		}
		j.end.Store(int64(len(data)))
		r, n := j.Reader(), uint64(0)
		for {
			rec, ok, err := r.Next()
			if err != nil || !ok {
				break
			}
			if n++; rec.End > end && why == "" {
				t.Fatalf("the reader reads to %d, the scan to %d", rec.End, end)
			}
		}
		if n < c.last {
			t.Fatalf("the reader reads %d records, the scan %d", n, c.last)
		}
		if cap(r.memo) > len(data)+readAhead {
			t.Fatalf("a buffer of %d bytes for %d", cap(r.memo), len(data))
		}
	})
}
