package frame

import (
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// A Field is one of a namespace of the metadata. What is in lists and structs is not read.
type Field struct {
	Key    []byte
	Kind   FieldKind
	Text   []byte  // of a String
	Number float64 // of a Number; 1 for a Bool that is true
}

// FieldKind says which value a Field has.
type FieldKind uint8

// Kinds of fields.
const (
	Other FieldKind = iota
	Number
	String
	Bool
)

// Fields are those of one namespace. Of two with one key the last counts.
type Fields []Field

// Text is the string under a key, nil where there is none.
func (f Fields) Text(key string) []byte {
	for i := len(f) - 1; i >= 0; i-- {
		if string(f[i].Key) == key {
			return f[i].Text
		}
	}
	return nil
}

// Wire types, as they stand in a tag beside the number of a field. A known number with another type is an unknown field.
const (
	varint   = uint64(protowire.VarintType)
	fixed64  = uint64(protowire.Fixed64Type)
	lengthed = uint64(protowire.BytesType)
)

func tagOf(number protowire.Number, kind protowire.Type) uint64 {
	return uint64(number)<<3 | uint64(kind)
}

// seen are the fields of a message that were there, by number. One that is there twice is merged, which the generic codec does.
type seen uint64

func (s *seen) again(number protowire.Number) bool {
	before := *s
	*s |= 1 << number
	return *s == before
}

// appendFields reads a Struct.
func appendFields(to []Field, c cursor) ([]Field, bool) {
	for !c.done() {
		number, entry, _, kind, ok := c.field()
		if !ok {
			return to, false
		}
		if tagOf(number, kind) != 1<<3|lengthed {
			continue
		}
		var f Field
		var value cursor
		if f.Key, value, ok = readPair(entry); !ok || !f.read(value) {
			return to, false
		}
		to = append(to, f)
	}
	return to, true
}

// read reads a Value. One with two of them is not plain: it may be two lists, which are one then.
func (f *Field) read(c cursor) bool {
	if c.done() {
		return true
	}
	number, value, bits, kind, ok := c.field()
	if !ok || !c.done() {
		return false
	}
	switch tagOf(number, kind) {
	case 2<<3 | fixed64:
		f.Kind, f.Number = Number, math.Float64frombits(bits)
	case 3<<3 | lengthed:
		f.Kind = String
		f.Text, ok = value.utf8()
	case 4<<3 | varint:
		if f.Kind = Bool; bits != 0 {
			f.Number = 1
		}
	}
	return ok
}

// stateIn looks into an Any that has a Struct. One that can't be read has nothing.
func stateIn(c cursor, key string) (there, isTrue bool) {
	var url, value []byte
	for !c.done() {
		number, v, _, kind, ok := c.field()
		if !ok {
			return false, false
		}
		switch tagOf(number, kind) {
		case 1<<3 | lengthed:
			url = v.data
		case 2<<3 | lengthed:
			value = v.data
		}
	}
	const name = "google.protobuf.Struct"
	if n := len(url) - len(name); n < 0 || string(url[n:]) != name || n > 0 && url[n-1] != '/' {
		return false, false
	}
	if there, isTrue, ok := structHas(cursor{data: value}, key); ok {
		return there, isTrue
	}
	var state structpb.Struct
	if proto.Unmarshal(value, &state) != nil {
		return false, false
	}
	v := state.GetFields()[key]
	return v != nil, v.GetBoolValue()
}

func structHas(c cursor, key string) (there, isTrue, ok bool) {
	for !c.done() {
		number, entry, _, kind, ok := c.field()
		if !ok {
			return false, false, false
		}
		if tagOf(number, kind) != 1<<3|lengthed {
			continue
		}
		name, value, ok := pair(entry)
		if !ok {
			return false, false, false
		}
		if string(name) != key {
			continue
		}
		var f Field
		if !f.read(value) {
			return false, false, false
		}
		there, isTrue = true, f.Kind == Bool && f.Number != 0
	}
	return there, isTrue, true
}

// readPair takes an entry of a map apart. A key or value that is missing reads as empty, and of two the last counts, but not
// of two values that are messages.
func readPair(c cursor) (key []byte, value cursor, ok bool) {
	key, value, ok = pair(c)
	return key, value, ok && utf8.Valid(key)
}

// pair is readPair for keys that may be no text.
func pair(c cursor) (key []byte, value cursor, ok bool) {
	var parts seen
	for !c.done() {
		number, v, _, kind, ok := c.field()
		if !ok {
			return nil, cursor{}, false
		}
		switch tagOf(number, kind) {
		case 1<<3 | lengthed:
			key = v.data
		case 2<<3 | lengthed:
			if parts.again(number) {
				return nil, cursor{}, false
			}
			value = v
		}
	}
	return key, value, true
}

// utf8 is the value as bytes; ok is false where the generic codec refuses it as a string.
func (c *cursor) utf8() ([]byte, bool) { return c.data, utf8.Valid(c.data) }
