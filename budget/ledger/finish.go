package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// Finish implements escrow.Bank: one transaction for an org, and more where it left
// very much open.
func (b *Bank) Finish(ctx context.Context, epoch uuid.UUID, applied map[string]uint64) error {
	if err := b.finish(ctx, epoch, applied); err != nil {
		if gap := (*escrow.GapError)(nil); errors.As(err, &gap) {
			return gap
		}
		return explainError(fmt.Sprintf("finish epoch %s", epoch), err)
	}
	return nil
}

func (b *Bank) finish(ctx context.Context, epoch uuid.UUID, applied map[string]uint64) error {
	if err := b.lacks(ctx, epoch, applied); err != nil {
		return err
	}
	// From here on no org can be new to the epoch: see enlist.
	err := b.transact(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
insert into keel.replicas as r (epoch, host, finished_at) values ($1, '', now())
on conflict (epoch) do update set finished_at = coalesce(r.finished_at, excluded.finished_at), closed_at = coalesce(r.closed_at, excluded.finished_at)`, epoch)
		return err
	})
	if err != nil {
		return err
	}
	rows, err := b.pool.Query(ctx, "select org from keel.epochs where epoch = $1 and state <> 'finished' order by org", epoch)
	if err != nil {
		return err
	}
	orgs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, org := range orgs {
		for more := true; more; {
			if more, err = b.finishOrg(ctx, epoch, org); err != nil {
				return err
			}
		}
	}
	return nil
}

// lacks returns a *escrow.GapError where less is applied than the replica was told.
func (b *Bank) lacks(ctx context.Context, epoch uuid.UUID, applied map[string]uint64) error {
	has, err := b.Applied(ctx, epoch)
	if err != nil {
		return err
	}
	for org, seq := range applied {
		if has[org] < seq {
			return &escrow.GapError{Epoch: epoch, Org: org, Applied: has[org], First: seq + 1}
		}
	}
	return nil
}

// finishOrg reports whether there is more to do.
func (b *Bank) finishOrg(ctx context.Context, epoch uuid.UUID, org string) (more bool, err error) {
	err = b.transact(ctx, func(tx pgx.Tx) error {
		var state string
		var forfeited bool
		if err := tx.QueryRow(ctx, "select state, forfeited from keel.epochs where org = $1 and epoch = $2 for update", org, epoch).Scan(&state, &forfeited); err != nil {
			return err
		}
		if more = false; state == "finished" {
			return nil
		}
		s := settlement{ctx: ctx, tx: tx, org: org, epoch: epoch, money: newBooking(), states: map[uuid.UUID]string{epoch: state}}
		if forfeited {
			if s.entries, err = unforfeit(ctx, tx, org, epoch, &s.money); err != nil {
				return err
			}
		}
		left, err := s.leftOpen()
		if err != nil {
			return err
		}
		if len(left) > 0 && !b.mutant.noOrphans {
			if _, err := s.presume(left, b.o.MaxAge); err != nil {
				return err
			}
		}
		if more = len(left) == settleRecords; !more {
			state = "finished"
			if err := s.giveBack(); err != nil {
				return err
			}
		}
		if err := writeEntries(ctx, tx, org, s.entries, &s.evidence); err != nil {
			return err
		}
		if _, err := s.money.write(ctx, tx, org); err != nil {
			return err
		}
		batch := &pgx.Batch{}
		s.evidence.queue(batch, org)
		batch.Queue("update keel.epochs set state = $3, forfeited = false, changed_at = now() where org = $1 and epoch = $2", org, epoch, state)
		return tx.SendBatch(ctx, batch).Close()
	})
	return more, err
}

func (s *settlement) leftOpen() ([]abandoned, error) {
	rows, err := s.tx.Query(s.ctx, `
select decision_id from keel.open_decisions where org = $1 and epoch = $2 and opened order by decision_id limit $3`, s.org, s.epoch, settleRecords)
	if err != nil {
		return nil, err
	}
	var left []abandoned
	return left, eachID(rows, func(id uuid.UUID) { left = append(left, abandoned{s.org, id, s.epoch, byEnd}) })
}

// giveBack returns what is left of every slice, after what is booked so far.
func (s *settlement) giveBack() error {
	left, err := readSlices(s.ctx, s.tx, s.org, s.epoch)
	if err != nil {
		return err
	}
	for _, l := range left {
		change := s.money.lease(l.Key, s.epoch)
		if rest := l.outstanding() - change.charged - change.returned - change.forfeited; rest > 0 {
			change.returned += rest
			s.entries = append(s.entries, entry{epoch: s.epoch, kind: "finish", account: &l.Key, amount: int64(rest), cause: "the epoch is finished"})
		}
	}
	return nil
}

// slice is a row of keel.leases.
type slice struct {
	escrow.Key
	granted, consumed, returned, forfeited pricing.NanoUSD
}

func (l *slice) outstanding() pricing.NanoUSD {
	return l.granted - l.consumed - l.returned - l.forfeited
}
