package ledger

import (
	"crypto/sha256"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// announced is what a transaction wrote that becomes leaves of the audit log: it says so
// in keel.outbox, and the log's sequencer takes it from there when it is committed.
type announced struct {
	hashed struct{ decisions, closeouts hashed } // with their leaves; closeouts in version 1

	// The sequencer makes the leaves of these.
	decisions []uuid.UUID
	closeouts []uuid.UUID
	versions  []int32 // of closeouts
	entries   []uuid.UUID
}

// hashed are records with the hashes of their leaves.
type hashed struct {
	ids    []uuid.UUID
	hashes []byte
}

// room makes room for so many.
func (h *hashed) room(n int) {
	h.ids, h.hashes = make([]uuid.UUID, 0, n), make([]byte, 0, n*sha256.Size)
}

func (h *hashed) add(id uuid.UUID, hash []byte) {
	h.ids, h.hashes = append(h.ids, id), append(h.hashes, hash...)
}

func (a *announced) closeout(id uuid.UUID, version int32) {
	a.closeouts, a.versions = append(a.closeouts, id), append(a.versions, version)
}

// One row a kind, however many records, and another one for those without leaves.
const insertOutbox = `
insert into keel.outbox (org, kind, ids, versions, hashes)
select $1, k.kind, k.ids, k.versions, k.hashes
from (values ('decision', $2::uuid[], null::integer[], $3::bytea), ('decision', $4, null, null), ('closeout', $5, null, $6), ('closeout', $7, $8, null), ('entry', $9, null, null)) k (kind, ids, versions, hashes)
where cardinality(k.ids) > 0`

// queue adds what is announced to a batch.
func (a *announced) queue(batch *pgx.Batch, org string) {
	h := &a.hashed
	if len(h.decisions.ids)+len(h.closeouts.ids)+len(a.decisions)+len(a.closeouts)+len(a.entries) == 0 {
		return
	}
	versions := a.versions
	if !slices.ContainsFunc(versions, func(v int32) bool { return v != 1 }) {
		versions = nil
	}
	batch.Queue(insertOutbox, org, idList(h.decisions.ids), h.decisions.hashes, idList(a.decisions), idList(h.closeouts.ids), h.closeouts.hashes,
		idList(a.closeouts), versions, idList(a.entries))
}
