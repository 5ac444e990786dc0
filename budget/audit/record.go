package audit

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget/audit/leaf"
)

// ref names a record: what the log has a leaf of.
type ref struct {
	kind    leaf.Kind
	org     string
	id      uuid.UUID
	version int32
}

// String is how people are told of it.
func (r ref) String() string {
	s := string(r.kind) + " " + r.id.String()
	if r.kind == leaf.Config {
		s = "configuration change " + r.id.String()
	}
	if r.version > 1 {
		s += " version " + strconv.Itoa(int(r.version))
	}
	if r.org != "" {
		s += " of org " + r.org
	}
	return s
}

// row is one record as it was read. The values are valid until the next row.
type row struct {
	ref
	source *source
	fields []pgconn.FieldDescription
	values [][]byte
	buffer []byte // of leaf
	texts  []byte // of values that are not text
	places map[string]int
}

// scan takes the current row of a query for the columns of r.source.
func (r *row) scan(rows pgx.Rows) error {
	r.fields, r.values = rows.FieldDescriptions(), rows.RawValues()
	if len(r.values) < 3+len(r.source.columns) {
		return errors.New("fewer columns than asked for")
	}
	r.kind = r.source.kind
	if string(r.values[0]) != r.org {
		r.org = string(r.values[0])
	}
	if len(r.values[1]) != 16 || r.fields[1].Format != pgx.BinaryFormatCode {
		return errors.New("its id came in another format than was asked for")
	}
	r.id = uuid.UUID(r.values[1])
	version, err := r.text(2)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(version), 10, 32)
	r.version = int32(n)
	return err
}

// superseded reports whether it is a closeout that another one replaced.
func (r *row) superseded() bool {
	return r.source == &closeouts && len(r.values[len(r.values)-1]) == 1 && r.values[len(r.values)-1][0] == 1
}

// column is the value of a named column, as the leaf has it but for labels, or nil where it is null.
func (r *row) column(name string) ([]byte, error) {
	if r.places == nil {
		r.places = make(map[string]int)
		for i := range r.source.columns {
			r.places[r.source.columns[i].Name] = 3 + i
		}
	}
	i, ok := r.places[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("no column %q", name)
	case r.values[i] == nil:
		return nil, nil
	}
	return r.text(i)
}

// text is a value in its canonical form. It is valid until the next call.
func (r *row) text(i int) ([]byte, error) {
	v, f := r.values[i], &r.fields[i]
	switch f.DataTypeOID {
	case pgtype.TextOID, pgtype.VarcharOID:
		return v, nil
	case pgtype.JSONBOID:
		if f.Format == pgx.BinaryFormatCode && len(v) > 0 {
			return v[1:], nil // a version
		}
		return v, nil
	}
	if f.Format != pgx.BinaryFormatCode {
		return nil, fmt.Errorf("column %s came in another format than was asked for", f.Name)
	}
	b := r.texts[:0]
	switch {
	case f.DataTypeOID == pgtype.Int8OID && len(v) == 8:
		b = strconv.AppendInt(b, int64(binary.BigEndian.Uint64(v)), 10)
	case f.DataTypeOID == pgtype.Int4OID && len(v) == 4:
		b = strconv.AppendInt(b, int64(int32(binary.BigEndian.Uint32(v))), 10)
	case f.DataTypeOID == pgtype.BoolOID && len(v) == 1:
		b = strconv.AppendBool(b, v[0] == 1)
	case f.DataTypeOID == pgtype.UUIDOID && len(v) == 16:
		b = append(b, uuid.UUID(v).String()...)
	case f.DataTypeOID == pgtype.ByteaOID:
		b = hex.AppendEncode(b, v)
	case f.DataTypeOID == pgtype.TimestamptzOID && len(v) == 8:
		switch micros := int64(binary.BigEndian.Uint64(v)); micros {
		case math.MaxInt64:
			b = append(b, "infinity"...)
		case math.MinInt64:
			b = append(b, "-infinity"...)
		default:
			b = leaf.AppendTime(b, time.UnixMicro(micros+946684800_000000)) // Postgres counts from 2000
		}
	default:
		return nil, fmt.Errorf("column %s has type %d, of which there is no canonical form", f.Name, f.DataTypeOID)
	}
	r.texts = b
	return b, nil
}

// leaf is the canonical form of the record. It is valid until the next call. A value of a label that has
// no commitment is a *leaf.Unknown.
func (r *row) leaf(c leaf.Commitments) (b []byte, err error) {
	b = leaf.Begin(r.buffer[:0], r.kind)
	defer func() { r.buffer = b }()
	for i := range r.source.columns {
		if r.values[3+i] == nil {
			continue
		}
		v, err := r.text(3 + i)
		if err != nil {
			return b, err
		}
		col := &r.source.columns[i]
		if col.Labels == leaf.NoLabels {
			b = leaf.AppendField(b, col.Name, v)
			continue
		}
		// The length comes first, and is not known yet.
		b = leaf.AppendField(b, col.Name, "")
		from := len(b)
		if b, err = col.Labels.Append(b, v, c); err != nil {
			return b, fmt.Errorf("%s: %w", col.Name, err)
		}
		binary.BigEndian.PutUint32(b[from-4:], uint32(len(b)-from))
	}
	return b, nil
}

// commitments are those of the values of labels, by the salt of each.
type commitments struct {
	known  map[labelValue]string
	noting *salts // where values without one are noted; nil: they are an error
}

type labelValue struct{ org, label, value string }

func (c *commitments) of(org string) leaf.Commitments {
	if c.noting != nil {
		return c.noting.orNote(org)
	}
	return func(label, value []byte) (string, bool) {
		s, ok := c.known[labelValue{org, string(label), string(value)}]
		return s, ok
	}
}
