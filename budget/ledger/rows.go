package ledger

import (
	"context"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
	"keel/budget/ledger/pgcopy"
)

// A rowBuffer has rows of what is settled. A row that Postgres would not take as it is, an odd one, goes by the INSERT of the same columns.
type rowBuffer struct {
	pgcopy.Rows

	unsure  bool // of the last row: Postgres may print its JSON otherwise
	keyed   bool // of the last row: an account has a key
	printer leaf.Printer
	names   []string

	// Windows as the last account had them: those of a call mostly end at the same time.
	bounds [2]int64
	texts  [2][]byte
}

const oidText = 25

// keptRows bounds what a buffer keeps between batches: what is sent at once, and a row beyond it.
const keptRows = 1 << 20

var rowBuffers = sync.Pool{New: func() any { return new(rowBuffer) }}

func newRows() *rowBuffer {
	r := rowBuffers.Get().(*rowBuffer)
	r.Reset()
	return r
}

func (r *rowBuffer) free() {
	if cap(r.B) <= keptRows {
		rowBuffers.Put(r)
	}
}

// copyRows is pgcopy.Write with a buffer that is used again.
func copyRows(ctx context.Context, conn *pgx.Conn, sql string, next func(*rowBuffer) bool) error {
	r := newRows()
	defer r.free()
	return pgcopy.Write(ctx, conn, sql, &r.Rows, func() bool { return next(r) })
}

// begin begins a row of so many columns.
func (r *rowBuffer) begin(columns int) {
	r.unsure, r.keyed = false, false
	r.Begin(columns)
}

// copyInto is the COPY that takes the columns of an INSERT.
func copyInto(insert string) string {
	_, into, _ := strings.Cut(insert, "insert into ")
	into, _, _ = strings.Cut(into, ")")
	return "copy " + into + ") from stdin (format binary)"
}

// fieldsOf is how many they are.
func fieldsOf(insert string) int {
	into, _, _ := strings.Cut(insert, ")")
	return strings.Count(into, ",") + 1
}
