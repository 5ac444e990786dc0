package walk

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"keel/filter/wire"
)

// A Cursor stands before a value. Each method but Kind, Span and Fail reads
// that value whole. null counts as absent everywhere.
//
// Where a method expects another type than it finds, a walk by Request fails
// with a *wire.RequestError that names the field, and a walk by Response skips
// the value and reports it as absent.
type Cursor struct {
	dec      *jsontext.Decoder
	source   bytes.Buffer
	body     []byte
	tolerant bool
	span     wire.Span
}

// Kind tells the value ahead by its first byte: one of {["0tfn, or 0 where
// there is no value, which the next method reports as an error.
func (c *Cursor) Kind() jsontext.Kind { return c.dec.PeekKind() }

// Span is where the value that was read last stands, null and skipped ones too.
func (c *Cursor) Span() wire.Span { return c.span }

// Fail returns a *wire.RequestError about the value that was read last, or
// whose name was, with the path to it as its field.
func (c *Cursor) Fail(format string, args ...any) error {
	return &wire.RequestError{Field: c.field(), Reason: fmt.Sprintf(format, args...)}
}

// field renders the JSON pointer to the current value as people write it: messages[0].content.
func (c *Cursor) field() string {
	var b strings.Builder
	for name := range c.dec.StackPointer().Tokens() {
		if _, err := strconv.ParseUint(name, 10, 32); err == nil {
			b.WriteString("[" + name + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}

// Value returns the value as it stands in the body, aliasing it.
func (c *Cursor) Value() ([]byte, error) {
	before := c.dec.InputOffset()
	raw, err := c.dec.ReadValue()
	if err != nil {
		return nil, syntaxError(err, before)
	}
	end := int(c.dec.InputOffset())
	c.span = wire.Span{Start: end - len(raw), End: end}
	if raw[0] == '{' || raw[0] == '[' {
		if at := deepAt(raw, MaxDepth-c.dec.StackDepth()); at >= 0 {
			return nil, tooDeep(c.span.Start + at)
		}
	}
	return c.body[c.span.Start:c.span.End:c.span.End], nil
}

// Skip reads the value and forgets it.
func (c *Cursor) Skip() error {
	_, err := c.Value()
	return err
}

// expect reads a scalar of one of kinds; nil stands for absent.
func (c *Cursor) expect(what string, kinds string) ([]byte, error) {
	raw, err := c.Value()
	switch {
	case err != nil:
		return nil, err
	case strings.IndexByte(kinds, byte(jsontext.Value(raw).Kind())) >= 0:
		return raw, nil
	case c.tolerant || raw[0] == 'n':
		return nil, nil
	}
	return nil, c.Fail("must be %s", what)
}

// Text returns a string with its escapes resolved; nil where absent. It may
// alias the body.
func (c *Cursor) Text() ([]byte, error) {
	raw, err := c.expect("a string", `"`)
	if raw == nil {
		return nil, err
	}
	return unquote(raw), nil
}

// TextLen returns the length of a string in bytes of UTF-8, escapes resolved.
func (c *Cursor) TextLen() (int64, error) {
	raw, err := c.expect("a string", `"`)
	if raw == nil {
		return 0, err
	}
	return textLen(raw[1 : len(raw)-1]), nil
}

// Bool returns a boolean; false where absent.
func (c *Cursor) Bool() (bool, error) {
	raw, err := c.expect("true or false", "tf")
	return raw != nil && raw[0] == 't', err
}

// Int returns an integer, which may be written with a fraction or exponent as
// long as its value is whole (1e3); ok is false where absent. What does not
// fit 64 bits is no integer.
func (c *Cursor) Int() (n int64, ok bool, err error) {
	raw, err := c.expect("an integer", "0")
	if raw == nil {
		return 0, false, err
	}
	if n, ok = integer(raw); !ok && !c.tolerant {
		return 0, false, c.Fail("must be an integer, not %.40s", raw)
	}
	return n, ok, nil
}

// Object calls member for each member of an object; see Request for its
// contract.
func (c *Cursor) Object(member func(key []byte) error) error {
	start, err := c.enter('{', "an object")
	if start < 0 {
		return err
	}
	depth := c.dec.StackDepth()
	for c.dec.PeekKind() != '}' {
		raw, err := c.Value()
		if err != nil {
			return err
		}
		if err := member(unquote(raw)); err != nil {
			return err
		}
		if _, n := c.dec.StackIndex(depth); n%2 == 1 { // a name without its value
			if err := c.Skip(); err != nil {
				return err
			}
		}
	}
	return c.leave(start)
}

// Array calls element for each element of an array. An element that it leaves
// unread is skipped.
func (c *Cursor) Array(element func() error) error {
	start, err := c.enter('[', "an array")
	if start < 0 {
		return err
	}
	depth := c.dec.StackDepth()
	for c.dec.PeekKind() != ']' {
		if c.dec.PeekKind() == 0 {
			return c.Skip() // reports what is wrong
		}
		_, before := c.dec.StackIndex(depth)
		if err := element(); err != nil {
			return err
		}
		if _, n := c.dec.StackIndex(depth); n == before {
			if err := c.Skip(); err != nil {
				return err
			}
		}
	}
	return c.leave(start)
}

// enter reads the opening delimiter and returns its offset, or -1 where the
// value is something else, which it has then dealt with.
func (c *Cursor) enter(open jsontext.Kind, what string) (int, error) {
	switch kind := c.dec.PeekKind(); {
	case kind == open:
		before := c.dec.InputOffset()
		if _, err := c.dec.ReadToken(); err != nil {
			return -1, syntaxError(err, before)
		}
		start := int(c.dec.InputOffset()) - 1
		if c.dec.StackDepth() > MaxDepth {
			return -1, tooDeep(start)
		}
		return start, nil
	case kind == 0 || kind == 'n' || c.tolerant:
		return -1, c.Skip()
	}
	if err := c.Skip(); err != nil {
		return -1, err
	}
	return -1, c.Fail("must be %s", what)
}

func (c *Cursor) leave(start int) error {
	before := c.dec.InputOffset()
	if _, err := c.dec.ReadToken(); err != nil {
		return syntaxError(err, before)
	}
	c.span = wire.Span{Start: start, End: int(c.dec.InputOffset())}
	return nil
}

// unquote resolves the escapes of a string that the decoder has accepted.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	// The decoder took the string already, so the only error left is bad UTF-8
	// in a Response, which comes back replaced.
	text, _ := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	return text
}

// Raw returns the value that was read last as it stands in the body, aliasing
// it.
func (c *Cursor) Raw() []byte { return c.body[c.span.Start:c.span.End:c.span.End] }
