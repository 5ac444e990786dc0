package ledger

import (
	"bytes"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// idList is a parameter of type uuid[]; nil is null. As a plain slice pgx would write each id as text and read it again,
// because a uuid.UUID is a driver.Valuer first.
type idList []uuid.UUID

func (l idList) Dimensions() []pgtype.ArrayDimension {
	if l == nil {
		return nil
	}
	return []pgtype.ArrayDimension{{Length: int32(len(l)), LowerBound: 1}}
}
func (l idList) Index(i int) any { return (*idValue)(&l[i]) }
func (l idList) IndexType() any  { return new(idValue) }

type idValue uuid.UUID

func (v *idValue) UUIDValue() (pgtype.UUID, error) { return pgtype.UUID{Bytes: *v, Valid: true}, nil }

// intoID is where a uuid is scanned to: not as text, for the same reason.
func intoID(id *uuid.UUID) *[16]byte { return (*[16]byte)(id) }

func compareIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

func eachID(rows pgx.Rows, do func(uuid.UUID)) error {
	var id uuid.UUID
	_, err := pgx.ForEachRow(rows, []any{intoID(&id)}, func() error {
		do(id)
		return nil
	})
	return err
}
