package audit

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget/audit/log"
	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
)

func TestAnchors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, address := range []string{filepath.Join(dir, "folder"), "file:" + filepath.Join(dir, "notes")} {
		a, err := OpenAnchor(address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.All(); err == nil {
			t.Errorf("%s: one that is not there has nothing, and should be an error", a)
		}
		for _, size := range []int64{7, 12, 12} {
			if err := a.Put(size, "o\n"+strings.Repeat("x", int(size))+"\n\n— o sig\n"); err != nil {
				t.Fatal(err)
			}
		}
		all, err := a.All()
		if err != nil || len(all) != 2 || all[0] != "o\nxxxxxxx\n\n— o sig\n" || !strings.HasSuffix(all[1], "sig\n") {
			t.Errorf("%s has %q, %v", a, all, err)
		}
		if again, _ := OpenAnchor(a.String()); again == nil || again.String() != a.String() {
			t.Errorf("%s is not its address", a)
		}
	}
	folder, _ := OpenAnchor(filepath.Join(dir, "folder"))
	for range 2 { // a log that goes on in the place of this one comes to the same size
		if err := folder.Put(7, "o/2\nx\n\n— o/2 sig\n"); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := folder.All(); err != nil || len(all) != 3 {
		t.Errorf("of two logs: %q, %v", all, err)
	}
	if err := folder.Put(7, "o/2\nanother"); err == nil || !strings.Contains(err.Error(), "never written again") {
		t.Errorf("a checkpoint of the second log was replaced: %v", err)
	}
	if err := folder.Put(7, "o\nanother"); err == nil || !strings.Contains(err.Error(), "never written again") {
		t.Errorf("a checkpoint was replaced: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "folder", "0000000000000007.checkpoint")); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("%v, %v", info, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "notes"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString("o\n13\nhalf a no") // a Put that was cut
	f.Close()
	file, _ := OpenAnchor("file:" + filepath.Join(dir, "notes"))
	if all, err := file.All(); err != nil || len(all) != 2 {
		t.Errorf("%d, %v", len(all), err)
	}
	if _, err := OpenAnchor(filepath.Join(dir, "notes")); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// A log that lost what was signed is not signed on, however the loss is told: by the database or an anchor.
func TestNothingContradictingIsSigned(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]string{
		"leaves and their checkpoint": "delete from keel.leaves where index >= 40; delete from keel.checkpoints where size = 47",
		"leaves":                      "delete from keel.leaves where index >= 40",
		"another leaf in the tree":    "update keel.tiles set data = overlay(data placing sha256('x') from 1 for 32) where level = 0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTampered(t)
			x.bypass(lose)
			x.books.calls(2, "ada")
			var said bytes.Buffer
			o := x.sequencer().o
			o.Logger = slog.New(slog.NewTextHandler(&said, nil))
			was := query[int64](x.lab, "select max(size) from keel.checkpoints")
			if _, err := NewSequencer(o).SequenceOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(said.String(), "nothing is signed") {
				t.Errorf("it says %s", said.String())
			}
			if now := query[int64](x.lab, "select max(size) from keel.checkpoints"); now != was {
				t.Errorf("signed %d after %d", now, was)
			}
			if notes, _ := x.anchor.All(); len(notes) != 2 {
				t.Errorf("%d checkpoints are anchored", len(notes))
			}
			if n := query[int64](x.lab, "select count(*) from keel.outbox"); n != 0 {
				t.Error("it did not go on")
			}
		})
	}
}

// What was announced and is gone is not forgotten, whether it was announced with its leaf or without.
func TestRecordGoneBeforeItsLeaf(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	b := l.books()
	hashed, odd := b.calls(1, "ada")[0], call("bob")
	b.settle(escrow.Record{Decision: odd}, closed(odd, oddEnd(odd, 1)))
	l.exec("delete from keel.closeouts where decision_id in ($1, $2)", hashed.ID, odd.ID)
	l.sequence()
	var found []string
	for _, f := range l.verify(t).Findings {
		found = append(found, f.String())
	}
	for id, why := range map[uuid.UUID]string{hashed.ID: "is of it, and it is not there", odd.ID: "was gone before it could come into the log"} {
		if !slices.ContainsFunc(found, func(s string) bool {
			return strings.HasPrefix(s, "removed: closeout "+id.String()) && strings.Contains(s, why)
		}) {
			t.Errorf("nothing says that it %s in %v", why, found)
		}
	}
}

// Months that were retired stay covered; one record less is still a theft.
func TestRetired(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	b := l.books()
	then := time.Date(2021, 5, 20, 0, 0, 0, 0, time.UTC)
	for i, ms := 0, then.UnixMilli(); i < 6; i++ {
		b.epoch[i] = byte(ms >> (40 - 8*i))
	}
	var records []escrow.Record
	for range 3 {
		d := call("ada")
		copy(d.ID[:6], b.epoch[:6])
		records = append(records, escrow.Record{Decision: d}, closed(d, end(d, 5)))
	}
	b.settle(records...)
	b.calls(2, "bob")
	l.sequence()
	l.verified(t)
	if months, err := ledger.Retire(t.Context(), l.dsn, time.Now(), nil); err != nil || !slices.Equal(months, []string{"2021_05"}) {
		t.Fatalf("%v, %v", months, err)
	}
	l.verified(t)
	l.sequence()
	report := l.verified(t)
	if report.Retired != 6 || !slices.ContainsFunc(report.Notices, func(s string) bool { return strings.Contains(s, "the records of 2021_05 were retired") }) {
		t.Errorf("%+v", report)
	}
	l.exec("delete from keel.entries where kind = 'retired' and budget is null")
	if report := l.verify(t); len(report.Findings) < 7 {
		t.Errorf("without the entry that says so: %v", report.Findings)
	}
}

// A key that made the log over signs no more; who trusts either of the two verifies all.
func TestRotate(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	first := x.key
	second, err := NewPrivateKey(first.Origin())
	if err != nil {
		t.Fatal(err)
	}
	if err := Rotate(t.Context(), x.dsn, second, first); err == nil {
		t.Error("a key that is not the log's made it over")
	}
	if err := Rotate(t.Context(), x.dsn, first, second); err != nil {
		t.Fatal(err)
	}
	x.books.calls(1, "ada")
	x.sequence() // with the first
	if size := query[int64](x.lab, "select max(size) from keel.checkpoints"); size != 47 {
		t.Errorf("the key that made the log over has signed size %d", size)
	}
	x.key = second
	x.sequence()
	for _, key := range []*PrivateKey{first, second} {
		x.key = key
		report := x.verified(t)
		if report.Signed != report.Leaves {
			t.Errorf("%d of %d leaves are signed", report.Signed, report.Leaves)
		}
	}
	// Somebody has the old key, and signs what the log is now.
	tree := log.NewTree(tilesOf(t.Context(), x.pool), 50)
	root, err := tree.Root(50)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := log.Sign(log.Checkpoint{Origin: first.Origin(), Size: 50, Root: root}, first)
	if err != nil {
		t.Fatal(err)
	}
	x.exec("insert into keel.checkpoints (size, note) values (50, $1) on conflict (size) do update set note = excluded.note", signed)
	if f := x.verify(t).Findings; len(f) != 1 || f[0].Wrong != Signature || !strings.Contains(f[0].Why, "had made the log over") {
		t.Errorf("found %v", f)
	}
}
