package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Look reads what is there, whoever has the folder, and leaves everything as it was.
func TestLook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, Options{disk: noSync()})
	defer f.Close()
	j := begin(t, f)
	want := fillJournal(t, j, 80) // several segments
	look := func(dir string) (got []entry, settled int, looked []Looked) {
		t.Helper()
		looked, err := Look(dir, func(s Seen) error {
			if s.Settled {
				settled++
			}
			if s.Epoch != j.Epoch() {
				t.Errorf("of epoch %s", s.Epoch)
			}
			got = append(got, entry{s.Org, s.Kind, string(s.Payload), Position{Seq: s.Seq}})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got, settled, looked
	}
	bare := func(all []entry) []entry {
		all = append([]entry(nil), all...)
		for i := range all {
			all[i].at.End = 0
		}
		return all
	}
	got, settled, looked := look(dir)
	same(t, "while it is written", got, bare(want))
	if settled != 0 || len(looked) != 1 || looked[0].Damage != "" || looked[0].Pruned || looked[0].Records != 80 || looked[0].Host != "here" || looked[0].Finished {
		t.Errorf("%d settled, %+v", settled, looked)
	}
	if err := j.Settled(want[50].at); err != nil {
		t.Fatal(err)
	}
	if _, settled, _ := look(dir); settled == 0 || settled > 51 {
		t.Errorf("of 51 that are settled, %d are in segments that say so", settled)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	copyDir(t, dir, copied)
	before := names(t, filepath.Join(copied, j.Epoch().String()))
	got, _, _ = look(copied)
	same(t, "a copy", got, bare(want))
	if after := names(t, filepath.Join(copied, j.Epoch().String())); after != before {
		t.Errorf("%s became %s", before, after)
	}

	// A copy in which the disk, or somebody, changed a byte.
	last := want[len(want)-1]
	name := filepath.Join(copied, j.Epoch().String(), segmentName(2, settledSuffix))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[recordsAt+600] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	got, _, looked = look(copied)
	if len(looked) != 1 || !strings.Contains(looked[0].Damage, "at 4640: there is no valid record") || len(got) == 0 || len(got) >= 80 {
		t.Errorf("%d records, %+v", len(got), looked)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, _, looked = look(copied); !strings.Contains(looked[0].Damage, "segment 3 follows segment 1") {
		t.Errorf("%+v", looked)
	}

	if err := j.Settled(last.at); err != nil {
		t.Fatal(err)
	}
	if err := j.Finished(); err != nil {
		t.Fatal(err)
	}
	got, settled, looked = look(dir)
	same(t, "finished", got, bare(want))
	if settled != 80 || !looked[0].Finished {
		t.Errorf("%d settled, %+v", settled, looked)
	}
	if _, _, err := f.Left(); err != nil { // the folder is as it was
		t.Error(err)
	}
}
