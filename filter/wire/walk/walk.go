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
// It knows no API: what names mean is the caller's business.
package walk

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

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

var (
	strict  = []jsontext.Options{jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false)}
	lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	empty   = new(bytes.Buffer)
	cursors = sync.Pool{New: func() any { return &Cursor{dec: jsontext.NewDecoder(empty)} }}
)

func walk(body []byte, tolerant bool, member func(c *Cursor, key []byte) error) (wire.Span, error) {
	c := cursors.Get().(*Cursor)
	c.body, c.tolerant, c.span = body, tolerant, wire.Span{}
	c.source = *bytes.NewBuffer(body) // the decoder reads a Buffer in place, without a copy
	if tolerant {
		c.dec.Reset(&c.source, lenient...)
	} else {
		c.dec.Reset(&c.source, strict...)
	}
	err := c.root(member)
	span := c.span

	// Nothing of the body may stay behind in the pool.
	c.source, c.body = bytes.Buffer{}, nil
	c.dec.Reset(empty)
	cursors.Put(c)
	if err != nil {
		return wire.Span{}, err
	}
	return span, nil
}

// root reads the object and sees to it that nothing follows.
func (c *Cursor) root(member func(c *Cursor, key []byte) error) error {
	if kind := c.dec.PeekKind(); kind != '{' && kind != 0 {
		return &wire.SyntaxError{Offset: c.dec.InputOffset(), Reason: "not an object"}
	}
	err := c.Object(func(key []byte) error { return member(c, key) })
	if err != nil {
		return err
	}
	end := c.dec.InputOffset()
	switch _, err := c.dec.ReadToken(); {
	case err == nil:
		return &wire.SyntaxError{Offset: end, Reason: "more data behind the object"}
	case errors.Is(err, io.EOF):
		return nil
	default:
		return syntaxError(err, end)
	}
}

// syntaxError tells err of the decoder in the words of package wire.
func syntaxError(err error, offset int64) error {
	if errors.Is(err, io.EOF) {
		return &wire.SyntaxError{Offset: offset, Reason: "it is empty"}
	}
	var syntactic *jsontext.SyntacticError
	if !errors.As(err, &syntactic) {
		return &wire.SyntaxError{Offset: offset, Reason: err.Error()}
	}
	reason := "broken"
	switch {
	case errors.Is(syntactic.Err, jsontext.ErrDuplicateName):
		reason = "duplicate key \"" + syntactic.JSONPointer.LastToken() + "\""
	case errors.Is(syntactic.Err, io.ErrUnexpectedEOF):
		reason = "it ends too early"
	case syntactic.Err != nil:
		reason = strings.TrimPrefix(syntactic.Err.Error(), "jsontext: ")
	}
	return &wire.SyntaxError{Offset: syntactic.ByteOffset, Reason: reason}
}

// tooDeep is the error for a value that nests deeper than MaxDepth.
func tooDeep(offset int) error {
	return &wire.SyntaxError{Offset: int64(offset), Reason: "nesting deeper than 1000"}
}

// deepAt returns the offset where a value that the decoder took nests deeper than most
// objects and arrays, or -1.
func deepAt(body []byte, most int) int {
	if bytes.Count(body, []byte{'['})+bytes.Count(body, []byte{'{'}) <= most {
		return -1
	}
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if depth++; depth > most {
				return i
			}
		case ']', '}':
			depth--
		}
	}
	return -1
}
