package budget

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// A field is the name of a field and what reads its value at a path.
type field struct {
	name string
	read func(node ast.Node, path string)
}

// fields reads a mapping of known fields, each at most once.
func (r *documentReader) fields(node ast.Node, path string, known []field) {
	r.values[path] = value{place: r.at(node)}
	for _, pair := range r.pairs(node, path) {
		name := keyText(pair.Key)
		found := false
		for _, f := range known {
			if f.name == name {
				found = true
				f.read(pair.Value, join(path, name))
			}
		}
		if !found {
			r.fail(r.at(pair.Key), "unknown field %q; there are %s", name, sortedFields(known))
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// pairs returns the pairs of a mapping, without those whose key is there
// already, and nil for anything else. Both are reported.
func (r *documentReader) pairs(node ast.Node, path string) []*ast.MappingValueNode {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		r.fail(r.at(node), "%s: %s where {field: value} is needed", orDocument(path), describe(node))
		return nil
	}
	seen := make(map[string]int, len(pairs))
	unique := make([]*ast.MappingValueNode, 0, len(pairs))
	for _, pair := range pairs {
		name := keyText(pair.Key)
		if line, twice := seen[name]; twice {
			r.fail(r.at(pair.Key), "%q is there twice, first on line %d", name, line)
			continue
		}
		seen[name] = r.at(pair.Key).line
		unique = append(unique, pair)
	}
	return unique
}

func orDocument(path string) string {
	if path == "" {
		return "document"
	}
	return path
}

func keyText(key ast.MapKeyNode) string {
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value
	}
	return key.GetToken().Value
}

// text returns the text of a scalar as it was written: a number is never
// turned into a float on its way to money.
func (r *documentReader) text(node ast.Node, path string) (string, bool) {
	var text string
	switch n := node.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = n.Value.Value
	case *ast.IntegerNode:
		text = n.Token.Value
	case *ast.FloatNode:
		text = n.Token.Value
	default:
		r.fail(r.at(node), "%s: %s where text or a number is needed", path, describe(node))
		return "", false
	}
	r.values[path] = value{r.at(node), text}
	return text, true
}

func describe(node ast.Node) string {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.BoolNode:
		return "a truth value (quote it if it is text)"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor or alias, which documents can't have,"
	case *ast.TagNode:
		return "a tag, which documents can't have,"
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode:
		return "a single value"
	}
	return node.Type().String()
}

func (r *documentReader) items(node ast.Node, path string) []ast.Node {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		r.fail(r.at(node), "%s: %s where a list is needed", path, describe(node))
		return nil
	}
	r.values[path] = value{place: r.at(node)}
	return sequence.Values
}

func (r *documentReader) str(to *string) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		if text, ok := r.text(node, path); ok {
			*to = text
			if text == "" {
				r.fail(r.at(node), "%s is empty; leave the field out", path)
			}
		}
	}
}

func (r *documentReader) strs(to *[]string) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		for i, item := range r.items(node, path) {
			var s string
			r.str(&s)(item, fmt.Sprintf("%s[%d]", path, i))
			*to = append(*to, s)
		}
	}
}

func (r *documentReader) boolean(to *bool) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		r.values[path] = value{place: r.at(node)}
		b, ok := node.(*ast.BoolNode)
		if !ok {
			r.fail(r.at(node), "%s: %s where true or false is needed", path, describe(node))
			return
		}
		*to = b.Value
	}
}

func (r *documentReader) labels(to *map[string]string) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		r.values[path] = value{place: r.at(node)}
		*to = map[string]string{}
		for _, pair := range r.pairs(node, path) {
			label := keyText(pair.Key)
			if text, ok := r.text(pair.Value, join(path, label)); ok {
				(*to)[label] = text
			}
		}
	}
}

func (r *documentReader) object(known ...field) func(ast.Node, string) {
	return func(node ast.Node, path string) { r.fields(node, path, known) }
}

// enum reads a string of its own type; which ones there are is for check to say.
func enum[T ~string](r *documentReader, to *T) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		var s string
		r.str(&s)(node, path)
		*to = T(s)
	}
}

// enums reads a list of such strings.
func enums[T ~string](r *documentReader, to *[]T) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		var all []string
		r.strs(&all)(node, path)
		for _, s := range all {
			*to = append(*to, T(s))
		}
	}
}

// parsed reads a scalar by parse.
func parsed[T any](r *documentReader, to *T, parse func(string) (T, error)) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		text, ok := r.text(node, path)
		if !ok {
			return
		}
		v, err := parse(text)
		if err != nil {
			r.fail(r.at(node), "%s: %v", path, err)
			return
		}
		*to = v
	}
}

// objects reads a list of mappings, each into a new element.
func objects[T any](r *documentReader, to *[]T, known func(*T) []field) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		for i, item := range r.items(node, path) {
			var element T
			r.fields(item, fmt.Sprintf("%s[%d]", path, i), known(&element))
			*to = append(*to, element)
		}
	}
}
