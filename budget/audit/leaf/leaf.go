// Package leaf is the canonical form of a record: the bytes that the audit log
// commits to. The form is made so that a person with a hex dump, or twenty lines of
// any language, can make it again:
//
//	leaf   = field field …
//	field  = length name length value
//	length = 4 bytes, big-endian, of what follows
//
// The first field is "leaf", and its value names what follows and the version of the
// form: "keel.decision/1". The others are the columns of the stored row in a fixed order;
// a column that is null is left out, so that a column which is added later changes no
// leaf of before. Values are text: see Int, Bool, Time, ID; JSON is as Postgres prints jsonb.
//
// In place of the value of a label there is a commitment to it: see Commit.
//
// What the log has as its entry is the SHA-256 of these bytes, so that the log itself says nothing
// about anybody, and outlives the records.
//
// The package reads no database.
package leaf

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Kind is what a record is.
type Kind string

// The kinds.
const (
	Decision Kind = "decision"
	Closeout Kind = "closeout"
	Entry    Kind = "entry"  // of the ledger: whatever moves money and is no closeout
	Config   Kind = "config" // a version of a document
	Key      Kind = "key"    // of the log: a new key, signed by the one before
)

// Version is that of the form, of every kind.
const Version = 1

// schema is the value of the first field.
func (k Kind) schema() string { return "keel." + string(k) + "/" + strconv.Itoa(Version) }

// Field is a named value.
type Field struct{ Name, Value string }

// Append appends the canonical form to b. Fields without a value are written: leave out what is null.
func Append(b []byte, k Kind, fields []Field) []byte {
	b = AppendField(b, "leaf", k.schema())
	for _, f := range fields {
		b = AppendField(b, f.Name, f.Value)
	}
	return b
}

// Begin appends the first field, after which AppendField appends the others.
func Begin(b []byte, k Kind) []byte { return AppendField(b, "leaf", k.schema()) }

// AppendField appends one field.
func AppendField[V ~string | ~[]byte](b []byte, name string, value V) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// Hash is that of a leaf's bytes: the entry in the log.
func Hash(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }

// ErrForm says that bytes are no leaf.
var ErrForm = errors.New("not a leaf")

// Parse reads what Append wrote. It refuses every other form.
func Parse(b []byte) (k Kind, fields []Field, err error) {
	for len(b) > 0 {
		name, rest, ok := take(b)
		if !ok {
			return "", nil, fmt.Errorf("%w: a name is cut", ErrForm)
		}
		value, rest, ok := take(rest)
		if !ok {
			return "", nil, fmt.Errorf("%w: the value of %q is cut", ErrForm, name)
		}
		b = rest
		fields = append(fields, Field{string(name), string(value)})
	}
	if len(fields) == 0 || fields[0].Name != "leaf" {
		return "", nil, fmt.Errorf("%w: the first field is not \"leaf\"", ErrForm)
	}
	for _, k := range []Kind{Decision, Closeout, Entry, Config, Key} {
		if fields[0].Value == k.schema() {
			return k, fields[1:], nil
		}
	}
	return "", nil, fmt.Errorf("%w: %q is not known to this version", ErrForm, fields[0].Value)
}

func take(b []byte) (value, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(len(b)) < uint64(n) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// AppendTime appends an instant: UTC, with six decimals.
func AppendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, timeLayout)
	}
	hour, minute, second := t.Clock()
	micros := t.Nanosecond() / 1000
	b = twoDigits(twoDigits(b, year/100), year%100)
	b = twoDigits(append(b, '-'), int(month))
	b = twoDigits(append(b, '-'), day)
	b = twoDigits(append(b, 'T'), hour)
	b = twoDigits(append(b, ':'), minute)
	b = twoDigits(append(b, ':'), second)
	b = twoDigits(append(b, '.'), micros/10_000)
	return append(twoDigits(twoDigits(b, micros/100%100), micros%100), 'Z')
}

// timeLayout is what AppendTime writes of every year; a layout is read anew for each instant.
const timeLayout = "2006-01-02T15:04:05.000000Z"

func twoDigits(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
