// Package walk reads a JSON object in one pass and tells where its values
// stand, so that a body can be changed by replacing bytes and nothing is ever
// encoded again.
//
// Request is strict: a body that says two things could say one to Keel and
// another to the provider. It refuses duplicate names at any depth, invalid
// UTF-8 (a lone \uD800 escape too), data behind the object and nesting deeper
// than MaxDepth. Names are compared as JSON does, case and all: "Model" is not
// "model", but "mod\u0065l" is. Response reads what a provider says, where
// refusing would help nobody: duplicates and bad UTF-8 pass, and a value of an
// unexpected type is as good as absent.
//
// Scanning is hand-written, because reading a body is most of what a call costs
// Keel: it takes a third of the time of jsontext, whose tokens it does not need. It only
// takes or leaves: what it does not like, jsontext reads again to say what is wrong,
// and the fuzz target holds the two to the same verdict.
//
// It knows no API: what names mean is the caller's business.
package walk

import (
	"sync"

	"keel/filter/wire"
)

// MaxDepth is how deep objects and arrays may nest.
const MaxDepth = 1000

// Request walks body, which must be one JSON object, and calls member for each
// of its members, in order. key is valid during the call only; a value that
// member leaves unread is skipped. It returns where the object stands.
//
// An error is a *wire.SyntaxError, a *wire.RequestError of a Cursor method, or
// what member returned.
func Request(body []byte, member func(c *Cursor, key []byte) error) (wire.Span, error) {
	return walk(body, false, member)
}

// Response is Request for what a provider sent; see the package comment.
func Response(doc []byte, member func(c *Cursor, key []byte) error) error {
	_, err := walk(doc, true, member)
	return err
}

var cursors = sync.Pool{New: func() any { return new(Cursor) }}

func walk(body []byte, tolerant bool, member func(c *Cursor, key []byte) error) (wire.Span, error) {
	c := cursors.Get().(*Cursor)
	c.body, c.tolerant = body, tolerant
	err := c.root(member)
	span := c.span

	// Nothing of the body may stay behind in the pool.
	c.names.reset()
	*c = Cursor{names: c.names}
	cursors.Put(c)
	if err != nil {
		return wire.Span{}, err
	}
	return span, nil
}

// root reads the object and sees to it that nothing follows.
func (c *Cursor) root(member func(c *Cursor, key []byte) error) error {
	c.at = space(c.body, 0)
	c.ahead = true
	switch c.Kind() {
	case '[', '"', 't', 'f', 'n', '0':
		return &wire.SyntaxError{Offset: 0, Reason: "not an object"}
	}
	if err := c.Object(func(key []byte) error { return member(c, key) }); err != nil {
		return err
	}
	if space(c.body, c.at) < len(c.body) {
		return c.broken()
	}
	return nil
}
