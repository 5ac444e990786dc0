package ledger

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget/ledger/escrow"
)

// entry is a row of keel.entries.
type entry struct {
	epoch    uuid.UUID
	seq      uint64 // 0: made by the ledger itself
	kind     string
	decision uuid.UUID
	account  *escrow.Key
	amount   int64
	cause    string
}

const insertEntries = `
insert into keel.entries (org, epoch, seq, kind, decision_id, budget, account_key, window_start, window_end, amount_n, cause)
select $1, e.epoch, e.seq, e.kind, e.decision_id, e.budget, e.account_key, e.window_start, e.window_end, e.amount_n, e.cause::jsonb
from unnest($2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::bigint[], $11::text[])
  e (epoch, seq, kind, decision_id, budget, account_key, window_start, window_end, amount_n, cause)`

func writeEntries(ctx context.Context, tx pgx.Tx, org string, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	var epochs []uuid.UUID
	var seqs []*int64
	var amounts []int64
	var kinds, causes []string
	var decisions []*uuid.UUID
	var budgets, keys []*string
	var starts, ends []pgtype.Timestamptz // null where not valid
	for i := range entries {
		e := &entries[i]
		epochs, kinds, amounts = append(epochs, e.epoch), append(kinds, e.kind), append(amounts, e.amount)
		cause := map[string]string{}
		if e.cause != "" {
			cause["why"] = text(e.cause)
		}
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
		if e.account == nil {
			budgets, keys, starts, ends = append(budgets, nil), append(keys, nil), append(starts, pgtype.Timestamptz{}), append(ends, pgtype.Timestamptz{})
			continue
		}
		budgets, keys = append(budgets, &e.account.Budget), append(keys, &e.account.Account)
		starts, ends = append(starts, instant(e.account.Start)), append(ends, instant(e.account.End))
	}
	_, err := tx.Exec(ctx, insertEntries, org, epochs, seqs, kinds, decisions, budgets, keys, starts, ends, amounts, causes)
	return err
}
