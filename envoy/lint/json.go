package lint

import (
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

func readJSON(f *file) ([]*node, error) {
	r := jsonReader{file: f, tokens: jsontext.NewDecoder(strings.NewReader(f.text)), budget: budget{maxNodes}}
	var documents []*node
	for {
		if r.tokens.PeekKind() == 0 {
			if _, err := r.tokens.ReadToken(); !errors.Is(err, io.EOF) {
				return nil, r.unreadable(err)
			}
			return documents, nil
		}
		document, err := r.value(nil, "", r.next(), 0)
		if err != nil {
			return nil, r.unreadable(err)
		}
		documents = append(documents, document)
	}
}

type jsonReader struct {
	file   *file
	tokens *jsontext.Decoder
	budget budget
}

func (r *jsonReader) unreadable(err error) error {
	n := &node{file: r.file, offset: int(r.tokens.InputOffset())}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		n.offset = int(syntax.ByteOffset)
	}
	line, column := n.place()
	return &UnreadableError{File: r.file.name, Line: line, Column: column, Message: "not JSON: " + err.Error(), cause: err}
}

// next is where the next token begins.
func (r *jsonReader) next() int {
	offset := int(r.tokens.InputOffset())
	for offset < len(r.file.text) && strings.IndexByte(" \t\r\n,:", r.file.text[offset]) >= 0 {
		offset++
	}
	return offset
}

// value reads one value, whose place is that of its name where it has one.
func (r *jsonReader) value(parent *node, name string, offset, depth int) (*node, error) {
	n, err := r.budget.node(r.file, parent, name, depth)
	if err != nil {
		return nil, err
	}
	n.offset = offset
	token, err := r.tokens.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		n.kind = mapping
		for r.tokens.PeekKind() != '}' {
			at := r.next()
			key, err := r.tokens.ReadToken()
			if err != nil {
				return nil, err
			}
			inner, err := r.value(n, key.String(), at, depth+1)
			if err != nil {
				return nil, err
			}
			n.fields = append(n.fields, inner)
		}
		_, err = r.tokens.ReadToken()
	case '[':
		n.kind = sequence
		for r.tokens.PeekKind() != ']' {
			item, err := r.value(n, "", r.next(), depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		_, err = r.tokens.ReadToken()
	case 'n':
	default:
		n.kind, n.value = scalar, token.String()
	}
	return n, err
}
