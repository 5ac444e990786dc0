package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
)

// reader reads the fields of one record one after the other. After the first
// error everything reads as zero, so that only the end has to look at it.
type reader struct {
	kind   string
	wrote  byte // version of the program that wrote it
	b      []byte
	at     int    // of the next field; the end after an error
	group  string // what the field is in: "holds", "estimate.input"
	index  int    // of the element where group is a list, else -1
	err    error
	memory *memory
}

// open begins with a record, and checks its version, of which there is none after newest.
func (d *Decoder) open(kind string, newest byte, b []byte) *reader {
	r := &d.reader
	*r = reader{kind: kind, b: b, index: -1, memory: &d.memory}
	if d.memory.words == nil {
		d.memory.roomFor(len(b)) // enough for all texts
	}
	r.wrote = r.byte("version")
	if r.err == nil && (r.wrote < plain || r.wrote > newest) {
		r.err = fmt.Errorf("%s record: format version %d, and this program reads version %d: read it with the version of keel that wrote it", kind, r.wrote, newest)
		r.at = len(b)
	}
	return r
}

// end returns what went wrong. Bytes that are left over are an error, too.
func (r *reader) end() error {
	if left := len(r.b) - r.at; r.err == nil && left > 0 {
		r.group, r.index = "", -1
		r.fail("end", r.at, "%d more bytes than the record has fields", left)
	}
	return r.err
}

func (r *reader) fail(field string, at int, format string, args ...any) {
	if r.err != nil {
		return
	}
	switch {
	case r.index >= 0:
		field = fmt.Sprintf("%s[%d].%s", r.group, r.index, field)
	case r.group != "":
		field = r.group + "." + field
	}
	r.err = fmt.Errorf("%s record: %s at byte %d of %d: %s", r.kind, field, at, len(r.b), fmt.Sprintf(format, args...))
	r.at = len(r.b)
}

// in names the group of the fields that follow; "" for the record itself.
func (r *reader) in(group string) { r.group, r.index = group, -1 }

// take returns the next n bytes, nil where there are fewer.
func (r *reader) take(field string, n uint64) []byte {
	switch left := len(r.b) - r.at; {
	case r.err != nil:
		return nil
	case n > uint64(left):
		r.fail(field, r.at, "needs %d bytes, and %d are left", n, left)
		return nil
	}
	taken := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return taken
}

func (r *reader) byte(field string) byte {
	b := r.take(field, 1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (r *reader) bool(field string) bool {
	v := r.byte(field)
	if v > 1 {
		r.fail(field, r.at-1, "%d is neither 0 nor 1", v)
	}
	return v == 1
}

func (r *reader) uint(field string) uint64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 { // most numbers, and nearly all lengths
		r.at++
		return uint64(r.b[r.at-1])
	}
	return r.long(field)
}

// long is uint of more than one byte.
func (r *reader) long(field string) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	switch {
	case n == 0:
		r.fail(field, r.at, "the record ends within a number")
		return 0
	case n < 0:
		r.fail(field, r.at, "the number does not fit in 64 bits")
		return 0
	case n > 1 && r.b[r.at+n-1] == 0:
		r.fail(field, r.at, "the number is written longer than it is")
		return 0
	}
	r.at += n
	return v
}

func (r *reader) int64(field string) int64 {
	v := r.uint(field)
	return int64(v>>1) ^ -int64(v&1) // zigzag
}

func (r *reader) int(field string) int {
	at := r.at
	v := r.int64(field)
	if v > math.MaxInt || v < math.MinInt {
		r.fail(field, at, "%d does not fit in an integer of this machine", v)
		return 0
	}
	return int(v)
}

func (r *reader) text(field string) string {
	return r.memory.text(r.take(field, r.uint(field)))
}

func (r *reader) id(field string) (id uuid.UUID) {
	copy(id[:], r.take(field, uint64(len(id))))
	return id
}

func (r *reader) time(field string) time.Time {
	at := r.at
	mark := r.uint(field)
	if mark == 0 {
		return time.Time{}
	}
	if mark > uint64(time.Second) {
		r.fail(field, at, "%d nanoseconds are more than a second", mark-1)
		return time.Time{}
	}
	t := time.Unix(r.int64(field), int64(mark-1)).UTC()
	if t.IsZero() {
		r.fail(field, at, "the zero time is written out")
	}
	return t
}

// count reads how many elements follow, each of which takes at least size
// bytes: what is made for them is then no more than what the record can hold.
func (r *reader) count(field string, size int) int {
	at := r.at
	n := r.uint(field)
	if left := len(r.b) - r.at; n > uint64(left/size) {
		r.fail(field, at, "%d of at least %d bytes each can't be in the %d bytes that are left", n, size, left)
		return 0
	}
	return int(n)
}

// list reads elements that take at least size bytes each; nil where there are none. They are cut from a slab, if there is one for them.
func list[T any](r *reader, from *slab[T], field string, size int, read func(*reader, *T)) []T {
	n := r.count(field, size)
	if n == 0 {
		return nil
	}
	var elements []T
	if from != nil {
		elements = from.list(n)
	} else {
		elements = make([]T, n)
	}
	group := r.group
	for i := range elements {
		r.group, r.index = field, i
		if read(r, &elements[i]); r.err != nil {
			return nil
		}
	}
	r.in(group)
	return elements
}

// entries reads a map whose keys are sorted; nil where it is empty.
func entries[V any](r *reader, from *maps[V], field string, read func(r *reader, field string) V) map[string]V {
	n := r.count(field, 2) // an empty key and one byte
	if n == 0 {
		return nil
	}
	m := from.of(n)
	group, before := r.group, ""
	for i := range n {
		r.group, r.index = field, i
		at := r.at
		key := r.text("key")
		if i > 0 && key <= before {
			r.fail("key", at, "%q does not follow %q in order", key, before)
		}
		if m[key] = read(r, "value"); r.err != nil {
			return nil
		}
		before = key
	}
	r.in(group)
	return m
}
