package ledger

import (
	"encoding/binary"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"keel/budget/audit/leaf"
)

// A rowBuffer has rows on their way into a table, as COPY takes them in its binary format: see "Binary Format" of COPY in the
// Postgres manual. They are written by hand into one buffer, because most of what settlement costs a replica is the encoding of rows.
//
// What is stored is what the INSERT of the same columns stores, to the bit. A row that holds what that would have to
// change first, because Postgres takes no such text, is odd: end refuses it, and it goes by the INSERT.
type rowBuffer struct {
	b     []byte
	begun int // where the last row begins
	count int
	odd   bool // of the last row

	unsure  bool // of the last row: Postgres may print its JSON otherwise
	keyed   bool // of the last row: an account has a key
	printer leaf.Printer
	names   []string

	// Windows as the last account had them: those of a call mostly end at the same time.
	bounds [2]int64
	texts  [2][]byte
}

const (
	copySignature = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	microsOfY2K   = 946_684_800_000_000 // from 1970 to 2000, from which Postgres counts
	oidText       = 25
)

// keptRows bounds what a buffer keeps between batches: what is sent at once, and a row beyond it.
const keptRows = 1 << 20

var rowBuffers = sync.Pool{New: func() any { return new(rowBuffer) }}

func newRows() *rowBuffer {
	r := rowBuffers.Get().(*rowBuffer)
	r.b, r.count, r.odd = append(r.b[:0], copySignature...), 0, false
	return r
}

func (r *rowBuffer) free() {
	if cap(r.b) <= keptRows {
		rowBuffers.Put(r)
	}
}

// begin begins a row of so many columns.
func (r *rowBuffer) begin(columns int) {
	r.begun, r.odd, r.unsure, r.keyed = len(r.b), false, false, false
	r.b = binary.BigEndian.AppendUint16(r.b, uint16(columns))
}

// end reports whether the row is taken. An odd one is not.
func (r *rowBuffer) end() bool {
	if r.odd {
		r.b = r.b[:r.begun]
		return false
	}
	r.count++
	return true
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

func (r *rowBuffer) null()        { r.b = append(r.b, 0xff, 0xff, 0xff, 0xff) }
func (r *rowBuffer) length(n int) { r.b = binary.BigEndian.AppendUint32(r.b, uint32(n)) }

func (r *rowBuffer) bytes(b []byte) {
	r.length(len(b))
	r.b = append(r.b, b...)
}

func (r *rowBuffer) text(s string) {
	r.odd = r.odd || !isPlain(s)
	r.length(len(s))
	r.b = append(r.b, s...)
}

// optional is null where s is empty.
func (r *rowBuffer) optional(s string) {
	if s == "" {
		r.null()
		return
	}
	r.text(s)
}

func (r *rowBuffer) id(id uuid.UUID) {
	r.length(len(id))
	r.b = append(r.b, id[:]...)
}

func (r *rowBuffer) bool(v bool) {
	r.length(1)
	if v {
		r.b = append(r.b, 1)
	} else {
		r.b = append(r.b, 0)
	}
}

func (r *rowBuffer) int8(n int64) {
	r.length(8)
	r.b = binary.BigEndian.AppendUint64(r.b, uint64(n))
}

func (r *rowBuffer) int4(n int32) {
	r.length(4)
	r.b = binary.BigEndian.AppendUint32(r.b, uint32(n))
}

func (r *rowBuffer) time(t time.Time) { r.int8(t.UnixMicro() - microsOfY2K) }

// isPlain reports whether Postgres takes s as it is.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == 0 {
			return false
		} else if c >= utf8.RuneSelf {
			return strings.IndexByte(s[i:], 0) < 0 && utf8.ValidString(s[i:])
		}
	}
	return true
}
