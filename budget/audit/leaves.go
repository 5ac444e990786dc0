package audit

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget/ledger"
	"keel/budget/ledger/pgcopy"
)

// copyLeaves writes rows of keel.leaves.
func copyLeaves(ctx context.Context, tx pgx.Tx, leaves []placed) error {
	var rows pgcopy.Rows
	rows.Reset()
	rest := leaves
	err := pgcopy.Write(ctx, tx.Conn(), "copy keel.leaves (org, kind, id, version, index, hash) from stdin (format binary)", &rows, func() bool {
		if len(rest) == 0 {
			return false
		}
		l := &rest[0]
		rows.Begin(6)
		rows.Text(l.org)
		rows.Text(string(l.kind))
		rows.ID(l.id)
		rows.Int4(l.version)
		rows.Int8(l.index)
		rows.Bytes(l.hash)
		rows.End()
		rest = rest[1:]
		return true
	})
	switch {
	case ledger.UniqueViolation(err):
		return fmt.Errorf("%w: %w", errWary, err)
	case err == nil && rows.Count != len(leaves):
		return fmt.Errorf("%d of %d leaves were taken", rows.Count, len(leaves))
	}
	return err
}

// idList is a uuid[] that is read without a detour: a uuid.UUID scans itself from text.
type idList []uuid.UUID

// SetDimensions, ScanIndex and ScanIndexType implement pgtype.ArraySetter.
func (l *idList) SetDimensions(dimensions []pgtype.ArrayDimension) error {
	n := 0
	if len(dimensions) > 0 {
		n = int(dimensions[0].Length)
	}
	*l = make(idList, n)
	return nil
}
func (l *idList) ScanIndex(i int) any { return (*[16]byte)(&(*l)[i]) }
func (l *idList) ScanIndexType() any  { return new([16]byte) }
