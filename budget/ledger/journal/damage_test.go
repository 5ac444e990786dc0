package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// written makes a journal of several segments, all of it synced, and returns its folder.
func written(t *testing.T, n int) (dir, epoch string, all []entry) {
	dir = t.TempDir()
	f := open(t, dir, Options{disk: noSync()})
	j := begin(t, f)
	all = fillJournal(t, j, n)
	if err := j.Sync(t.Context(), all[n-1].at.End); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, j.Epoch().String(), all
}

// TestFlippedBitIsPutAside flips bits in everything that is durable: meta.json, heads, marks, every
// byte of a record with its padding, and the ends of segments.
func TestFlippedBitIsPutAside(t *testing.T) {
	dir, epoch, all := written(t, 60)
	last := fmt.Sprintf("%06d.seg", (all[59].at.End-1)/testSegment+1)
	work := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		to := filepath.Join(work, fmt.Sprint(n))
		copyDir(t, dir, to)
		defer os.RemoveAll(to)
		file := rapid.SampledFrom([]string{metaName, "000001.seg", "000002.seg", last}).Draw(t, "file")
		name := filepath.Join(to, epoch, file)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		size := len(b)
		if file == last {
			size = int(all[59].at.End % testSegment)
		}
		at := rapid.IntRange(0, size-1).Draw(t, "byte")
		if rapid.Bool().Draw(t, "near the end") {
			at = size - 1 - at%min(size, 64)
		}
		b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if err := os.WriteFile(name, b, 0o640); err != nil {
			t.Fatal(err)
		}
		for range 2 { // reported each time
			_, aside, done := leftOf(t, to, Options{})
			if aside == nil {
				t.Fatalf("%s, byte %d: read as if nothing were", file, at)
			}
			done()
			if aside.Kind == "version" && file == metaName {
				continue
			}
			if aside.Kind != "damaged" || !strings.Contains(aside.File, ".seg") && file != metaName || aside.Offset > int64(at) && file != metaName || !strings.Contains(aside.Reason, "restore") {
				t.Fatalf("%s, byte %d: %+v", file, at, aside)
			}
		}
	})
}

func TestAside(t *testing.T) {
	dir, epoch, all := written(t, 60)
	segment := func(n int) string { return filepath.Join(epoch, segmentName(int64(n), openSuffix)) }
	last := int((all[59].at.End-1)/testSegment + 1)
	rewrite := func(name string, change func(b []byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), change(b), 0o640)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	zero := func(from, to int64) func([]byte) []byte {
		return func(b []byte) []byte { clear(b[from:to]); return b }
	}
	tail := all[59].at.End % testSegment
	for _, c := range []struct {
		name   string
		host   string
		change func(*testing.T, string)
		kind   string
	}{
		{"another host", "elsewhere", nil, "host"},
		{"another version", "", rewrite(filepath.Join(epoch, metaName), func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"format_version": 1`), []byte(`"format_version": 2`), 1)
		}), "version"},
		{"no meta.json", "", remove(filepath.Join(epoch, metaName)), "damaged"},
		{"no segment at all", "", func(t *testing.T, dir string) {
			for n := 1; n <= last+1; n++ {
				_ = os.Remove(filepath.Join(dir, segment(n)))
			}
		}, "damaged"},
		{"the first segment is missing", "", remove(segment(1)), "damaged"},
		{"a segment in the middle is missing", "", remove(segment(2)), "damaged"},
		{"the segments from the last one on are missing", "", func(t *testing.T, dir string) {
			for n := last; n <= last+1; n++ {
				_ = os.Remove(filepath.Join(dir, segment(n)))
			}
		}, "damaged"},
		{"the last record of a sealed segment is zero", "", rewrite(segment(1), func(b []byte) []byte {
			end := 0
			for i := range all {
				if all[i].at.End <= testSegment {
					end = i
				}
			}
			clear(b[all[end-1].at.End:])
			return b
		}), "damaged"},
		{"the last synced record is zero", "", rewrite(segment(last), zero(all[58].at.End%testSegment, tail)), "damaged"},
		{"the last segment is cut off", "", rewrite(segment(last), func(b []byte) []byte { return b[:tail-8] }), "damaged"},
		{"a record is in another place", "", rewrite(segment(last), func(b []byte) []byte {
			copy(b[tail:], b[all[58].at.End%testSegment:tail])
			return b
		}), ""},
		{"garbage behind the end", "", rewrite(segment(last), func(b []byte) []byte { b[tail+3] = 9; return b }), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := t.TempDir()
			copyDir(t, dir, filepath.Join(to, "j"))
			to = filepath.Join(to, "j")
			if c.change != nil {
				c.change(t, to)
			}
			for range 2 {
				left, aside, done := leftOf(t, to, Options{Host: c.host})
				done()
				if c.kind == "" {
					if aside != nil {
						t.Fatalf("aside: %s", aside.Reason)
					}
					if left.end.Load() != all[59].at.End {
						t.Fatalf("ends at %d, want %d", left.end.Load(), all[59].at.End)
					}
					continue
				}
				if aside == nil || aside.Kind != c.kind || aside.File == "" || aside.Reason == "" || aside.Epoch.String() != epoch || filepath.Base(aside.Path) != epoch+".aside-"+c.kind {
					t.Fatalf("%+v", aside)
				}
			}
		})
	}
}

// A record that is valid and says that bytes before it were durable makes a bad record damage, without any mark.
func TestSyncedFieldTellsDamageFromTornTail(t *testing.T) {
	for _, synced := range []bool{false, true} {
		dir := t.TempDir()
		f := open(t, dir, Options{disk: noSync(), SyncEvery: time.Hour})
		j := begin(t, f)
		first := add(t, j, "a", "first")
		if synced {
			if err := j.Sync(t.Context(), first.at.End); err != nil {
				t.Fatal(err)
			}
		}
		add(t, j, "a", "second")
		name := filepath.Join(dir, j.Epoch().String(), "000001.seg")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		clear(b[markAt : markAt+markBytes])
		b[recordsAt+9] ^= 4
		if err := os.WriteFile(name, b, 0o640); err != nil {
			t.Fatal(err)
		}
		left, aside, done := leftOf(t, dir, Options{})
		done()
		if synced != (aside != nil) {
			t.Fatalf("synced %v: aside %v", synced, aside)
		}
		if !synced && left.end.Load() != recordsAt {
			t.Fatalf("a torn tail of two records: ends at %d", left.end.Load())
		}
	}
}

func TestRewindRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, Options{disk: noSync()})
	defer f.Close()
	j := begin(t, f)
	all := fillJournal(t, j, 60)
	if err := j.Settled(all[59].at); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, j.Epoch().String(), "000001.done")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[all[5].at.End+30] ^= 1
	if err := os.WriteFile(name, b, 0o640); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if err := j.Rewind(j.Reader()); !errors.As(err, &damaged) || damaged.File != name || damaged.Offset != all[5].at.End {
		t.Fatalf("%v", err)
	}
}

// TestDensity: records that are valid by themselves and leave out a number are damage.
func TestDensity(t *testing.T) {
	for _, c := range []struct {
		name        string
		journal, of uint64
	}{{"journal seq", 3, 2}, {"org seq", 2, 3}, {"org seq again", 2, 1}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			f := open(t, dir, Options{disk: noSync()})
			j := begin(t, f)
			e := add(t, j, "a", "x")
			_ = f.Close()
			name := filepath.Join(dir, j.Epoch().String(), "000001.seg")
			file, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteAt(appendRecord(nil, j.salt, e.at.End, c.journal, 0, "a", c.of, 1, nil), e.at.End); err != nil {
				t.Fatal(err)
			}
			_ = file.Close()
			_, aside, done := leftOf(t, dir, Options{})
			done()
			if aside == nil || aside.Offset != e.at.End {
				t.Fatalf("%+v", aside)
			}
		})
	}
}

// A record that is valid and is not the next one, in what a reader has still to read.
func TestReaderRefusesDamage(t *testing.T) {
	for name, change := range map[string]func(j *Journal, at int64) []byte{
		"not the next": func(j *Journal, at int64) []byte { return appendRecord(nil, j.salt, at, 3, 0, "a", 2, 7, []byte("b")) },
		"changed":      func(j *Journal, at int64) []byte { return []byte{1} },
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, t.TempDir(), Options{disk: noSync()})
			defer f.Close()
			j := begin(t, f)
			first := add(t, j, "a", "a")
			add(t, j, "a", "b")
			if err := j.disk.write(j.current.fd, change(j, first.at.End), first.at.End); err != nil {
				t.Fatal(err)
			}
			all, err := readAll(j.Reader())
			var damaged *DamagedError
			if !errors.As(err, &damaged) || damaged.Offset != first.at.End || len(all) != 1 {
				t.Fatalf("%d records, %v", len(all), err)
			}
		})
	}
}
