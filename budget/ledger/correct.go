package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// Correct puts what the access log tells of a call's attempts in the place of closeouts that were presumed: by
// a filter that saw nobody answer, or by Sweep. What it tells of a call that went on without the filter (outcome unmetered) also takes
// the place of a closeout that was cut, for no less than that. It is booked by the difference. Where nobody closed the call yet it
// waits, and where somebody metered it, it is nothing. It returns how many closeouts it replaced; several replicas at once do no harm.
func (b *Bank) Correct(ctx context.Context) (corrected int, err error) {
	for {
		orgs, ids, err := b.correctable(ctx)
		if err != nil {
			return corrected, explainError("correct closeouts by the access log", err)
		}
		for i, id := range ids {
			done, err := b.correct(ctx, orgs[i], id)
			if err != nil {
				return corrected, explainError(fmt.Sprintf("correct decision %s by the access log", id), err)
			}
			if done {
				corrected++
			}
		}
		if len(ids) < correctMost {
			return corrected, nil
		}
	}
}

// correctMost bounds what one look finds.
const correctMost = 1000

func (b *Bank) correctable(ctx context.Context) (orgs []string, ids []uuid.UUID, err error) {
	rows, err := b.pool.Query(ctx, `
select a.org, a.decision_id from keel.annotations a join keel.closeouts c on c.org = a.org and c.decision_id = a.decision_id
where a.corrects and c.charges is not null order by a.org, a.decision_id limit $1`, correctMost)
	if err != nil {
		return nil, nil, err
	}
	var org string
	var id uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&org, &id}, func() error {
		orgs, ids = append(orgs, org), append(ids, id)
		return nil
	})
	return orgs, ids, err
}

// correct looks at one closeout and what corrects it, in this order, as settlements do.
func (b *Bank) correct(ctx context.Context, org string, id uuid.UUID) (done bool, err error) {
	err = b.transact(ctx, func(tx pgx.Tx) error {
		done = false
		s := settlement{ctx: ctx, tx: tx, org: org, money: newBooking(), states: make(map[uuid.UUID]string)}
		var awaits, cut, known bool
		var cost pricing.NanoUSD
		err := tx.QueryRow(ctx, `
select presumed and response_id = '' and attempt_rows is null, presumed or outcome = 'aborted' and metered <> 'provider', cost_known, cost_n
from keel.closeouts where org = $1 and decision_id = $2 and charges is not null for update`, org, id).Scan(&awaits, &cut, &known, &cost)
		if errors.Is(err, pgx.ErrNoRows) { // another took its place, or retired it
			return nil
		}
		if err != nil {
			return err
		}
		var correction []byte
		err = tx.QueryRow(ctx, "update keel.annotations set corrects = false where org = $1 and decision_id = $2 and corrects returning correction", org, id).Scan(&correction)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !awaits && !cut {
			return nil
		}
		if err != nil {
			return err
		}
		end, err := record.DecodeResponse(correction)
		if err != nil {
			b.o.Logger.Error("ledger: a correction can't be read, and the call stays charged as it is", "decision", id, "error", err)
			return nil
		}
		if s.passed = end.Outcome == budget.Unmetered; !awaits && !s.passed {
			return nil
		}
		if s.passed { // more went on than anybody saw: never for less than it was
			end.Cost.Total, end.CostKnown = max(end.Cost.Total, cost), end.CostKnown && known
		}
		end.ID, end.Org = id, org
		if err := s.replace(&closing{Closeout: &record.Closeout{Closeout: *end}, owned: true}); err != nil {
			return err
		}
		if err := writeEntries(ctx, tx, org, s.entries, &s.evidence); err != nil {
			return err
		}
		if _, err := s.money.write(ctx, tx, org); err != nil {
			return err
		}
		done = true
		batch := &pgx.Batch{}
		s.evidence.queue(batch, org)
		return tx.SendBatch(ctx, batch).Close()
	})
	return done, err
}

// recorrect is for a closeout that knows less than the access log told of the one whose place it takes: that is looked at again.
func (s *settlement) recorrect(end *budget.Closeout) error {
	if !end.Awaited || end.ResponseID != "" || end.AttemptRows != nil {
		return nil
	}
	_, err := s.tx.Exec(s.ctx, "update keel.annotations set corrects = true where org = $1 and decision_id = $2 and correction is not null", s.org, end.ID)
	return err
}

// correctionBytes is a closeout as annotations keep it: as in a journal.
func correctionBytes(c *budget.Closeout) []byte {
	if c == nil {
		return nil
	}
	return record.AppendResponse(nil, c)
}
