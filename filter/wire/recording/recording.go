// Package recording reads recorded provider exchanges: JSON lines, one request
// with its response a line, bodies already content-decoded. It is the input of
// keel meter and of the tests that hold Keel against real traffic.
//
// It knows the fields and no wire format; it refuses to repair: a line that is
// not an exchange is an error of that line, and the next one is read.
package recording

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// An Exchange is one line.
type Exchange struct {
	ID              string            `json:"id"`
	Provider        string            `json:"provider"`
	API             string            `json:"api"`
	Host            string            `json:"host"`
	Method          string            `json:"method"`
	Path            string            `json:"path"`
	RequestHeaders  map[string]string `json:"request_headers"`
	RequestText     *string           `json:"request_body"`
	RequestBase64   *string           `json:"request_body_b64"`
	Status          int               `json:"status"`
	ResponseHeaders map[string]string `json:"response_headers"`
	ResponseText    *string           `json:"response_body"`
	ResponseBase64  *string           `json:"response_body_b64"`
	Stream          bool              `json:"stream"`

	// What the recorder says of the exchange; nothing here is needed to price it.
	Op             string          `json:"op"`
	RequestExact   *bool           `json:"request_exact"`
	Synthetic      bool            `json:"suspect_synthetic"`
	ModelRequested string          `json:"model_requested"`
	ModelReported  string          `json:"model_reported"`
	SourceRepo     string          `json:"source_repo"` // where it was recorded
	SourcePath     string          `json:"source_path"`
	UsageExpected  json.RawMessage `json:"usage_expected"`
}

// Request returns the request body; nil where there is none.
func (x *Exchange) Request() ([]byte, error) { return body("request", x.RequestText, x.RequestBase64) }

// Response returns the response body; nil where there is none.
func (x *Exchange) Response() ([]byte, error) {
	return body("response", x.ResponseText, x.ResponseBase64)
}

func body(which string, text, encoded *string) ([]byte, error) {
	switch {
	case text != nil && encoded != nil:
		return nil, fmt.Errorf("both %s_body and %s_body_b64 are set: give one", which, which)
	case text != nil:
		return []byte(*text), nil
	case encoded != nil:
		decoded, err := base64.StdEncoding.DecodeString(*encoded)
		if err != nil {
			return nil, fmt.Errorf("%s_body_b64: %w", which, err)
		}
		return decoded, nil
	}
	return nil, nil
}

// Header returns h as net/http keeps headers, without content-encoding and
// content-length: bodies are already decoded.
func Header(h map[string]string) http.Header {
	header := make(http.Header, len(h))
	for name, value := range h {
		header.Set(name, value)
	}
	header.Del("Content-Encoding")
	header.Del("Content-Length")
	return header
}

// MaxLine is how long a line may be, in bytes.
const MaxLine = 256 << 20

// A LineError is a line that is not an exchange.
type LineError struct {
	Line int // counted from 1
	ID   string
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong with the line.
func (e *LineError) Unwrap() error { return e.Err }

// A Reader reads exchanges one by one. It is used by one goroutine.
type Reader struct {
	lines *bufio.Reader
	line  int
}

// NewReader returns a reader of the JSON lines in r.
func NewReader(r io.Reader) *Reader { return &Reader{lines: bufio.NewReaderSize(r, 1<<20)} }

// Line is the number of the line that Next read last, counted from 1.
func (r *Reader) Line() int { return r.line }

// Next returns the next exchange. After a *LineError it may be called again; any
// other error, io.EOF included, is final. Empty lines are skipped.
func (r *Reader) Next() (*Exchange, error) {
	for {
		line, err := r.read()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			continue
		}
		x := new(Exchange)
		if err := json.Unmarshal(line, x); err != nil {
			return nil, &LineError{Line: r.line, ID: x.ID, Err: err}
		}
		return x, nil
	}
}

func (r *Reader) read() ([]byte, error) {
	var line []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		if len(line)+len(part) <= MaxLine {
			line = append(line, part...)
		} else {
			if err := r.discard(err); err != nil {
				return nil, err
			}
			r.line++
			return nil, &LineError{Line: r.line, Err: fmt.Errorf("longer than %d bytes", MaxLine)}
		}
		switch {
		case err == nil:
			r.line++
			return trim(line), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			r.line++
			return trim(line), nil
		default:
			return nil, err
		}
	}
}

// discard reads to the end of a line of which a part was read with err.
func (r *Reader) discard(err error) error {
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.lines.ReadSlice('\n')
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func trim(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r' || line[len(line)-1] == ' ') {
		line = line[:len(line)-1]
	}
	return line
}
