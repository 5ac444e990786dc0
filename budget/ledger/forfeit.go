package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget/ledger/escrow"
)

// Forfeit writes off slices of silent epochs whose windows ended longer than
// BankOptions.ForfeitAfter ago: what nobody accounts for counts as spent. When the journal
// shows up after all, that is undone. It returns how many slices it wrote off.
func (b *Bank) Forfeit(ctx context.Context) (slices int, err error) {
	rows, err := b.pool.Query(ctx, `
select distinct l.org, l.epoch from keel.leases l
join keel.epochs e on e.org = l.org and e.epoch = l.epoch
where e.state = 'fenced' and l.window_end < now() - $1::interval and l.granted_n > l.consumed_n + l.returned_n + l.forfeited_n
order by l.org, l.epoch`, b.o.ForfeitAfter)
	if err != nil {
		return 0, explainError("forfeit", err)
	}
	type of struct {
		Org   string
		Epoch uuid.UUID
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[of])
	if err != nil {
		return 0, explainError("forfeit", err)
	}
	for _, e := range all {
		n, err := b.forfeit(ctx, e.Org, e.Epoch, &b.o.ForfeitAfter, "its window ended, and its replica is not heard of")
		if err != nil {
			return slices, explainError("forfeit", err)
		}
		slices += n
	}
	return slices, nil
}

// ForfeitEpoch gives up an epoch at once, because somebody knows that its journal is gone for good: calls that it left open
// are charged at their full hold, as a sweep does it, and what its slices have left then is written off. It refuses, with ErrAlive,
// one that is heard of. It returns how many slices it wrote off.
func (b *Bank) ForfeitEpoch(ctx context.Context, epoch uuid.UUID, who string) (slices int, err error) {
	if err := b.fence(ctx); err != nil {
		return 0, explainError("forfeit", err)
	}
	// The database may know nothing of its heartbeats: only what it settled.
	if _, err := b.pool.Exec(ctx, `
update keel.epochs e set state = 'fenced', changed_at = now()
where e.epoch = $1 and e.state = 'live' and e.changed_at < now() - $2::interval and not exists (select from keel.replicas r where r.epoch = e.epoch)`, epoch, b.o.SilentAfter); err != nil {
		return 0, explainError("forfeit", err)
	}
	rows, err := b.pool.Query(ctx, "select org, state from keel.epochs where epoch = $1 order by org", epoch)
	if err != nil {
		return 0, explainError("forfeit", err)
	}
	type of struct{ Org, State string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[of])
	if err != nil {
		return 0, explainError("forfeit", err)
	}
	if len(all) == 0 {
		return 0, fmt.Errorf("ledger: forfeit epoch %s: %w", epoch, ErrNotFound)
	}
	for _, e := range all {
		if e.State == "live" {
			return slices, fmt.Errorf("ledger: forfeit epoch %s: %w, or was %s ago; stop it first", epoch, ErrAlive, b.o.SilentAfter)
		}
		if err := b.closeOpen(ctx, e.Org, epoch); err != nil {
			return slices, explainError("forfeit", err)
		}
		n, err := b.forfeit(ctx, e.Org, epoch, nil, "given up by "+who)
		if err != nil {
			return slices, explainError("forfeit", err)
		}
		slices += n
	}
	return slices, nil
}

// closeOpen charges what a silent epoch left open. Else its holds would count twice: as part of the slice that is
// written off, and when a sweep finds them.
func (b *Bank) closeOpen(ctx context.Context, org string, epoch uuid.UUID) error {
	for {
		rows, err := b.pool.Query(ctx, "select decision_id from keel.open_decisions where org = $1 and epoch = $2 and opened order by decision_id limit $3", org, epoch, settleRecords)
		if err != nil {
			return err
		}
		var open []abandoned
		if err := eachID(rows, func(id uuid.UUID) { open = append(open, abandoned{org, id, epoch, bySilence}) }); err != nil || len(open) == 0 {
			return err
		}
		if _, err := b.presume(ctx, open); err != nil {
			return err
		}
	}
}

// forfeit writes off what is left of slices whose window ended so long ago; all of them if after is nil.
func (b *Bank) forfeit(ctx context.Context, org string, epoch uuid.UUID, after *time.Duration, cause string) (n int, err error) {
	err = b.transact(ctx, func(tx pgx.Tx) error {
		n = 0
		var now time.Time
		err := tx.QueryRow(ctx, "select now() from keel.epochs where org = $1 and epoch = $2 and state = 'fenced' for update", org, epoch).Scan(&now)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // it was heard of
		}
		if err != nil {
			return err
		}
		left, err := readSlices(ctx, tx, org, epoch)
		if err != nil {
			return err
		}
		money := newBooking()
		var entries []entry
		for _, l := range left {
			rest := l.outstanding()
			if rest <= 0 || after != nil && (l.End == escrow.Unbounded || l.End > now.Add(-*after).UnixMicro()) {
				continue
			}
			money.lease(l.Key, epoch).forfeited = rest
			entries = append(entries, entry{epoch: epoch, kind: "forfeit", account: &l.Key, amount: int64(rest), cause: cause})
			n++
		}
		if n == 0 {
			return nil
		}
		var evidence announced
		if err := writeEntries(ctx, tx, org, entries, &evidence); err != nil {
			return err
		}
		if _, err := money.write(ctx, tx, org); err != nil {
			return err
		}
		batch := &pgx.Batch{}
		evidence.queue(batch, org)
		batch.Queue("update keel.epochs set forfeited = true, changed_at = now() where org = $1 and epoch = $2", org, epoch)
		return tx.SendBatch(ctx, batch).Close()
	})
	return n, err
}

// unforfeit undoes what was written off of an epoch, whose row is locked.
func unforfeit(ctx context.Context, tx pgx.Tx, org string, epoch uuid.UUID, money *booking) (entries []entry, err error) {
	left, err := readSlices(ctx, tx, org, epoch)
	if err != nil {
		return nil, err
	}
	for _, l := range left {
		if l.forfeited > 0 {
			money.lease(l.Key, epoch).forfeited -= l.forfeited
			entries = append(entries, entry{epoch: epoch, kind: "forfeit_fix", account: &l.Key, amount: -int64(l.forfeited), cause: "the journal showed up"})
		}
	}
	return entries, nil
}

// readSlices locks the accounts that an epoch has slices of, and reads these.
func readSlices(ctx context.Context, tx pgx.Tx, org string, epoch uuid.UUID) ([]slice, error) {
	read := func() ([]slice, error) {
		rows, err := tx.Query(ctx, `
select budget, account_key, window_start, window_end, granted_n, consumed_n, returned_n, forfeited_n from keel.leases
where org = $1 and epoch = $2 and (granted_n > consumed_n + returned_n or forfeited_n > 0)`, org, epoch)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, func(row pgx.CollectableRow) (l slice, err error) {
			var start, end pgtype.Timestamptz
			l.Org = org
			err = row.Scan(&l.Budget, &l.Account, &start, &end, &l.granted, &l.consumed, &l.returned, &l.forfeited)
			l.Start, l.End = microsOf(start), microsOf(end)
			return l, err
		})
	}
	found, err := read()
	if err != nil {
		return nil, err
	}
	keys := make([]escrow.Key, 0, len(found))
	for _, l := range found {
		keys = append(keys, l.Key)
	}
	slices.SortFunc(keys, escrow.Key.Compare)
	c := columnsOf(keys)
	if _, err := tx.Exec(ctx, lockAccounts, org, c.budgets, c.accounts, c.starts, c.ends); err != nil {
		return nil, err
	}
	return read()
}
