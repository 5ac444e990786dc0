// Package formdata reads a multipart/form-data body (RFC 7578) in one strict
// walk and tells where its values stand, so that one can be replaced.
//
// It takes the boundary from the body, which has to begin with it and end with
// it: what could stand in front of or behind that is read by nobody, and not sent by
// an honest client. It refuses a name that is given twice, unless it is a list.
package formdata

import (
	"bytes"
	"mime"
	"strings"

	"keel/filter/wire"
)

// A Field is one part.
type Field struct {
	Name        string
	ContentType string
	Value       []byte // aliases the body
	At          wire.Span
}

// Read calls member for each part, in order. Errors are *wire.SyntaxError,
// *wire.RequestError or what member returned.
func Read(body []byte, member func(Field) error) error {
	line, rest, ok := bytes.Cut(body, []byte("\r\n"))
	boundary := bytes.TrimRight(line, " \t")
	if !ok || len(boundary) <= 2 || len(boundary) > 72 || !bytes.HasPrefix(boundary, []byte("--")) {
		return &wire.SyntaxError{Reason: "not multipart form data: it does not begin with a boundary"}
	}
	delimiter := append([]byte("\r\n"), boundary...)
	seen := make(map[string]bool)
	for at := len(body) - len(rest); ; {
		f, next, err := field(body, at, delimiter)
		if err != nil {
			return err
		}
		if seen[f.Name] && !strings.HasSuffix(f.Name, "[]") {
			return &wire.RequestError{Field: f.Name, Reason: "is given twice: give it once"}
		}
		seen[f.Name] = true
		if err := member(f); err != nil {
			return err
		}
		switch rest := body[next:]; {
		case bytes.HasPrefix(rest, []byte("\r\n")):
			at = next + 2
		case string(rest) == "--" || string(rest) == "--\r\n":
			return nil
		default:
			return broken(next, "a boundary is followed by neither a part nor the end")
		}
	}
}

// field reads the part that begins at offset at. next is the offset behind the
// delimiter that ends it.
func field(body []byte, at int, delimiter []byte) (f Field, next int, err error) {
	header, value, ok := bytes.Cut(body[at:], []byte("\r\n\r\n"))
	if !ok {
		return f, 0, broken(at, "a part has no header")
	}
	for _, line := range strings.Split(string(header), "\r\n") {
		name, text, _ := strings.Cut(line, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "content-disposition":
			_, params, err := mime.ParseMediaType(text)
			if err != nil || f.Name != "" {
				return f, 0, broken(at, "a part is named badly")
			}
			f.Name = params["name"]
		case "content-type":
			f.ContentType, _, _ = mime.ParseMediaType(text)
		}
	}
	if f.Name == "" {
		return f, 0, broken(at, "a part has no name")
	}
	start := at + len(header) + len("\r\n\r\n")
	n := bytes.Index(value, delimiter)
	if n < 0 {
		return f, 0, broken(len(body), "it ends too early")
	}
	f.At = wire.Span{Start: start, End: start + n}
	f.Value = value[:n:n]
	return f, start + n + len(delimiter), nil
}

func broken(at int, reason string) error {
	return &wire.SyntaxError{Offset: int64(at), Reason: "broken multipart form data: " + reason}
}
