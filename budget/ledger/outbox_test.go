package ledger

import (
	"bytes"
	"testing"

	"github.com/google/uuid"

	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
)

// sequence takes the outbox as the audit log's sequencer does, as far as this package can tell.
func (l *lab) sequence() {
	l.t.Helper()
	l.exec(`with o as (delete from keel.outbox returning *)
insert into keel.leaves (org, kind, id, version, index, hash)
select o.org, o.kind, i.id, coalesce(o.versions[i.n], 1), (select count(*) from keel.leaves) + row_number() over () - 1, 'x' from o cross join unnest(o.ids) with ordinality i (id, n)`)
}

// What a later closeout replaced stays as it was, an entry says by what, and each is announced to the log.
func TestSupersededCloseoutsStay(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j, other := l.journal(), l.journal()
	j.lease(thisMonth("a"), 100)
	d := admitted(enforced(thisMonth("a"), 30))
	j.settle(decided(d))
	l.presumeAll()
	const current = "select to_jsonb(c)::text from keel.closeouts c where decision_id = $1"
	orphan := query[string](t, l.dsn, current, d.ID)
	l.sequence()
	awaited := ended(d, 4)
	awaited.Awaited, awaited.ResponseID = true, "resp"
	j.settle(j.closed(d, awaited))
	second := query[string](t, l.dsn, current, d.ID)
	answer := ended(d, 12)
	answer.ID, answer.ResponseID = uuid.Nil, "resp"
	other.settle(escrow.Record{Response: &answer})
	const kept = "select (to_jsonb(c) - 'superseded_at')::text from keel.superseded_closeouts c where decision_id = $1 and version = $2"
	for version, want := range map[int]string{1: orphan, 2: second} {
		if got := query[string](t, l.dsn, kept, d.ID, version); got != want {
			t.Errorf("version %d is kept as %s, was %s", version, got, want)
		}
	}
	if got := query[string](t, l.dsn, "select string_agg(concat_ws(' ', cause->>'outcome', cause->>'version', cause->>'cost_usd', 'by', cause->>'by_outcome', cause->>'by_version', cause->>'by_cost_usd', amount_n, seq), ', ' order by cause->>'version') from keel.entries where kind = 'superseded'"); got != "orphaned 1 0 by complete 2 0.000000004 4, complete 2 0.000000004 by complete 3 0.000000012 8 2" {
		t.Errorf("entries: %s", got)
	}
	if got := query[string](t, l.dsn, "select string_agg(v.n::text, ' ' order by v.n) from keel.outbox o cross join unnest(o.versions) v (n) where o.kind = 'closeout'"); got != "2 3" {
		t.Errorf("versions in the outbox: %s", got)
	}
}

// The chain of an epoch is that of the digests of its records, however they were batched, and starts again from what is stored.
func TestChain(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 500)
	want := record.ChainStart(j.epoch, "acme")
	settle := func(records ...escrow.Record) {
		t.Helper()
		for i := range records {
			records[i].Digest = record.DigestOf(record.KindDecision, []byte{byte(j.seq), byte(i)})
			want = record.ChainNext(want, j.seq+1+uint64(i), records[i].Digest)
		}
		batch := j.batch(records...)
		for range 2 { // what is settled already changes nothing
			if _, err := l.Settle(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		if got := query[[]byte](t, l.dsn, "select chain from keel.epochs where epoch = $1", j.epoch); !bytes.Equal(got, want[:]) {
			t.Errorf("chain %x, want %x", got, want)
		}
	}
	d := admitted(enforced(thisMonth("a"), 10))
	settle(decided(d), back(thisMonth("a"), 100))
	settle(j.closed(d, ended(d, 3)), j.closed(d, ended(d, 4)), escrow.Record{})
	if n := query[int](t, l.dsn, "select count(*) from (select digest from keel.decisions union all select digest from keel.closeouts union all select digest from keel.entries) x where length(digest) = 32"); n != 5 {
		t.Errorf("%d of 5 digests are kept", n)
	}
}
