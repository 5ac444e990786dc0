package export

import (
	"math/big"
	"time"

	"keel/budget/audit/spend"
)

// Type is what a column holds.
type Type string

// The types.
const (
	Text    Type = "text"
	JSON    Type = "json"    // text that is a JSON value
	Integer Type = "integer" // 64 bits
	Money   Type = "usd"     // dollars with 9 decimals: Cell.Int is nano-dollars
	Decimal Type = "decimal" // 18 decimals: Cell.Big is the number times 10^18
	Instant Type = "time"    // UTC: Cell.Int is microseconds since 1970
	Boolean Type = "boolean" // Cell.Int is 0 or 1
)

// Column is one of a table.
type Column struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
	Null bool   `json:"null,omitempty"` // whether cells may be empty
}

// Cell is a value of a column's type. The zero Cell is empty.
type Cell struct {
	Set  bool
	Text string
	Int  int64
	Big  *big.Int
}

// Table is a way to write records as rows. Its Rows calls emit for every row of a record; the cells
// are valid until emit returns. Adjustment is the one row of a true-up.
type Table struct {
	Name       string
	Columns    []Column
	Rows       func(r *spend.Record, emit func([]Cell) error) error
	Adjustment func(a *spend.Adjustment) []Cell
}

// TextCell is empty for "".
func TextCell(s string) Cell { return Cell{Set: s != "", Text: s} }

// IntegerCell is never empty.
func IntegerCell(n int64) Cell { return Cell{Set: true, Int: n} }

// OptionalCell is empty for nil.
func OptionalCell[T ~int64](n *T) Cell {
	if n == nil {
		return Cell{}
	}
	return Cell{Set: true, Int: int64(*n)}
}

// InstantCell is empty for nil.
func InstantCell(t *time.Time) Cell {
	if t == nil {
		return Cell{}
	}
	return Cell{Set: true, Int: t.UnixMicro()}
}

// BooleanCell is never empty.
func BooleanCell(b bool) Cell {
	c := Cell{Set: true}
	if b {
		c.Int = 1
	}
	return c
}

// DecimalCell is never empty.
func DecimalCell(n *big.Int) Cell { return Cell{Set: true, Big: n} }
