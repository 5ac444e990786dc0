package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// copyLeaves writes rows of keel.leaves as COPY takes them in its binary format: see there in the Postgres manual.
func copyLeaves(ctx context.Context, tx pgx.Tx, leaves []placed) error {
	b := append(make([]byte, 0, 128*len(leaves)+64), "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	for i := range leaves {
		l := &leaves[i]
		b = binary.BigEndian.AppendUint16(b, 6)
		b = appendField(b, l.org)
		b = appendField(b, l.kind)
		b = appendField(b, l.id[:])
		b = binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(l.version))
		b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(l.index))
		b = appendField(b, l.hash)
	}
	tag, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(append(b, 0xff, 0xff)), "copy keel.leaves (org, kind, id, version, index, hash) from stdin (format binary)")
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "23505":
		return fmt.Errorf("%w: %w", errWary, err)
	case err == nil && tag.RowsAffected() != int64(len(leaves)):
		return fmt.Errorf("%d of %d leaves were taken", tag.RowsAffected(), len(leaves))
	}
	return err
}

func appendField[V ~string | ~[]byte](b []byte, value V) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
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
