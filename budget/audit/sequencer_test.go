package audit

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keel/budget/audit/leaf"
	"keel/budget/audit/log"
)

// The lists of columns are those of the schema: what is not in a leaf could be changed by anybody.
func TestColumnsAreThoseOfTheSchema(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	tables := map[string][]leaf.Column{"keel.superseded_closeouts": closeouts.columns, "keel.closeouts": closeouts.columns}
	for _, s := range sources {
		if s != &closeouts {
			tables[s.table] = s.columns
		}
	}
	for table, columns := range tables {
		var names []string
		for _, c := range columns {
			names = append(names, c.Name)
		}
		want := query[[]string](l, "select array_agg(column_name::text) from information_schema.columns where table_schema || '.' || table_name = $1 and column_name <> 'superseded_at'", table)
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("%s: leaves have %v, the table has %v", table, names, want)
		}
	}
}

func TestSequence(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.exec(`insert into keel.budgets (org, name, limit_usd) values ('acme', 'all', 1)`)
	b := l.books()
	b.calls(300, "ada", "bob, \"=%~", "")
	size := l.sequence()
	if size != 600+2 { // and a configuration, and the key
		t.Errorf("%d leaves", size)
	}
	if n := query[int64](l, "select count(*) from keel.outbox"); n != 0 {
		t.Errorf("%d rows are left in the outbox", n)
	}
	if n := query[int64](l, "select count(distinct index) from keel.leaves where index between 0 and $1", size-1); n != size {
		t.Errorf("%d places for %d leaves", n, size)
	}
	if n := query[int64](l, "select count(*) from keel.spend_records where length(leaf_hash) = 32"); n != 300 {
		t.Errorf("%d records have the hash of a leaf", n)
	}
	// What was signed is the tree of the leaves, and what was signed before is a part of it.
	b.calls(10, "ada")
	l.sequence()
	notes, err := l.anchor.All()
	if err != nil || len(notes) != 2 {
		t.Fatalf("%d checkpoints are anchored, %v", len(notes), err)
	}
	keys, _ := log.ParseKeys(l.key.Public)
	for _, text := range notes {
		signed, err := log.Open(text, keys)
		if err != nil {
			t.Fatal(err)
		}
		tree := log.NewTree(nil, 0)
		rows, err := l.pool.Query(t.Context(), "select hash from keel.leaves where index < $1 order by index", signed.Size)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			if err := tree.Append(slices.Clone(rows.RawValues()[0])); err != nil {
				t.Fatal(err)
			}
		}
		if root, err := tree.Root(signed.Size); err != nil || root != signed.Root {
			t.Errorf("size %d: the root is %s, signed was %s; %v", signed.Size, root, signed.Root, err)
		}
	}
}

// What is announced twice, at once or later, has one leaf, and does not keep others from coming in.
func TestAnnouncedTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	b := l.books()
	again := func() {
		l.exec("insert into keel.outbox (org, kind, ids, versions, hashes) select org, kind, ids, versions, hashes from keel.outbox where kind <> 'key'")
	}
	d := b.calls(3, "ada")
	again()
	l.sequence()
	b.calls(2, "bob")
	l.exec("insert into keel.outbox (org, kind, ids) values ('acme', 'decision', array[$1::uuid, $1])", d[0].ID)
	again()
	l.exec("insert into keel.outbox (org, kind, ids, hashes) values ('acme', 'closeout', array[$1::uuid], sha256('another'))", d[1].ID)
	if size := l.sequence(); size != 10+1 {
		t.Errorf("%d leaves", size)
	}
	if n := query[int64](l, "select count(*) from keel.outbox"); n != 0 {
		t.Errorf("%d rows are left in the outbox", n)
	}
	l.verified(t)
}

// All that is announced is taken in, however many rows of the outbox or records it is.
func TestSequenceMuch(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.exec("insert into keel.outbox (org, kind, ids, hashes) select 'acme', 'decision', array[gen_random_uuid()], sha256(n::text::bytea) from generate_series(1, $1::int) n", takeRows)
	l.exec(`insert into keel.outbox (org, kind, ids, hashes) select 'acme', 'closeout', array_agg(gen_random_uuid()), string_agg(sha256(n::text::bytea), '') from generate_series(1, $1::int) n group by n % 7`, 3*takeLeaves)
	l.exec(`insert into keel.outbox (org, kind, ids, hashes) select 'zeta', 'closeout', array_agg(gen_random_uuid()), string_agg(sha256(n::text::bytea), '') from generate_series(1, $1::int) n`, takeLeaves+1)
	if size := l.sequence(); size != takeRows+4*takeLeaves+1+1 {
		t.Errorf("%d leaves", size)
	}
	if n := query[int64](l, "select count(*) from keel.outbox"); n != 0 {
		t.Errorf("%d rows are left in the outbox", n)
	}
}

// Several processes sequence, are stopped anywhere, and go on, while the ledger settles: every record gets one place.
func TestSequencersTakeTurns(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), 40*time.Millisecond)
				o := l.sequencer().o
				o.RetryEvery = time.Millisecond
				NewSequencer(o).Run(ctx)
				cancel()
			}
		})
	}
	wg.Go(func() { // and their connections break
		for range 40 {
			time.Sleep(20 * time.Millisecond)
			l.exec("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'keel audit log' and datname = current_database() and random() < 0.3")
		}
	})
	var settling sync.WaitGroup
	for range 3 {
		settling.Go(func() {
			b := l.books()
			for range 25 {
				b.calls(7, "ada", "bob")
			}
		})
	}
	settling.Wait()
	close(stop)
	wg.Wait()
	for range 50 { // the last one may just let go of the lock
		if _, err := l.sequencer().SequenceOnce(t.Context()); err == nil {
			break
		} else if !strings.Contains(err.Error(), "another process") {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got := query[string](l, "select concat_ws(' ', count(*), count(distinct index), max(index) + 1) from keel.leaves"); got != "1051 1051 1051" {
		t.Errorf("leaves, places, end: %s", got)
	}
	l.verified(t)
}
