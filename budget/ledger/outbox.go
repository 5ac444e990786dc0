package ledger

import (
	"slices"

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

// One row a kind, however many records.
const insertOutbox = `
insert into keel.outbox (org, kind, ids, versions)
select $1, k.kind, k.ids, k.versions
from (values ('decision', $2::uuid[], null::integer[]), ('closeout', $3, $4), ('entry', $5, null)) k (kind, ids, versions)
where cardinality(k.ids) > 0`

// queue adds what is announced to a batch.
func (a *announced) queue(batch *pgx.Batch, org string) {
	if len(a.decisions)+len(a.closeouts)+len(a.entries) == 0 {
		return
	}
	versions := a.versions
	if !slices.ContainsFunc(versions, func(v int32) bool { return v != 1 }) {
		versions = nil
	}
	batch.Queue(insertOutbox, org, idList(a.decisions), idList(a.closeouts), versions, idList(a.entries))
}
