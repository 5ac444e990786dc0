package openai

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// A format is the codec of an API of which a decision changes the model and
// lowers a limit, and adds nothing.
type format struct {
	api      wire.API
	task     tokens.Task
	nameless bool   // a request may name no model
	bodyless bool   // a request has no body, or none that matters
	modelKey string // what a body calls the model, where that is not model

	// member reads a member of a JSON body.
	member func(r *request, c *walk.Cursor, key []byte) error
	// field reads a part of a multipart body; nil where the API takes none.
	field func(r *request, f *field) error
	// whole, if not nil, is called when a body was read.
	whole func(r *request)
	// dialect is how the response is read.
	dialect func(r *wire.Request) dialect
}

// API implements wire.Codec.
func (f *format) API() wire.API { return f.api }

// ReadRequest implements wire.Codec.
func (f *format) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := newRequest(f.api, f.task)
	r.nameless = f.nameless || f.bodyless
	if f.modelKey != "" {
		r.modelKey = f.modelKey
	}
	if f.bodyless {
		r.Stream = asksStream(path)
		return &r.Request, nil
	}
	if f.field != nil && bytes.HasPrefix(body, []byte("--")) {
		if err := r.readForm(body, f.field); err != nil {
			return nil, err
		}
		if f.whole != nil {
			f.whole(r)
		}
		return r.finish(path)
	}
	request, err := r.read(path, body, func(c *walk.Cursor, key []byte) error { return f.member(r, c, key) })
	if err == nil && f.whole != nil {
		f.whole(r)
	}
	return request, err
}

// Rewrite implements wire.Codec.
func (f *format) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	m, ok := r.Marks.(*marks)
	if !ok {
		return path, body
	}
	edit.ForceUsage = false // these tell it unasked or never
	return m.rewrite(r, path, body, edit, "", 0)
}

// NewReader implements wire.Codec.
func (f *format) NewReader(r *wire.Request, status int, header wire.Header) wire.ResponseReader {
	return newReader(f.dialect(r), r, status, header)
}

// Refuse implements wire.Codec.
func (f *format) Refuse(r wire.Refusal) (string, []byte) { return refuse(r) }
