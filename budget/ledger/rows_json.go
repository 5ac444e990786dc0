package ledger

import (
	"bytes"
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
	i := 0
	for i < len(s) && unescaped[s[i]] {
		i++
	}
	r.B = append(r.B, '"')
	if i < len(s) {
		s = r.escape(s, i)
	}
	r.B = append(append(r.B, s...), '"')
}

// unescaped are the bytes of ASCII that stand for themselves in a string.
var unescaped = func() (of [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		of[c] = c != '"' && c != '\\'
	}
	return of
}()

// escape appends s, of which what is before at needs no look, up to its end, which it returns.
func (r *rowBuffer) escape(s string, at int) (rest string) {
	from, ascii := 0, true
	for i := at; i < len(s); i++ {
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
	return s[from:]
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

// foreign is a column of jsonb with what somebody else sent as JSON: storableJSON of it, null where there is nothing. What the printer
// is certain of is valid, and has no exponent; where it has no backslash and is UTF-8 either, it is storable as it is.
func (r *rowBuffer) foreign(json []byte) {
	if len(json) == 0 {
		r.Null()
		return
	}
	start := r.json()
	if bytes.IndexByte(json, '\\') >= 0 || !utf8.Valid(json) || !r.print(json) {
		if json = storableJSON(json); !r.print(json) {
			r.B, r.unsure = append(r.B, json...), true
		}
	}
	r.jsonEnds(start)
}

// print appends JSON as Postgres prints it, or nothing where that is not certain.
func (r *rowBuffer) print(json []byte) (ok bool) {
	start := len(r.B)
	if r.B, ok = r.printer.Print(r.B, json); !ok {
		r.B = r.B[:start]
	}
	return ok
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
