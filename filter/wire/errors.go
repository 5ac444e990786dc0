package wire

import "fmt"

// SyntaxError says that a body is not the JSON that it has to be.
type SyntaxError struct {
	Offset int64  // in bytes
	Reason string // "duplicate key", "invalid UTF-8", …; nothing of the body, because it is kept in the record
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("request body is not acceptable JSON: %s at byte %d", e.Reason, e.Offset)
}

// RequestError says that a body is JSON but can't be a request of its API.
type RequestError struct {
	Field  string // "model", "max_tokens", …
	Reason string
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("request body: field %q: %s", e.Field, e.Reason)
}
