package export

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"

	"keel/pricing"
)

// Encoding is a file format.
type Encoding string

// The encodings.
const (
	CSV       Encoding = "csv"   // RFC 4180 with LF line ends, a header, empty for null
	JSONLines Encoding = "jsonl" // an object a line; money and decimals are strings
	Parquet   Encoding = "parquet"
)

// An encoder writes rows. After flush all of them are with the writer beneath.
type encoder interface {
	write(row []Cell) error
	flush() error
}

// appendCell appends a cell as text, as CSV and JSON have it.
func appendCell(b []byte, t Type, c *Cell) []byte {
	switch t {
	case Integer:
		return strconv.AppendInt(b, c.Int, 10)
	case Money:
		return pricing.NanoUSD(c.Int).Append(b)
	case Decimal:
		return appendDecimal(b, c.Big)
	case Instant:
		return time.UnixMicro(c.Int).UTC().AppendFormat(b, "2006-01-02T15:04:05.999999Z07:00")
	case Boolean:
		return strconv.AppendBool(b, c.Int != 0)
	}
	return append(b, c.Text...)
}

const decimals = 18

// appendDecimal writes n × 10^-18 without trailing zeros.
func appendDecimal(b []byte, n *big.Int) []byte {
	digits := n.String()
	if n.Sign() < 0 {
		b, digits = append(b, '-'), digits[1:]
	}
	if len(digits) <= decimals {
		digits = strings.Repeat("0", decimals+1-len(digits)) + digits
	}
	whole, fraction := digits[:len(digits)-decimals], strings.TrimRight(digits[len(digits)-decimals:], "0")
	b = append(b, whole...)
	if fraction != "" {
		b = append(append(b, '.'), fraction...)
	}
	return b
}

// csvEncoder is RFC 4180. It is written by hand because encoding/csv can't tell its buffer from the file's.
type csvEncoder struct {
	w       *bufio.Writer
	columns []Column
	line    []byte
}

func newCSV(w io.Writer, columns []Column, header bool) (*csvEncoder, error) {
	e := &csvEncoder{w: bufio.NewWriterSize(w, 1<<20), columns: columns}
	if !header {
		return e, nil
	}
	for i, c := range columns {
		if i > 0 {
			e.line = append(e.line, ',')
		}
		e.line = append(e.line, c.Name...)
	}
	_, err := e.w.Write(append(e.line, '\n'))
	return e, err
}

func (e *csvEncoder) write(row []Cell) error {
	e.line = e.line[:0]
	for i := range row {
		if i > 0 {
			e.line = append(e.line, ',')
		}
		if !row[i].Set {
			continue
		}
		from := len(e.line)
		e.line = appendCell(e.line, e.columns[i].Type, &row[i])
		if field := e.line[from:]; quoted(field) {
			text := strings.ReplaceAll(string(field), `"`, `""`)
			e.line = append(append(append(e.line[:from], '"'), text...), '"')
		}
	}
	_, err := e.w.Write(append(e.line, '\n'))
	return err
}

func quoted(field []byte) bool {
	for _, c := range field {
		if c == ',' || c == '"' || c == '\n' || c == '\r' {
			return true
		}
	}
	return len(field) > 0 && (field[0] == ' ' || field[len(field)-1] == ' ')
}

func (e *csvEncoder) flush() error { return e.w.Flush() }

type jsonEncoder struct {
	w       *bufio.Writer
	columns []Column
	names   [][]byte
	line    []byte
}

func newJSON(w io.Writer, columns []Column) *jsonEncoder {
	e := &jsonEncoder{w: bufio.NewWriterSize(w, 1<<20), columns: columns}
	for i, c := range columns {
		name := strconv.AppendQuote(nil, c.Name)
		if i > 0 {
			name = append([]byte{','}, name...)
		}
		e.names = append(e.names, append(name, ':'))
	}
	return e
}

func (e *jsonEncoder) write(row []Cell) error {
	e.line = append(e.line[:0], '{')
	for i := range row {
		c := &row[i]
		e.line = append(e.line, e.names[i]...)
		switch t := e.columns[i].Type; {
		case !c.Set:
			e.line = append(e.line, "null"...)
		case t == Integer || t == Boolean || t == JSON:
			e.line = appendCell(e.line, t, c)
		case t == Text:
			text, err := json.Marshal(c.Text)
			if err != nil {
				return err
			}
			e.line = append(e.line, text...)
		default:
			e.line = append(appendCell(append(e.line, '"'), t, c), '"')
		}
	}
	_, err := e.w.Write(append(e.line, '}', '\n'))
	return err
}

func (e *jsonEncoder) flush() error { return e.w.Flush() }

// checkRow finds a mistake of a table before it becomes a file that nobody can read.
func checkRow(columns []Column, row []Cell) error {
	if len(row) != len(columns) {
		return fmt.Errorf("export: a row of %d cells in a table of %d columns", len(row), len(columns))
	}
	for i := range row {
		c := &row[i]
		switch {
		case !c.Set && !columns[i].Null:
			return fmt.Errorf("export: column %s must have a value in every row", columns[i].Name)
		case c.Set && columns[i].Type == Decimal && (c.Big == nil || c.Big.BitLen() > 126):
			return fmt.Errorf("export: column %s: %v is not a decimal that a file can hold", columns[i].Name, c.Big)
		}
	}
	return nil
}
