package audit

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"keel/budget/audit/log"
)

// Old checkpoints go, but one of each day and those that are anchored; what was proven by one that went stays proven, and
// whoever kept one can still be shown that the log goes on from it.
func TestCheckpointsAreThinned(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.exec(`insert into keel.budgets (org, name, limit_usd) values ('acme', 'all', 1)`)
	b := l.books()
	today := time.Now().UTC().Truncate(24 * time.Hour)
	notes, bundles := make(map[int64]string), make(map[int64][]byte)
	var sizes []int64
	sequence := func(at time.Time, anchored bool) int64 {
		t.Helper()
		d := b.calls(1, "ada")[0]
		o := l.sequencer().o
		if !anchored {
			o.Anchors = nil
		}
		size, err := NewSequencer(o).SequenceOnce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.exec("update keel.checkpoints set at = $1 where size = $2", at, size)
		notes[size] = query[string](l, "select note from keel.checkpoints where size = $1", size)
		bundles[size] = l.prove(t, d.ID, false)
		sizes = append(sizes, size)
		return size
	}
	var want []int64
	for day := -40; day <= -25; day += 5 { // the last ones are young
		for hour := range 4 {
			size := sequence(today.AddDate(0, 0, day).Add(time.Duration(6*hour)*time.Hour), hour == 1)
			if hour == 1 || hour == 3 || day > -30 {
				want = append(want, size)
			}
		}
	}
	want = append(want, sequence(time.Now(), false))

	thinned := func(keep time.Duration) {
		t.Helper()
		conn, err := connect(t.Context(), l.dsn, "a test")
		if err != nil {
			t.Fatal(err)
		}
		defer closeConn(conn)
		o := l.sequencer().o
		o.KeepCheckpoints = keep
		w := &writer{o: &o, conn: conn, labels: newSalts()}
		if err := w.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.thin(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	thinned(-1)
	if n := query[int](l, "select count(*) from keel.checkpoints"); n != len(sizes) {
		t.Fatalf("%d of %d are kept", n, len(sizes))
	}
	thinned(29 * 24 * time.Hour)
	if got := query[[]int64](l, "select array_agg(size order by size) from keel.checkpoints"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("kept %v, want %v of %v", got, want, sizes)
	}

	l.verified(t)
	keys, err := log.ParseKeys(l.key.Public)
	if err != nil {
		t.Fatal(err)
	}
	last := sizes[len(sizes)-1]
	newest, err := log.Open(notes[last], keys)
	if err != nil {
		t.Fatal(err)
	}
	tree := log.NewTree(tilesOf(context.Background(), l.pool), last)
	for _, size := range sizes {
		if _, err := CheckBundle(bytes.NewReader(bundles[size]), keys); err != nil {
			t.Errorf("what checkpoint %d proved: %v", size, err)
		}
		kept, err := log.Open(notes[size], keys)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := tree.Consistency(last, size)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(proof, last, newest.Root, size, kept.Root); err != nil {
			t.Errorf("from %d to %d: %v", size, last, err)
		}
	}
	// And the log goes on.
	b.calls(1, "bob")
	l.sequence()
	l.verified(t)
}
