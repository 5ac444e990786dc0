package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"os"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// groupRows is how many rows a row group has: what is in memory at a time.
const groupRows = 20_000

// ordered is a group whose columns stand as the table has them; parquet.Group sorts them by name.
type ordered struct {
	parquet.Group
	names []string
}

func (o ordered) Fields() []parquet.Field {
	byName := make(map[string]parquet.Field, len(o.names))
	for _, f := range o.Group.Fields() {
		byName[f.Name()] = f
	}
	fields := make([]parquet.Field, len(o.names))
	for i, name := range o.names {
		fields[i] = byName[name]
	}
	return fields
}

func parquetSchema(t *Table) *parquet.Schema {
	root := ordered{Group: parquet.Group{}}
	for _, c := range t.Columns {
		var node parquet.Node
		switch c.Type {
		case Integer:
			node = parquet.Int(64)
		case Money:
			node = parquet.Decimal(9, 38, parquet.FixedLenByteArrayType(16))
		case Decimal:
			node = parquet.Decimal(decimals, 38, parquet.FixedLenByteArrayType(16))
		case Instant:
			node = parquet.Timestamp(parquet.Microsecond)
		case Boolean:
			node = parquet.Leaf(parquet.BooleanType)
		case JSON:
			node = parquet.JSON()
		default:
			node = parquet.String()
		}
		if c.Null {
			node = parquet.Optional(node)
		} else {
			node = parquet.Required(node)
		}
		root.Group[c.Name] = node
		root.names = append(root.names, c.Name)
	}
	return parquet.NewSchema(t.Name, root)
}

func parquetWriter(w io.Writer, schema *parquet.Schema) *parquet.GenericWriter[any] {
	return parquet.NewGenericWriter[any](w, schema, parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("keel", "1", ""), parquet.MaxRowsPerRowGroup(groupRows))
}

// twosComplement is what a number below zero is added to, to have its 128 bits.
var twosComplement = new(big.Int).Lsh(big.NewInt(1), 128)

type parquetEncoder struct {
	w       *parquet.GenericWriter[any]
	columns []Column
	rows    []parquet.Row
	values  []parquet.Value
}

const parquetBuffer = 256 // rows

func newParquet(w io.Writer, t *Table) *parquetEncoder {
	return &parquetEncoder{w: parquetWriter(w, parquetSchema(t)), columns: t.Columns}
}

func (e *parquetEncoder) write(row []Cell) error {
	from := len(e.values)
	for i := range row {
		e.values = append(e.values, e.value(i, &row[i]))
	}
	e.rows = append(e.rows, e.values[from:len(e.values):len(e.values)])
	if len(e.rows) < parquetBuffer {
		return nil
	}
	return e.flush()
}

func (e *parquetEncoder) value(i int, c *Cell) parquet.Value {
	column, level := &e.columns[i], 0
	if column.Null {
		if !c.Set {
			return parquet.NullValue().Level(0, 0, i)
		}
		level = 1
	}
	var v parquet.Value
	switch column.Type {
	case Integer, Instant:
		v = parquet.Int64Value(c.Int)
	case Boolean:
		v = parquet.BooleanValue(c.Int != 0)
	case Money:
		var b [16]byte
		if c.Int < 0 {
			binary.BigEndian.PutUint64(b[:8], ^uint64(0))
		}
		binary.BigEndian.PutUint64(b[8:], uint64(c.Int))
		v = parquet.FixedLenByteArrayValue(b[:])
	case Decimal:
		var b [16]byte
		n := c.Big
		if n.Sign() < 0 {
			n = new(big.Int).Add(n, twosComplement)
		}
		n.FillBytes(b[:])
		v = parquet.FixedLenByteArrayValue(b[:])
	default:
		v = parquet.ByteArrayValue([]byte(c.Text))
	}
	return v.Level(0, level, i)
}

func (e *parquetEncoder) flush() error {
	_, err := e.w.WriteRows(e.rows)
	clear(e.values)
	e.rows, e.values = e.rows[:0], e.values[:0]
	return err
}

func (e *parquetEncoder) close() error {
	if err := e.flush(); err != nil {
		return err
	}
	return e.w.Close()
}

// join writes the row groups of files behind each other, as they are.
func join(w io.Writer, t *Table, files []string) error {
	out := parquetWriter(w, parquetSchema(t))
	for _, name := range files {
		if err := copyGroups(out, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return out.Close()
}

func copyGroups(out *parquet.GenericWriter[any], name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	in, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return err
	}
	for _, group := range in.RowGroups() {
		if _, err := out.WriteRowGroup(group); err != nil {
			return err
		}
	}
	return nil
}
