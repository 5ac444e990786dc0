// Package pgcopy writes rows into a table as COPY takes them in its binary format: see "Binary Format" of COPY in the Postgres
// manual. They are encoded by hand, because that is most of what writing many of them costs.
//
// It knows no table and no types but how each is encoded: who writes a row knows its columns.
package pgcopy

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Rows are rows on their way. The zero value has to be Reset.
//
// What is stored is what an INSERT of the same values stores, to the bit. A row that holds what that would have to change first, because
// Postgres takes no such text, is odd: End refuses it.
type Rows struct {
	B     []byte // encoded, and not yet sent; what is appended to it is written into the last field
	Odd   bool   // of the last row
	Count int    // of those that are taken, sent ones too

	begun int // where the last row begins
}

const (
	signature = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	trailer   = "\xff\xff"

	// MicrosOfY2K are the microseconds from 1970 to 2000, from which Postgres counts.
	MicrosOfY2K = 946_684_800_000_000
)

// Reset begins anew, in the same memory.
func (r *Rows) Reset() {
	r.B, r.Count, r.Odd = append(r.B[:0], signature...), 0, false
}

// Begin begins a row of so many columns.
func (r *Rows) Begin(columns int) {
	r.begun, r.Odd = len(r.B), false
	r.B = binary.BigEndian.AppendUint16(r.B, uint16(columns))
}

// End reports whether the row is taken. An odd one is not.
func (r *Rows) End() bool {
	if r.Odd {
		r.B = r.B[:r.begun]
		return false
	}
	r.Count++
	return true
}

// Last is the last row: the number of its fields, and the fields.
func (r *Rows) Last() []byte { return r.B[r.begun:] }

// Null, and the methods below, write a field.
func (r *Rows) Null() { r.Length(-1) }

// Length begins a field of so many bytes, which come behind it.
func (r *Rows) Length(n int) { r.B = binary.BigEndian.AppendUint32(r.B, uint32(n)) }

// Bytes is a bytea.
func (r *Rows) Bytes(b []byte) {
	r.Length(len(b))
	r.B = append(r.B, b...)
}

// Text is a text.
func (r *Rows) Text(s string) {
	r.Odd = r.Odd || !Plain(s)
	r.Length(len(s))
	r.B = append(r.B, s...)
}

// Optional is null where s is empty.
func (r *Rows) Optional(s string) {
	if s == "" {
		r.Null()
		return
	}
	r.Text(s)
}

// ID is a uuid.
func (r *Rows) ID(id uuid.UUID) {
	r.Length(len(id))
	r.B = append(r.B, id[:]...)
}

// Bool is a boolean.
func (r *Rows) Bool(v bool) {
	r.Length(1)
	if v {
		r.B = append(r.B, 1)
	} else {
		r.B = append(r.B, 0)
	}
}

// Int8 is a bigint: eight bytes.
func (r *Rows) Int8(n int64) {
	r.Length(8)
	r.B = binary.BigEndian.AppendUint64(r.B, uint64(n))
}

// Int4 is an integer: four bytes.
func (r *Rows) Int4(n int32) {
	r.Length(4)
	r.B = binary.BigEndian.AppendUint32(r.B, uint32(n))
}

// Time is a timestamptz, of microseconds.
func (r *Rows) Time(t time.Time) { r.Int8(t.UnixMicro() - MicrosOfY2K) }

// Plain reports whether Postgres takes s as it is.
func Plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == 0 {
			return false
		} else if c >= utf8.RuneSelf {
			return strings.IndexByte(s[i:], 0) < 0 && utf8.ValidString(s[i:])
		}
	}
	return true
}
