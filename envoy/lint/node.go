package lint

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A file is one input.
type file struct {
	name string
	text string
}

// kinds of nodes.
const (
	null = iota
	scalar
	mapping
	sequence
)

// A node is a value of a document with its place. A nil node is what is not there;
// all methods take it.
type node struct {
	kind   int
	value  string // of a scalar, as written
	fields []*node
	items  []*node

	file         *file
	parent       *node
	name         string // the field of its parent that it is
	line, column int    // 1-based, of its key where it has one; 0 where offset says it
	offset       int    // in bytes, for JSON
	message      string // full name of the message of Envoy's API that it is, once known
}

// get follows field names; it returns nil where one is missing.
func (n *node) get(names ...string) *node {
	for _, name := range names {
		n = n.field(name)
	}
	return n
}

func (n *node) field(name string) *node {
	if n == nil || n.kind != mapping {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f
		}
	}
	return nil
}

// at is the last node on a path that is there, for what is missing on it.
func (n *node) at(names ...string) *node {
	for _, name := range names {
		inner := n.field(name)
		if inner == nil {
			return n
		}
		n = inner
	}
	return n
}

// list is the items of a sequence.
func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.items
}

// values are those of a mapping.
func (n *node) values() []*node {
	if n == nil {
		return nil
	}
	return n.fields
}

// text is a scalar's text, "" for everything else.
func (n *node) text() string {
	if n == nil || n.kind != scalar {
		return ""
	}
	return n.value
}

func (n *node) texts() []string {
	var all []string
	for _, item := range n.list() {
		all = append(all, item.text())
	}
	return all
}

func (n *node) is(value string) bool { return n.text() == value }

// yes reports a true that was written.
func (n *node) yes() bool { return n.is("true") }

// number is a count; ok is false for what is missing or no number. A float that is whole counts,
// as in Envoy's own JSON.
func (n *node) number() (v uint64, ok bool) {
	text := n.text()
	if v, err := strconv.ParseUint(text, 0, 64); err == nil {
		return v, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < 0 || f >= 1<<63 || f != math.Trunc(f) {
		return 0, false
	}
	return uint64(f), true
}

// duration reads both Envoy's "0.2s" and Kubernetes' "1m30s".
func (n *node) duration() (time.Duration, bool) {
	d, err := time.ParseDuration(n.text())
	return d, err == nil
}

// quantity reads bytes as Kubernetes writes them: 32Mi, 32768, 1M.
func (n *node) quantity() (uint64, bool) {
	text := n.text()
	for _, unit := range []struct {
		suffix string
		bytes  uint64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}} {
		if digits, ok := strings.CutSuffix(text, unit.suffix); ok {
			v, err := strconv.ParseUint(digits, 10, 32)
			return v * unit.bytes, err == nil
		}
	}
	return n.number()
}

// typeName is the full name of the message in "@type".
func (n *node) typeName() string {
	url := n.get("@type").text()
	return url[strings.LastIndexByte(url, '/')+1:]
}

// mentions reports whether a text occurs in any value or name below.
func (n *node) mentions(text string) bool {
	if n == nil {
		return false
	}
	if strings.Contains(strings.ToLower(n.value), text) || strings.Contains(strings.ToLower(n.name), text) {
		return true
	}
	for _, f := range n.fields {
		if f.mentions(text) {
			return true
		}
	}
	for _, item := range n.items {
		if item.mentions(text) {
			return true
		}
	}
	return false
}

// walk calls f for n and all below it.
func (n *node) walk(f func(*node)) {
	if n == nil {
		return
	}
	f(n)
	for _, inner := range n.fields {
		inner.walk(f)
	}
	for _, item := range n.items {
		item.walk(f)
	}
}

// path names the fields that lead to a node.
func (n *node) path() string {
	if n == nil || n.parent == nil {
		return ""
	}
	above := n.parent.path()
	if n.parent.kind == sequence {
		for i, item := range n.parent.items {
			if item == n {
				return fmt.Sprintf("%s[%d]", above, i)
			}
		}
	}
	if above == "" {
		return n.name
	}
	return above + "." + n.name
}

// place is the line and column of a node, 1-based, the column in characters.
func (n *node) place() (line, column int) {
	if n.line > 0 || n.file == nil {
		return n.line, n.column
	}
	before := n.file.text[:min(n.offset, len(n.file.text))]
	line = 1 + strings.Count(before, "\n")
	return line, 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}
