package ledger

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/escrow"
)

// What is claimed beyond what was ever leased under the ceiling is forced.
const reassertSQL = `
with more as materialized (
  select g.budget, g.account_key, g.window_start, g.window_end, g.granted, g.granted - l.granted_n as n
  from unnest($3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::bigint[]) g (budget, account_key, window_start, window_end, granted)
  join keel.leases l on l.org = $1 and l.budget = g.budget and l.account_key = g.account_key
    and l.window_start = g.window_start and l.window_end = g.window_end and l.epoch = $2
  where g.granted > l.granted_n),
claimed as (
  update keel.leases l set granted_n = m.granted, renewed_at = now() from more m
  where l.org = $1 and l.budget = m.budget and l.account_key = m.account_key and l.window_start = m.window_start and l.window_end = m.window_end and l.epoch = $2)
update keel.accounts a set leased_n = a.leased_n + m.n, forced_n = a.forced_n + greatest(0, a.settled_n + a.leased_n + m.n - a.high_n - a.forced_n)
from more m
where a.org = $1 and a.budget = m.budget and a.account_key = m.account_key and a.window_start = m.window_start and a.window_end = m.window_end`

// Reassert implements escrow.Bank. An epoch that is finished claims nothing.
func (b *Bank) Reassert(ctx context.Context, epoch uuid.UUID, granted []escrow.Grant) error {
	granted = slices.Clone(granted)
	slices.SortFunc(granted, func(x, y escrow.Grant) int { return x.Key.Compare(y.Key) })
	for len(granted) > 0 {
		org := granted[0].Key.Org
		n := slices.IndexFunc(granted, func(g escrow.Grant) bool { return g.Key.Org != org })
		if n < 0 {
			n = len(granted)
		}
		n = min(n, settleRecords)
		if err := b.reassert(ctx, org, epoch, granted[:n]); err != nil {
			return explainError(fmt.Sprintf("re-assert leases of epoch %s, org %s", epoch, org), err)
		}
		granted = granted[n:]
	}
	return nil
}

func (b *Bank) reassert(ctx context.Context, org string, epoch uuid.UUID, granted []escrow.Grant) error {
	var keys keyColumns
	var amounts []int64
	epochs := make([]uuid.UUID, 0, len(granted))
	for _, g := range granted {
		keys.add(g.Key)
		amounts = append(amounts, int64(g.Granted))
		epochs = append(epochs, epoch)
	}
	return b.transact(ctx, func(tx pgx.Tx) error {
		if err := enlist(ctx, tx, org, epoch); err != nil {
			return err
		}
		var state string
		if err := tx.QueryRow(ctx, "select state from keel.epochs where org = $1 and epoch = $2 for key share", org, epoch).Scan(&state); err != nil || state == "finished" {
			return err
		}
		batch := &pgx.Batch{}
		batch.Queue(createAccounts, org, keys.budgets, keys.accounts, keys.starts, keys.ends)
		batch.Queue(createLeases, org, keys.budgets, keys.accounts, keys.starts, keys.ends, epochs)
		batch.Queue(lockAccounts, org, keys.budgets, keys.accounts, keys.starts, keys.ends)
		batch.Queue(reassertSQL, org, epoch, keys.budgets, keys.accounts, keys.starts, keys.ends, amounts)
		return tx.SendBatch(ctx, batch).Close()
	})
}
