package ledger

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// announced is what a transaction wrote that becomes leaves of the audit log: it says so
// in keel.outbox, and the log's sequencer takes it from there when it is committed.
type announced struct {
	decisions []uuid.UUID
	closeouts []uuid.UUID
	versions  []int32 // of closeouts
	entries   []uuid.UUID
}

func (a *announced) closeout(id uuid.UUID, version int32) {
	a.closeouts, a.versions = append(a.closeouts, id), append(a.versions, version)
}

const insertOutbox = `insert into keel.outbox (org, kind, ids, versions) values ($1, $2, $3, $4)`

// queue adds what is announced to a batch: one row a kind, however many records.
func (a *announced) queue(batch *pgx.Batch, org string) {
	if len(a.decisions) > 0 {
		batch.Queue(insertOutbox, org, "decision", a.decisions, nil)
	}
	if len(a.closeouts) > 0 {
		batch.Queue(insertOutbox, org, "closeout", a.closeouts, a.versions)
	}
	if len(a.entries) > 0 {
		batch.Queue(insertOutbox, org, "entry", a.entries, nil)
	}
}
