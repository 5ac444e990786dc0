package ledger

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// What is here writes values of jsonb into a row, as Postgres prints them: keys come in the order in which jsonb keeps them, the shorter
// first and those of one length by their bytes, with spaces behind colons and commas. So the server need not sort them, and the leaf of a
// record is made of what is written here.

// json begins a value of jsonb, and returns what ends it.
func (r *rowBuffer) json() (start int) {
	r.Length(0)
	r.B = append(r.B, 1) // version of the format
	return len(r.B)
}

func (r *rowBuffer) jsonEnds(start int) {
	binary.BigEndian.PutUint32(r.B[start-5:], uint32(len(r.B)-start+1))
}

func (r *rowBuffer) raw(s string) { r.B = append(r.B, s...) }

// number appends what leads to a number, and the number.
func (r *rowBuffer) number(before string, n int64) {
	r.B = strconv.AppendInt(append(r.B, before...), n, 10)
}

// nonzero is number, unless n is 0.
func (r *rowBuffer) nonzero(before string, n int64) {
	if n != 0 {
		r.number(before, n)
	}
}

// string appends what leads to a string, and the string.
func (r *rowBuffer) string(before, s string) {
	r.B = append(r.B, before...)
	r.quote(s)
}

// filled is string, unless s is empty.
func (r *rowBuffer) filled(before, s string) {
	if s != "" {
		r.string(before, s)
	}
}

func (r *rowBuffer) true(before string, v bool) {
	if v {
		r.raw(before)
		r.raw("true")
	}
}

func (r *rowBuffer) quote(s string) {
	r.B = append(r.B, '"')
	from, ascii := 0, true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			if ascii && !utf8.ValidString(s[i:]) {
				r.Odd = true
			}
			ascii = false
		case c == '"' || c == '\n' || c == '\t' || c == '\r':
			r.B = append(append(r.B, s[from:i]...), '\\', escapes[c])
			from = i + 1
		case c < ' ' || c == '\\':
			r.Odd = true // NUL, or what may look like an escape that jsonb does not take
		}
	}
	r.B = append(append(r.B, s[from:]...), '"')
}

var escapes = [256]byte{'"': '"', '\n': 'n', '\t': 't', '\r': 'r'}

// instant appends what leads to a time, and the time as encoding/json writes it.
func (r *rowBuffer) instant(before string, t time.Time) {
	if y := t.Year(); y < 1 || y > 9999 {
		r.Odd = true
	}
	r.B = append(append(r.B, before...), '"')
	r.B = append(t.AppendFormat(r.B, time.RFC3339Nano), '"')
}

// bound appends what leads to a bound of a window, and the bound: start 0, end 1.
func (r *rowBuffer) bound(which int, before string, micros int64) {
	if r.bounds[which] != micros || r.texts[which] == nil {
		r.bounds[which], r.texts[which] = micros, append(append(append(r.texts[which][:0], '"'), windowText(micros)...), '"')
	}
	r.B = append(append(r.B, before...), r.texts[which]...)
}

// window begins an object about an account; where its window starts comes later.
func (r *rowBuffer) window(k *escrow.Key) {
	r.bound(1, `{"end": `, k.End)
	r.string(`, "key": `, k.Account)
	r.keyed = r.keyed || k.Account != ""
}

// list appends an array. The function writes an element.
func list[T any](r *rowBuffer, elements []T, element func(*rowBuffer, *T)) {
	r.B = append(r.B, '[')
	for i := range elements {
		if i > 0 {
			r.raw(", ")
		}
		element(r, &elements[i])
	}
	r.B = append(r.B, ']')
}

// column is a column of jsonb with an array.
func column[T any](r *rowBuffer, elements []T, element func(*rowBuffer, *T)) {
	start := r.json()
	list(r, elements, element)
	r.jsonEnds(start)
}

// filledColumn is column, and null where there are no elements.
func filledColumn[T any](r *rowBuffer, elements []T, element func(*rowBuffer, *T)) {
	if len(elements) == 0 {
		r.Null()
		return
	}
	column(r, elements, element)
}

// object begins an object of members.
func (r *rowBuffer) object() (start int) {
	r.B = append(r.B, '{')
	return len(r.B)
}

// member appends what leads to the value of a member.
func (r *rowBuffer) member(start int, name string) {
	if len(r.B) > start {
		r.raw(", ")
	}
	r.quote(name)
	r.raw(": ")
}

// inOrder are the keys of a map as jsonb orders them, until the next call.
func inOrder[T any](r *rowBuffer, m map[string]T) []string {
	r.names = r.names[:0]
	for k := range m {
		r.names = append(r.names, k)
	}
	slices.SortFunc(r.names, compareNames)
	return r.names
}

func compareNames(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// foreign appends JSON of somebody else.
func (r *rowBuffer) foreign(json []byte) {
	start, ok := len(r.B), false
	if r.B, ok = r.printer.Print(r.B, json); !ok {
		r.B, r.unsure = append(r.B[:start], json...), true
	}
}

func (r *rowBuffer) flag(before string, v bool) {
	r.raw(before)
	if v {
		r.raw("true")
	} else {
		r.raw("false")
	}
}

// money appends what leads to an amount, and the amount in dollars as a string.
func (r *rowBuffer) money(before string, n pricing.NanoUSD) {
	r.B = append(append(r.B, before...), '"')
	r.B = append(n.Append(r.B), '"')
}
