package lint

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of an input: past them it is refused, not judged by a part.
const (
	maxBytes = 64 << 20
	maxYAML  = 16 << 20 // its reader is slow
	maxDepth = 200
	maxNodes = 4 << 20

	maxYAMLNodes = 1 << 20 // also bounds what aliases multiply
)

// An UnreadableError is an input that can't be parsed.
type UnreadableError struct {
	File         string
	Line, Column int // 1-based; 0 where the file as a whole is meant
	Message      string
	cause        error
}

func (e *UnreadableError) Unwrap() error { return e.cause }

func (e *UnreadableError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// read returns the documents of an input. JSON has a reader of its own: it may be
// indented by tabs and be megabytes of one line, which YAML's reader does not like.
func read(f *file) ([]*node, error) {
	if len(f.text) > maxBytes {
		return nil, &UnreadableError{File: f.name, Message: fmt.Sprintf("more than %d MiB", maxBytes>>20)}
	}
	if !utf8.ValidString(f.text) {
		return nil, &UnreadableError{File: f.name, Message: "not UTF-8 text"}
	}
	f.text = strings.TrimPrefix(f.text, "\ufeff")
	start := strings.TrimLeft(f.text, " \t\r\n")
	if !strings.HasPrefix(start, "{") && !strings.HasPrefix(start, "[") {
		return readYAML(f)
	}
	documents, err := readJSON(f)
	if err == nil || errors.Is(err, errDeep) || errors.Is(err, errMany) {
		return documents, err
	}
	if documents, yamlErr := readYAML(f); yamlErr == nil { // it may be YAML's flow style
		return documents, nil
	}
	return nil, err
}

// tooDeep finds what YAML's parser would take minutes for: it counts brackets, quoted or not.
func tooDeep(text string) bool {
	depth := 0
	for _, c := range []byte(text) {
		switch c {
		case '[', '{':
			if depth++; depth > 10*maxDepth {
				return true
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return false
}

var (
	errDeep = errors.New("nested too deeply")
	errMany = errors.New("too many values")
)

// a budget counts the nodes of one input.
type budget struct{ left int }

func (b *budget) node(f *file, parent *node, name string, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	if b.left--; b.left < 0 {
		return nil, errMany
	}
	return &node{file: f, parent: parent, name: name}, nil
}
