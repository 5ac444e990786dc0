package walk

import (
	"bytes"
	"fmt"
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
	body     []byte
	at       int  // where the value ahead begins, or behind what was read last
	ahead    bool // there is a value that nobody read yet
	depth    int  // objects and arrays around it
	tolerant bool
	span     wire.Span
	names    names
}

// Kind tells the value ahead by its first byte: one of {["0tfn, or 0 where
// there is no value, which the next method reports as an error.
func (c *Cursor) Kind() byte {
	if !c.ahead || c.at >= len(c.body) {
		return 0
	}
	return kindOf(c.body[c.at])
}

// Span is where the value that was read last stands, null and skipped ones too.
func (c *Cursor) Span() wire.Span { return c.span }

// Fail returns a *wire.RequestError about the value that was read last, or
// whose name was, with the path to it as its field.
func (c *Cursor) Fail(format string, args ...any) error {
	return &wire.RequestError{Field: c.field(), Reason: fmt.Sprintf(format, args...)}
}

// Value returns the value as it stands in the body, aliasing it.
func (c *Cursor) Value() ([]byte, error) {
	if !c.ahead {
		panic("walk: the value was read already")
	}
	start := c.at
	end, err := c.value(start)
	if err != nil {
		return nil, err
	}
	c.read(start, end)
	return c.body[start:end:end], nil
}

// read notes that what stands from start to end was read.
func (c *Cursor) read(start, end int) {
	c.at, c.ahead, c.span = end, false, wire.Span{Start: start, End: end}
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
	case strings.IndexByte(kinds, kindOf(raw[0])) >= 0:
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
	scope := c.names.open()
	for more := c.first('}'); more; more = c.next('}') {
		key, err := c.name(scope)
		if err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		if c.ahead { // a name without its value
			if err := c.Skip(); err != nil {
				return err
			}
		}
	}
	c.names.close(scope)
	return c.leave(start, '}')
}

// Array calls element for each element of an array. An element that it leaves
// unread is skipped.
func (c *Cursor) Array(element func() error) error {
	start, err := c.enter('[', "an array")
	if start < 0 {
		return err
	}
	for more := c.first(']'); more; more = c.next(']') {
		c.ahead = true
		if c.Kind() == 0 {
			return c.broken()
		}
		if err := element(); err != nil {
			return err
		}
		if c.ahead {
			if err := c.Skip(); err != nil {
				return err
			}
		}
	}
	return c.leave(start, ']')
}

// enter reads the opening delimiter and returns its offset, or -1 where the
// value is something else, which it has then dealt with.
func (c *Cursor) enter(open byte, what string) (int, error) {
	switch kind := c.Kind(); {
	case kind == open:
		start := c.at
		if c.depth++; c.depth > MaxDepth {
			return -1, tooDeep(start)
		}
		c.read(start, start+1)
		return start, nil
	case kind == 0 || kind == 'n' || c.tolerant:
		return -1, c.Skip()
	}
	if err := c.Skip(); err != nil {
		return -1, err
	}
	return -1, c.Fail("must be %s", what)
}

// first and next go to the next member or element, and report whether there is one. Where
// there is neither that nor the closing delimiter, leave will find that out.
func (c *Cursor) first(closing byte) bool {
	c.at = space(c.body, c.at)
	return c.at < len(c.body) && c.body[c.at] != closing
}

func (c *Cursor) next(closing byte) bool {
	c.at = space(c.body, c.at)
	if c.at < len(c.body) && c.body[c.at] == ',' {
		c.at = space(c.body, c.at+1)
		return true
	}
	return false
}

// name reads a name and goes to its value.
func (c *Cursor) name(s scope) ([]byte, error) {
	key, end, ok := c.key(s, c.at)
	if !ok {
		return nil, c.broken()
	}
	c.read(c.at, end)
	if c.at = c.colon(end); c.at < 0 {
		c.at = end
		return nil, c.broken()
	}
	c.ahead = true
	return key, nil
}

func (c *Cursor) leave(start int, closing byte) error {
	if c.at >= len(c.body) || c.body[c.at] != closing {
		return c.broken()
	}
	c.depth--
	c.read(start, c.at+1)
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
