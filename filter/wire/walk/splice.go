package walk

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"keel/filter/wire"
)

// A Replacement puts With in the place of what stands At. An empty span
// inserts.
type Replacement struct {
	At   wire.Span
	With []byte
}

// Splice returns a copy of body with the replacements applied, in any order;
// all other bytes are the same. Without replacements it returns body itself.
//
// Spans that overlap or leave the body panic: they come from another body than
// this one, and sending a mixture of the two would be worse.
func Splice(body []byte, replacements ...Replacement) []byte {
	if len(replacements) == 0 {
		return body
	}
	slices.SortStableFunc(replacements, func(a, b Replacement) int { return cmp.Compare(a.At.Start, b.At.Start) })
	size, last := len(body), 0
	for _, r := range replacements {
		if r.At.Start < last || r.At.End < r.At.Start || r.At.End > len(body) {
			panic(fmt.Sprintf("walk: replacement at [%d,%d) is not in order within a body of %d bytes", r.At.Start, r.At.End, len(body)))
		}
		size, last = size+len(r.With)-r.At.Len(), r.At.End
	}
	out, from := make([]byte, 0, size), 0
	for _, r := range replacements {
		out = append(append(out, body[from:r.At.Start]...), r.With...)
		from = r.At.End
	}
	return append(out, body[from:]...)
}

// Member appends a member of an object to list, which holds others already or
// is nil. value is JSON.
func Member(list []byte, name string, value []byte) []byte {
	if len(list) > 0 {
		list = append(list, ',')
	}
	return append(append(append(list, Quote(name)...), ':'), value...)
}

// Insert is the replacement that puts a list of members, made by Member, in
// front of the others of the object at object. There can be one for an object.
func Insert(body []byte, object wire.Span, list []byte) Replacement {
	at := object.Start + 1
	rest := bytes.TrimLeft(body[at:object.End], " \t\r\n")
	if len(rest) > 0 && rest[0] != '}' {
		list = append(slices.Clip(list), ',')
	}
	return Replacement{At: wire.Span{Start: at, End: at}, With: list}
}

// Quote returns s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func Quote(s string) []byte {
	quoted, _ := jsontext.AppendQuote(nil, s)
	return quoted
}

// Number returns n as a JSON number.
func Number(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// Object makes an object of a list of members made by Member.
func Object(list []byte) []byte {
	return append(append([]byte{'{'}, list...), '}')
}

// Strings returns m as a JSON object, in the order of its keys.
func Strings(m map[string]string) []byte {
	var list []byte
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = Member(list, key, Quote(m[key]))
	}
	return Object(list)
}
