package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/record"
)

// askMost bounds the open calls of one question.
const askMost = 5000

// askLoop asks which open calls somebody else has closed, until ctx ends.
func (l *Ledger) askLoop(ctx context.Context) {
	ticker := time.NewTicker(l.opts.AskEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if err := l.askOnce(ctx, now); err != nil && ctx.Err() == nil {
				l.log.Debug("ledger: can't ask which calls were closed elsewhere, will go on trying", "error", err)
			}
		}
	}
}

func (l *Ledger) askOnce(ctx context.Context, now time.Time) error {
	for org, ids := range l.Unsure(now, askMost) {
		closed, err := l.bank.closed(ctx, org, ids)
		if err != nil {
			return err
		}
		for id, charges := range closed {
			l.ClosedElsewhere(id, charges)
		}
	}
	return nil
}

// closed returns what was charged for those of some decisions that are closed, in the order of their holds.
func (b *Bank) closed(ctx context.Context, org string, ids []uuid.UUID) (map[uuid.UUID][]record.Charge, error) {
	rows, err := b.pool.Query(ctx, `
select decision_id, charges::text from keel.closeouts where org = $1 and decision_id = any($2) and charges is not null`, text(org), ids)
	if err != nil {
		return nil, explainError("ask which calls are closed", err)
	}
	all := make(map[uuid.UUID][]record.Charge)
	var id uuid.UUID
	var raw string
	_, err = pgx.ForEachRow(rows, []any{&id, &raw}, func() error {
		charges, err := readCharges(org, id, raw)
		all[id] = charges
		return err
	})
	return all, explainError("ask which calls are closed", err)
}
