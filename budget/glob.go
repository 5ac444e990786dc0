package budget

import (
	"errors"
	"fmt"
	"strings"
)

// A glob is a pattern in which * stands for any text, including none. Nothing
// else is special: a pattern that seems to ask for more is refused, so that
// nobody relies on what is not there.
type glob struct {
	pattern string
	parts   []string // between the stars; one part: the pattern is exact
}

func parseGlob(pattern string) (glob, error) {
	if i := strings.IndexAny(pattern, `?[]{}\`); i >= 0 {
		return glob{}, fmt.Errorf("glob %q: %q has no meaning; only * does (any text)", pattern, pattern[i])
	}
	if strings.Contains(pattern, "**") {
		return glob{}, fmt.Errorf("glob %q: write one * in place of **", pattern)
	}
	if len(pattern) > maxLabelLength {
		return glob{}, errors.New("glob is too long")
	}
	return glob{pattern: pattern, parts: strings.Split(pattern, "*")}, nil
}

func (g glob) exact() bool { return len(g.parts) == 1 }

func (g glob) match(s string) bool {
	first := g.parts[0]
	if g.exact() {
		return s == first
	}
	last := g.parts[len(g.parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range g.parts[1 : len(g.parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// moreSpecific orders patterns for a route: exact ones first, then by how much
// of the name they spell out.
func (g glob) moreSpecific(than glob) bool {
	if g.exact() != than.exact() {
		return g.exact()
	}
	return len(g.pattern)-len(g.parts) > len(than.pattern)-len(than.parts)
}
