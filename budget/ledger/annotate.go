package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"keel/budget"
)

const insertAnnotation = `
insert into keel.annotations as a (org, decision_id, logged_at, http_status, attempts, flags, details, response_bytes, correction, corrects)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::bytea, $9::bytea is not null)
on conflict (org, decision_id) do update set logged_at = excluded.logged_at, http_status = excluded.http_status,
  attempts = excluded.attempts, flags = excluded.flags, details = excluded.details, response_bytes = excluded.response_bytes,
  correction = coalesce(excluded.correction, a.correction), corrects = excluded.corrects or a.corrects`

// Annotate keeps what the access log told, all or none; the last word on a decision stays. Sweep closes
// what the log saw end and nobody closed.
func (b *Bank) Annotate(ctx context.Context, annotations []budget.Annotation) (err error) {
	for range 2 {
		for i := range annotations {
			if err := b.ensureMonth(ctx, annotations[i].ID); err != nil {
				return explainError("keep annotations", err)
			}
		}
		err = b.transact(ctx, func(tx pgx.Tx) error {
			batch := &pgx.Batch{}
			for i := range annotations {
				a := &annotations[i]
				batch.Queue(insertAnnotation, text(a.Org), a.ID, a.At, int32(a.HTTPStatus), int64(a.Attempts), text(a.Flags), text(a.Details), a.ResponseBytes, correctionBytes(a.Correction))
			}
			return tx.SendBatch(ctx, batch).Close()
		})
		if !noPartition(err) {
			break
		}
		b.months.Clear()
	}
	return explainError("keep annotations", err)
}
