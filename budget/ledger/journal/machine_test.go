package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMachine compares a folder with what it should hold, through ends of the process at any time.
func TestMachine(t *testing.T) {
	root := t.TempDir()
	ops := realDisk
	ops.fdatasync, ops.syncDir = func(int) error { return nil }, func(string) error { return nil }
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		dir := filepath.Join(root, fmt.Sprint(run))
		defer os.RemoveAll(dir)
		o := Options{disk: &ops}
		f := open(t, dir, o)
		defer func() { _ = f.Close() }()
		type state struct {
			j       *Journal
			r       *Reader
			all     []entry
			read    int
			settled int // records that were said to be
			live    bool
		}
		var journals []*state
		fresh := func() {
			j := begin(t, f)
			journals = append(journals, &state{j: j, r: j.Reader(), live: true})
		}
		fresh()
		pick := func(t *rapid.T) *state { return journals[rapid.IntRange(0, len(journals)-1).Draw(t, "journal")] }
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				s := journals[len(journals)-1]
				if !s.live {
					t.Skip()
				}
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					s.all = append(s.all, add(t, s.j, rapid.SampledFrom([]string{"", "a", "bb"}).Draw(t, "org"), strings.Repeat("p", rapid.IntRange(0, 3000).Draw(t, "size"))))
				}
			},
			"sync": func(t *rapid.T) {
				if s := pick(t); len(s.all) > 0 {
					if err := s.j.Sync(context.Background(), s.all[len(s.all)-1].at.End); err != nil {
						t.Fatal(err)
					}
				}
			},
			"read": func(t *rapid.T) {
				s := pick(t)
				for range rapid.IntRange(1, 30).Draw(t, "n") {
					rec, ok, err := s.r.Next()
					if err != nil || ok != (s.read < len(s.all)) {
						t.Fatalf("read %d of %d: %v, %v", s.read, len(s.all), ok, err)
					}
					if !ok {
						break
					}
					same(t, "read", []entry{{rec.Org, rec.Kind, string(rec.Payload), rec.Position}}, s.all[s.read:s.read+1])
					s.read++
				}
			},
			"settle": func(t *rapid.T) {
				s := pick(t)
				if s.read == 0 {
					t.Skip()
				}
				s.settled = max(s.settled, s.read)
				if err := s.j.Settled(s.all[s.read-1].at); err != nil {
					t.Fatal(err)
				}
			},
			"rewind": func(t *rapid.T) {
				s := pick(t)
				if err := s.j.Rewind(s.r); err != nil {
					t.Fatal(err)
				}
				s.read = 0
			},
			"die": func(t *rapid.T) {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				f = open(t, dir, o)
				left, aside, err := f.Left()
				if err != nil || len(aside) != 0 || len(left) != len(journals) {
					t.Fatalf("left %d of %d, aside %v, %v", len(left), len(journals), aside, err)
				}
				for i, s := range journals {
					s.j, s.live, s.r = left[i], false, left[i].Reader()
					rest, err := readAll(s.r)
					if err != nil || len(rest) < len(s.all)-s.settled || len(rest) > len(s.all) {
						t.Fatalf("recovered %d of %d, of which %d were settled: %v", len(rest), len(s.all), s.settled, err)
					}
					same(t, "recovered", rest, s.all[len(s.all)-len(rest):])
					if len(rest) < len(s.all) && len(s.all) > 0 && s.all[len(s.all)-len(rest)-1].at.End > s.all[max(s.settled, 1)-1].at.End {
						t.Fatalf("records that were not settled are left out")
					}
					s.read, s.settled = len(s.all), len(s.all)-len(rest)
				}
				fresh()
			},
			"finish": func(t *rapid.T) {
				i := rapid.IntRange(0, len(journals)-1).Draw(t, "journal")
				s := journals[i]
				err := s.j.Finished()
				if want := len(s.all) == s.settled; want && err != nil || !want && err == nil && s.settled < len(s.all) && s.live {
					t.Fatalf("finished with %d of %d settled: %v", s.settled, len(s.all), err)
				}
				if err == nil {
					if journals = append(journals[:i:i], journals[i+1:]...); s.live || len(journals) == 0 {
						fresh()
					}
				}
			},
		})
	})
}
