package openai

import (
	"bytes"
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"

	"keel/filter/wire"
	"keel/pricing/tokens"
)

// A field is one part of a multipart body (RFC 7578).
type field struct {
	name        string
	contentType string
	value       []byte
	at          wire.Span
}

// readForm reads a multipart body in one strict walk and calls member for each
// part that is not known to every API. The boundary is taken from the body, which has to begin
// with it and end with it: what could stand in front of or behind that is
// read by nobody, and by an honest client not sent.
func (r *request) readForm(body []byte, member func(*request, *field) error) error {
	line, rest, ok := bytes.Cut(body, []byte("\r\n"))
	boundary := bytes.TrimRight(line, " \t")
	if !ok || len(boundary) <= 2 || len(boundary) > 72 {
		return &wire.SyntaxError{Reason: "neither JSON nor multipart form data: it does not begin with a boundary"}
	}
	r.marks.boundary = string(boundary[2:])
	delimiter := append([]byte("\r\n"), boundary...)
	seen := map[string]bool{}
	for at := len(body) - len(rest); ; {
		f, next, err := nextField(body, at, delimiter)
		if err != nil {
			return err
		}
		repeats := strings.HasSuffix(f.name, "[]") || f.name == "image"
		if seen[f.name] && !repeats {
			return &wire.RequestError{Field: f.name, Reason: "is given twice: give it once"}
		}
		seen[f.name] = true
		if err := r.formField(f, member); err != nil {
			return err
		}
		switch rest := body[next:]; {
		case bytes.HasPrefix(rest, []byte("\r\n")):
			at = next + 2
		case string(rest) == "--" || string(rest) == "--\r\n":
			return nil
		default:
			return &wire.SyntaxError{Offset: int64(next), Reason: "broken multipart form data: a boundary is followed by neither a part nor the end"}
		}
	}
}

// nextField reads the part that begins at offset at. next is the offset behind
// the delimiter that ends it.
func nextField(body []byte, at int, delimiter []byte) (f *field, next int, err error) {
	header, value, ok := bytes.Cut(body[at:], []byte("\r\n\r\n"))
	if !ok {
		return nil, 0, &wire.SyntaxError{Offset: int64(at), Reason: "broken multipart form data: a part has no header"}
	}
	f = &field{}
	for _, line := range strings.Split(string(header), "\r\n") {
		name, text, _ := strings.Cut(line, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "content-disposition":
			_, params, err := mime.ParseMediaType(text)
			if err != nil || f.name != "" {
				return nil, 0, &wire.SyntaxError{Offset: int64(at), Reason: "broken multipart form data: a part is named badly"}
			}
			f.name = params["name"]
		case "content-type":
			f.contentType, _, _ = mime.ParseMediaType(text)
		}
	}
	if f.name == "" {
		return nil, 0, &wire.SyntaxError{Offset: int64(at), Reason: "broken multipart form data: a part has no name"}
	}
	start := at + len(header) + len("\r\n\r\n")
	n := bytes.Index(value, delimiter)
	if n < 0 {
		return nil, 0, &wire.SyntaxError{Offset: int64(len(body)), Reason: "it ends too early"}
	}
	f.at = wire.Span{Start: start, End: start + n}
	f.value = value[:n:n]
	return f, start + n + len(delimiter), nil
}

// formField takes over one part.
func (r *request) formField(f *field, member func(*request, *field) error) error {
	switch f.name {
	case "model":
		if len(f.value) == 0 || !utf8.Valid(f.value) {
			return &wire.RequestError{Field: f.name, Reason: "must be a name"}
		}
		r.Model, r.marks.model = string(f.value), f.at
		return nil
	case "stream":
		stream, err := strconv.ParseBool(string(f.value))
		if err != nil {
			return &wire.RequestError{Field: f.name, Reason: "must be true or false"}
		}
		r.Stream = stream
		return nil
	case "n":
		n, err := strconv.ParseInt(string(f.value), 10, 64)
		if err != nil || n < 1 || n > maxChoices {
			return &wire.RequestError{Field: f.name, Reason: "must be from 1 to " + strconv.Itoa(maxChoices)}
		}
		r.Choices = n
		return nil
	case "prompt":
		if len(f.value) > 0 {
			r.Prompt.Messages++
			r.Prompt.Segments = append(r.Prompt.Segments, tokens.Segment{Class: tokens.Text, JSON: f.value, Plain: true})
		}
		return nil
	}
	return member(r, f)
}
