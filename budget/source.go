package budget

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"keel/budget/policy"
)

// A SourceError is one thing that is wrong in a file of documents.
type SourceError struct {
	File    string
	Line    int // 1-based; 0 when the file as a whole is meant
	Column  int // 1-based, in characters
	Message string
	Source  string // the line
}

// Error gives the place, the message and the line with a caret under the place.
func (e *SourceError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	number := fmt.Sprintf("%5d", e.Line)
	// Tabs stay tabs in front of the caret, so that both lines indent alike.
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, firstRunes(e.Source, e.Column-1))
	return fmt.Sprintf("%s:%d:%d: %s\n%s | %s\n%s | %s^", e.File, e.Line, e.Column, e.Message, number, e.Source, strings.Repeat(" ", len(number)), indent)
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}

// A place is where a node begins, 1-based; the zero place is unknown.
type place struct{ line, column int }

// sourceFile is the text of documents, and collects what is wrong with it.
type sourceFile struct {
	name  string
	lines []string
	errs  []error
}

func (s *sourceFile) fail(at place, format string, args ...any) {
	e := &SourceError{File: s.name, Line: at.line, Column: max(1, at.column), Message: fmt.Sprintf(format, args...)}
	if at.line > 0 && at.line <= len(s.lines) {
		e.Source = s.lines[at.line-1]
	}
	s.errs = append(s.errs, e)
}

// failAt reports err at a value. Errors of a policy's condition are moved to
// their place within the value where that can be found in the line.
func (s *sourceFile) failAt(at place, value string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			s.failAt(at, value, e)
		}
		return
	}
	var condition *policy.Error
	if !errors.As(err, &condition) {
		s.fail(at, "%v", err)
		return
	}
	if moved, ok := s.within(at, value, condition.Line, condition.Column); ok {
		s.fail(moved, "%s", condition.Message)
		return
	}
	s.fail(at, "%v", err)
}

// within finds the place of a line and column of a value that begins at a place.
func (s *sourceFile) within(at place, value string, line, column int) (place, bool) {
	valueLines := strings.Split(value, "\n")
	if at.line < 1 || at.line > len(s.lines) || line > len(valueLines) {
		return place{}, false
	}
	text := s.lines[at.line-1]
	start := at.column - 1
	from := text[len(firstRunes(text, start)):]
	if strings.HasPrefix(from, "|") && at.line+line <= len(s.lines) { // a block: the value begins on the next line
		text = s.lines[at.line+line-1]
		return place{at.line + line, len(text) - len(valueLines[line-1]) + column}, strings.HasSuffix(text, valueLines[line-1])
	}
	if strings.HasPrefix(from, "'") || strings.HasPrefix(from, `"`) {
		from = from[1:]
		start++
	}
	return place{at.line, start + column}, len(valueLines) == 1 && strings.HasPrefix(from, value)
}

// A body is one YAML document of a file.
type body struct {
	node ast.Node
	line int // of the file, before its first
}

// parse splits the text into its YAML documents and parses each. The parser
// could do both, but forgets documents behind one that holds only comments,
// and stops at the first that is wrong.
func (s *sourceFile) parse(text string) (bodies []body) {
	if !utf8.ValidString(text) {
		s.fail(place{}, "not UTF-8 text")
		return nil
	}
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
	s.lines = strings.Split(text, "\n")
	begin := 0
	for i := 0; i <= len(s.lines); i++ {
		if i < len(s.lines) && !isMarker(s.lines[i]) {
			continue
		}
		if node := s.parseOne(s.lines[begin:i], begin); node != nil {
			bodies = append(bodies, body{node, begin})
		}
		if i < len(s.lines) && strings.TrimSpace(stripComment(s.lines[i][3:])) != "" {
			s.fail(place{i + 1, 4}, "begin a document on the line behind ---")
		}
		begin = i + 1
	}
	return bodies
}

// isMarker: a line that begins with --- or ... ends a YAML document, even inside of a block of text.
func isMarker(line string) bool {
	marker := strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...")
	return marker && (len(line) == 3 || line[3] == ' ' || line[3] == '\t')
}

func stripComment(s string) string {
	s, _, _ = strings.Cut(s, "#")
	return s
}

func (s *sourceFile) parseOne(lines []string, before int) (node ast.Node) {
	defer func() {
		if r := recover(); r != nil { // a parser's panic is no reason to go down with it
			node = nil
			s.fail(place{before + 1, 1}, "not YAML: %v", r)
		}
	}()
	file, err := parser.ParseBytes([]byte(strings.Join(lines, "\n")), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			p := at.GetToken().Position
			s.fail(place{before + p.Line, p.Column}, "%s", at.GetMessage())
			return nil
		}
		s.fail(place{before + 1, 1}, "%v", err)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType {
			continue
		}
		if node != nil {
			s.fail(place{before + 1, 1}, "more than one document; put --- between them")
			return nil
		}
		node = doc.Body
	}
	return node
}
