package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
)

const (
	annotationColumns = "(org, decision_id, logged_at, http_status, attempts, flags, details, response_bytes, correction, corrects)"

	insertAnnotation = `
insert into keel.annotations as a ` + annotationColumns + `
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::bytea, $9::bytea is not null)
on conflict (org, decision_id) do update set logged_at = excluded.logged_at, http_status = excluded.http_status,
  attempts = excluded.attempts, flags = excluded.flags, details = excluded.details, response_bytes = excluded.response_bytes,
  correction = coalesce(excluded.correction, a.correction), corrects = excluded.corrects or a.corrects`

	copyAnnotations = "copy keel.annotations " + annotationColumns + " from stdin (format binary)"
)

// Annotate keeps what the access log told, all or none; the last word on a decision stays. Sweep closes
// what the log saw end and nobody closed.
//
// A call mostly has one line, told once: such are copied, at a fifth of what an INSERT of each costs Postgres. Where one decision has two
// lines, here or because the commit of an earlier attempt was not heard of, the COPY is refused, and each is inserted.
func (b *Bank) Annotate(ctx context.Context, annotations []budget.Annotation) error {
	err := b.annotate(ctx, annotations, b.copyAnnotations)
	if UniqueViolation(err) {
		err = b.annotate(ctx, annotations, b.insertAnnotations)
	}
	return explainError("keep annotations", err)
}

// annotate writes them when the partitions of their months are there; one that was may be gone.
func (b *Bank) annotate(ctx context.Context, annotations []budget.Annotation, write func(context.Context, []budget.Annotation) error) (err error) {
	for range 2 {
		last := 0
		for i := range annotations {
			month := monthOf(annotations[i].ID)
			if month == last {
				continue
			}
			if err := b.ensureMonth(ctx, annotations[i].ID); err != nil {
				return err
			}
			last = month
		}
		if err = write(ctx, annotations); !noPartition(err) {
			break
		}
		b.months.Clear()
	}
	return err
}

// copyAnnotations needs no transaction: a COPY is all or none.
func (b *Bank) copyAnnotations(ctx context.Context, annotations []budget.Annotation) error {
	for attempt := 0; ; attempt++ {
		next := 0
		err := b.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
			return copyRows(ctx, c.Conn(), copyAnnotations, func(r *rowBuffer) bool {
				if next == len(annotations) {
					return false
				}
				r.annotation(&annotations[next])
				next++
				return true
			})
		})
		if !again(ctx, err, attempt) {
			return err
		}
	}
}

func (b *Bank) insertAnnotations(ctx context.Context, annotations []budget.Annotation) error {
	return b.transact(ctx, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		for i := range annotations {
			a := &annotations[i]
			batch.Queue(insertAnnotation, text(a.Org), a.ID, a.At, int32(a.HTTPStatus), int64(a.Attempts), text(a.Flags), text(a.Details), a.ResponseBytes, correctionBytes(a.Correction))
		}
		return tx.SendBatch(ctx, batch).Close()
	})
}

// annotation writes the columns of insertAnnotation. Its texts are made storable, so it is never odd.
func (r *rowBuffer) annotation(a *budget.Annotation) {
	r.begin(annotationFields)
	r.Text(text(a.Org))
	r.ID(a.ID)
	r.Time(a.At)
	r.Int4(int32(a.HTTPStatus))
	r.Int8(int64(a.Attempts))
	r.Text(text(a.Flags))
	r.Text(text(a.Details))
	r.Int8(a.ResponseBytes)
	if a.Correction == nil {
		r.Null()
	} else {
		r.Bytes(correctionBytes(a.Correction))
	}
	r.Bool(a.Correction != nil)
	r.End()
}

var annotationFields = fieldsOf(annotationColumns)
