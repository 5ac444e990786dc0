package walk

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"keel/filter/wire"
)

// decoder reads the body as jsontext does, to explain it.
func (c *Cursor) decoder() *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(c.body), jsontext.AllowDuplicateNames(c.tolerant), jsontext.AllowInvalidUTF8(c.tolerant))
}

// broken says what is wrong with a body that the scanner does not take.
func (c *Cursor) broken() error {
	d := c.decoder()
	for whole := false; !whole; whole = d.StackDepth() == 0 {
		if _, err := d.ReadToken(); err != nil {
			return syntaxError(err, 0)
		}
	}
	end := d.InputOffset()
	switch _, err := d.ReadToken(); {
	case err == nil:
		return &wire.SyntaxError{Offset: end, Reason: "more data behind the object"}
	case !errors.Is(err, io.EOF):
		return syntaxError(err, end)
	}
	return &wire.SyntaxError{Offset: int64(c.at), Reason: "broken"}
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
		reason = "duplicate key" // without its name, which is the client's own and would be kept in the record
	case errors.Is(syntactic.Err, io.ErrUnexpectedEOF):
		reason = "it ends too early"
	case syntactic.Err != nil:
		reason = strings.TrimPrefix(syntactic.Err.Error(), "jsontext: ")
	}
	return &wire.SyntaxError{Offset: syntactic.ByteOffset, Reason: reason}
}

// field renders the JSON pointer to what was read last as people write it: messages[0].content.
func (c *Cursor) field() string {
	d := c.decoder()
	for d.InputOffset() < int64(c.span.End) {
		if _, err := d.ReadToken(); err != nil {
			break
		}
	}
	var b strings.Builder
	for name := range d.StackPointer().Tokens() {
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
