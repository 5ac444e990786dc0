package lint

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// readYAML splits a text into its documents and parses each: the parser could do both,
// but forgets documents behind one that holds only comments.
func readYAML(f *file) ([]*node, error) {
	r := yamlReader{file: f, budget: budget{maxYAMLNodes}}
	if len(f.text) > maxYAML {
		return nil, &UnreadableError{File: f.name, Message: fmt.Sprintf("more than %d MiB of YAML: give JSON", maxYAML>>20)}
	}
	if tooDeep(f.text) {
		return nil, r.fail(1, 1, "%v", errDeep)
	}
	lines := strings.Split(strings.ReplaceAll(f.text, "\r\n", "\n"), "\n")
	var documents []*node
	begin := 0
	for i := 0; i <= len(lines); i++ {
		if i < len(lines) && !isMarker(lines[i]) {
			continue
		}
		n, err := r.document(lines[begin:i], begin)
		if err != nil {
			return nil, err
		}
		if n != nil {
			documents = append(documents, n)
		}
		begin = i + 1
	}
	return documents, nil
}

// isMarker reports a line that ends a document.
func isMarker(line string) bool {
	marker := strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...")
	return marker && (len(line) == 3 || line[3] == ' ' || line[3] == '\t')
}

type yamlReader struct {
	file    *file
	budget  budget
	before  int                 // lines before the document
	anchors map[string]ast.Node // of the document
	open    map[string]bool     // anchors that are being written out
}

func (r *yamlReader) fail(line, column int, format string, args ...any) error {
	return &UnreadableError{File: r.file.name, Line: r.before + line, Column: max(1, column), Message: "not YAML: " + fmt.Sprintf(format, args...)}
}

func (r *yamlReader) document(lines []string, before int) (n *node, err error) {
	r.before, r.anchors, r.open = before, map[string]ast.Node{}, map[string]bool{}
	defer func() {
		if panicked := recover(); panicked != nil { // a parser's panic is no reason to go down with it
			n, err = nil, r.fail(1, 1, "%v", panicked)
		}
	}()
	parsed, err := parser.ParseBytes([]byte(strings.Join(lines, "\n")), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			p := at.GetToken().Position
			return nil, r.fail(p.Line, p.Column, "%s", at.GetMessage())
		}
		return nil, r.fail(1, 1, "%v", err)
	}
	for _, doc := range parsed.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if n != nil {
			return nil, r.fail(1, 1, "more than one document without --- between them")
		}
		if n, err = r.node(doc.Body, nil, "", 0); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// node turns a parsed value into one of ours.
func (r *yamlReader) node(v ast.Node, parent *node, name string, depth int) (*node, error) {
	n, err := r.budget.node(r.file, parent, name, depth)
	if err != nil {
		return nil, r.fail(1, 1, "%v", err)
	}
	if token := v.GetToken(); token != nil && token.Position != nil {
		n.line, n.column = r.before+token.Position.Line, token.Position.Column
	}
	switch v := v.(type) {
	case *ast.MappingNode:
		return n, r.pairs(n, v.Values, depth)
	case *ast.MappingValueNode:
		return n, r.pairs(n, []*ast.MappingValueNode{v}, depth)
	case *ast.SequenceNode:
		n.kind = sequence
		for _, item := range v.Values {
			inner, err := r.node(item, n, "", depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, inner)
		}
		return n, nil
	case *ast.AnchorNode:
		if v.Name != nil {
			r.anchors[v.Name.GetToken().Value] = v.Value
		}
		return r.node(v.Value, parent, name, depth+1)
	case *ast.AliasNode:
		return r.alias(v, parent, name, depth)
	case *ast.TagNode:
		if v.Value == nil {
			return n, nil
		}
		return r.node(v.Value, parent, name, depth+1)
	case *ast.NullNode:
		return n, nil
	case *ast.LiteralNode:
		n.kind, n.value = scalar, v.Value.Value
		return n, nil
	case *ast.StringNode:
		n.kind, n.value = scalar, v.Value
		return n, nil
	case ast.ScalarNode:
		n.kind, n.value = scalar, v.GetToken().Value
		return n, nil
	}
	return nil, r.fail(1, 1, "a %s where a value is needed", v.Type())
}

func (r *yamlReader) alias(v *ast.AliasNode, parent *node, name string, depth int) (*node, error) {
	key := v.Value.GetToken().Value
	target, ok := r.anchors[key]
	if !ok || r.open[key] {
		return nil, r.fail(v.GetToken().Position.Line, v.GetToken().Position.Column, "alias *%s has no anchor before it", key)
	}
	r.open[key] = true
	defer delete(r.open, key)
	return r.node(target, parent, name, depth+1)
}

// pairs fills a mapping. A field that is there twice means two things.
func (r *yamlReader) pairs(n *node, pairs []*ast.MappingValueNode, depth int) error {
	n.kind = mapping
	for _, pair := range pairs {
		token := pair.Key.GetToken()
		if pair.Key.IsMergeKey() {
			if err := r.merge(n, pair.Value, depth); err != nil {
				return err
			}
			continue
		}
		key := token.Value
		if s, ok := pair.Key.(*ast.StringNode); ok {
			key = s.Value
		}
		if n.field(key) != nil {
			return r.fail(token.Position.Line, token.Position.Column, "%q is there twice", key)
		}
		inner, err := r.node(pair.Value, n, key, depth+1)
		if err != nil {
			return err
		}
		inner.line, inner.column = r.before+token.Position.Line, token.Position.Column
		n.fields = append(n.fields, inner)
	}
	if len(n.fields) > 0 && (n.line == 0 || n.parent == nil || n.parent.kind == sequence) { // the token of a mapping is a colon
		n.line, n.column = n.fields[0].line, n.fields[0].column
	}
	return nil
}

// merge adds the fields of "<<" that are not there yet.
func (r *yamlReader) merge(n *node, v ast.Node, depth int) error {
	merged, err := r.node(v, n, "<<", depth+1)
	if err != nil {
		return err
	}
	sources := []*node{merged}
	if merged.kind == sequence {
		sources = merged.items
	}
	for _, source := range sources {
		for _, f := range source.fields {
			if n.field(f.name) == nil {
				f.parent = n
				n.fields = append(n.fields, f)
			}
		}
	}
	return nil
}
