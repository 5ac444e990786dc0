package ledger

import (
	"context"
	"maps"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
)

// entry is a row of keel.entries.
type entry struct {
	epoch    uuid.UUID
	seq      uint64         // 0: made by the ledger itself
	digest   *record.Digest // of what the journal held; nil without a number
	kind     string
	decision uuid.UUID
	account  *escrow.Key
	amount   int64
	cause    string
	facts    map[string]string // kept beside the cause

	extension *record.Extension // of kind extension
}

const insertEntries = `
insert into keel.entries (org, entry_id, epoch, seq, digest, kind, decision_id, budget, account_key, window_start, window_end, amount_n, cause, extended_at, more_n)
select $1, e.id, e.epoch, e.seq, e.digest, e.kind, e.decision_id, e.budget, e.account_key, e.window_start, e.window_end, e.amount_n, e.cause::jsonb, e.extended_at, e.more_n::bigint[]
from unnest($2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::bigint[], $11::text[], $12::uuid[], $13::bytea[], $14::timestamptz[], $15::text[])
  e (epoch, seq, kind, decision_id, budget, account_key, window_start, window_end, amount_n, cause, id, digest, extended_at, more_n)`

// writeEntries stores entries, and announces them.
func writeEntries(ctx context.Context, tx pgx.Tx, org string, entries []entry, evidence *announced) error {
	if len(entries) == 0 {
		return nil
	}
	var ids, epochs []uuid.UUID
	var digests [][]byte
	var seqs []*int64
	var amounts []int64
	var kinds, causes []string
	var decisions []*uuid.UUID
	var budgets, keys []*string
	var starts, ends []pgtype.Timestamptz // null where not valid
	var times []*time.Time
	var more []*string
	for i := range entries {
		e := &entries[i]
		epochs, kinds, amounts = append(epochs, e.epoch), append(kinds, e.kind), append(amounts, e.amount)
		ids, digests = append(ids, uuid.New()), append(digests, digestBytes(e.digest))
		cause := map[string]string{}
		if e.cause != "" {
			cause["why"] = text(e.cause)
		}
		maps.Copy(cause, e.facts)
		causes = append(causes, jsonText(cause))
		var seq *int64
		if e.seq > 0 {
			n := int64(e.seq)
			seq = &n
		}
		seqs = append(seqs, seq)
		var decision *uuid.UUID
		if e.decision != uuid.Nil {
			decision = &e.decision
		}
		decisions = append(decisions, decision)
		at, amounts := e.added()
		times, more = append(times, at), append(more, amounts)
		if e.account == nil {
			budgets, keys, starts, ends = append(budgets, nil), append(keys, nil), append(starts, pgtype.Timestamptz{}), append(ends, pgtype.Timestamptz{})
			continue
		}
		budgets, keys = append(budgets, &e.account.Budget), append(keys, &e.account.Account)
		starts, ends = append(starts, instant(e.account.Start)), append(ends, instant(e.account.End))
	}
	evidence.entries = append(evidence.entries, ids...)
	_, err := tx.Exec(ctx, insertEntries, org, idList(epochs), seqs, kinds, decisions, budgets, keys, starts, ends, amounts, causes, idList(ids), digests, times, more)
	return err
}

// added is when an extension was made, and its amounts as an array literal; nil for entries of other kinds.
func (e *entry) added() (at *time.Time, more *string) {
	if e.extension == nil {
		return nil, nil
	}
	b := []byte("{")
	for i, m := range e.extension.More {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(m.Amount), 10)
	}
	literal := string(append(b, '}'))
	return &e.extension.At, &literal
}

// digestBytes is null where there is none.
func digestBytes(d *record.Digest) []byte {
	if d == nil {
		return nil
	}
	return d[:]
}
