package audit

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
	"keel/budget/ledger/record"
)

// journals holds the numbers of every journal: without gap, each once, and chained to the head that the ledger
// keeps. What is in order is folded into the head, so only what is ahead of a record that
// has not come yet takes memory. It is safe for concurrent use.
type journals struct {
	mu  sync.Mutex
	all map[journalKey]*journal
}

type journalKey struct {
	org   string
	epoch uuid.UUID
}

type journal struct {
	applied uint64
	after   uint64 // the chain begins behind it
	chain   []byte
	partial bool // records of it may be retired

	head  record.Digest
	next  uint64 // the first that has not come
	ahead map[uint64]came
	bare  bool // a record has no digest
	clocks
}

// came is what is kept of a record until those before it have come.
type came struct {
	digest *record.Digest
	times
}

func readJournals(ctx context.Context, tx pgx.Tx, org string) (*journals, error) {
	j := &journals{all: make(map[journalKey]*journal)}
	rows, err := tx.Query(ctx, `
select e.org, e.epoch, e.applied_seq, e.chain_after, e.chain, coalesce(e.epoch < keel.uuid_at(r.until), false) from keel.epochs e left join (
  select org, max((to_date(left(cause->>'month', 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC') as until from keel.entries
  where kind = 'retired' and budget is null and cause ? 'month' group by org) r on r.org = e.org -- what keel.db_state says is no evidence
where $1 = '' or e.org = $1`, org)
	if err != nil {
		return nil, err
	}
	var k journalKey
	var applied, after int64
	var chain []byte
	var partial bool
	_, err = pgx.ForEachRow(rows, []any{&k.org, &k.epoch, &applied, &after, &chain, &partial}, func() error {
		j.all[k] = &journal{applied: uint64(applied), after: uint64(after), chain: slices.Clone(chain), partial: partial,
			head: record.ChainStart(k.epoch, k.org), next: 1, ahead: make(map[uint64]came)}
		return nil
	})
	return j, err
}

// see notes the number of a record.
func (j *journals) see(r *row, v *verification) error {
	raw, err := r.column("seq")
	if err != nil {
		return err
	}
	if raw == nil {
		return j.unnumbered(r, v)
	}
	seq, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return err
	}
	if raw, err = r.column("epoch"); err != nil || raw == nil {
		return err
	}
	epoch, err := uuid.ParseBytes(raw)
	if err != nil {
		return err
	}
	if raw, err = r.column("digest"); err != nil {
		return err
	}
	var digest *record.Digest
	if raw != nil {
		digest = new(record.Digest)
		if n, err := hex.Decode(digest[:], raw); err != nil || n != len(digest) {
			return fmt.Errorf("its digest has %d bytes", n)
		}
	}
	at, err := timesOf(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.all[journalKey{r.org, epoch}]
	why := ""
	switch {
	case e == nil:
		why = fmt.Sprintf("it says that it is record %d of journal %s, of which nothing was settled", seq, epoch)
	case seq > e.applied || seq == 0:
		why = fmt.Sprintf("it says that it is record %d of journal %s, of which %d were settled", seq, epoch, e.applied)
	case e.take(seq, came{digest, at}):
		return nil
	default:
		why = fmt.Sprintf("it says that it is record %d of journal %s, as another one does", seq, epoch)
	}
	v.findings.add(Inserted, Finding{What: r.describe(), Org: r.org, ID: r.id.String(), Epoch: epoch.String(), Why: why})
	return nil
}

// unnumbered is for a record that no journal held: the ledger makes closeouts and entries by itself, but no decisions.
func (j *journals) unnumbered(r *row, v *verification) error {
	if r.kind != leaf.Decision {
		return nil
	}
	raw, err := r.column("stored_at")
	if err != nil {
		return err
	}
	if at, err := time.Parse(time.RFC3339Nano, string(raw)); err == nil && at.After(v.evidence) {
		v.findings.add(Inserted, Finding{What: r.describe(), Org: r.org, ID: r.id.String(), Why: "it has no number in any journal, so no processor decided it"})
	}
	return nil
}

// take is false for a number that was there before.
func (e *journal) take(seq uint64, c came) bool {
	if _, there := e.ahead[seq]; there || seq < e.next {
		return false
	}
	if e.ahead[seq] = c; seq != e.next {
		return true
	}
	for {
		c, ok := e.ahead[e.next]
		if !ok {
			return true
		}
		delete(e.ahead, e.next)
		e.tick(e.next, c.times)
		switch {
		case e.next <= e.after:
		case c.digest == nil:
			e.bare = true
		default:
			e.head = record.ChainNext(e.head, e.next, *c.digest)
		}
		e.next++
	}
}

// finish reports what is missing, and returns how many journals are whole.
func (j *journals) finish(all bool, f *findings) (whole int64) {
	if !all {
		return 0
	}
	partial := 0
	for k, e := range j.all {
		for _, went := range e.back {
			f.notice("journal %s of org %s: %s", k.epoch, k.org, went)
		}
		what := Finding{What: fmt.Sprintf("journal %s of org %s", k.epoch, k.org), Org: k.org, Epoch: k.epoch.String()}
		switch {
		case e.partial:
			partial++
			continue
		case e.next <= e.applied:
			missing := e.missing()
			what.Why = fmt.Sprintf("%d of %d records are missing: %s", e.applied-(e.next-1)-uint64(len(e.ahead)), e.applied, ranges(missing))
			f.add(Gap, what)
		case e.chain == nil && e.applied > e.after:
			what.Why = "it has no chain head"
			f.add(Changed, what)
		case e.chain != nil && (e.bare || [32]byte(e.chain) != e.head):
			what.Why = fmt.Sprintf("the digests of its records make the chain head %x, and settled was %x: one was changed, or two changed their numbers", e.head[:6], e.chain[:6])
			f.add(Changed, what)
		default:
			whole++
		}
	}
	if partial > 0 {
		f.notice("%d journals began before the last month that was retired: their numbers were not checked", partial)
	}
	return whole
}

// missing lists numbers, not all of very many.
func (e *journal) missing() (numbers []uint64) {
	for n := e.next; n <= e.applied && len(numbers) < 1000; n++ {
		if _, there := e.ahead[n]; !there {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
