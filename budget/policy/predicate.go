package policy

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
)

// A predicate is a part of a condition that compares something of the call with what stands there: all
// parts that && joins have to hold, so where one does not the rest need not be looked at. That is so, too, where the rest
// would fail: in CEL false && error is false, in either order.
type predicate struct {
	read   func(*Input) string
	values []string // one of them
	prefix bool     // begins with it
	flag   func(*Input) bool
	not    bool // of a flag
}

func (p *predicate) holds(in *Input) bool {
	if p.flag != nil {
		return p.flag(in) != p.not
	}
	value := p.read(in)
	if p.prefix {
		return strings.HasPrefix(value, p.values[0])
	}
	return slices.Contains(p.values, value)
}

// needs appends what e needs. What it does not know it leaves out.
func needs(found []predicate, e ast.Expr) []predicate {
	if e.Kind() != ast.CallKind {
		if flag := flagOf(e); flag != nil {
			found = append(found, predicate{flag: flag})
		}
		return found
	}
	c := e.AsCall()
	switch c.FunctionName() {
	case "_&&_":
		for _, arg := range c.Args() {
			found = needs(found, arg)
		}
	case "!_":
		if flag := flagOf(c.Args()[0]); flag != nil {
			found = append(found, predicate{flag: flag, not: true})
		}
	case "_==_":
		left, right := c.Args()[0], c.Args()[1]
		if _, ok := constant(left); ok {
			left, right = right, left
		}
		value, ok := constant(right)
		if read := textOf(left); ok && read != nil {
			found = append(found, predicate{read: read, values: []string{value}})
		}
	case "startsWith":
		if !c.IsMemberFunction() {
			break
		}
		value, ok := constant(c.Args()[0])
		if read := textOf(c.Target()); ok && read != nil {
			found = append(found, predicate{read: read, values: []string{value}, prefix: true})
		}
	case "@in":
		read := textOf(c.Args()[0])
		if read == nil || c.Args()[1].Kind() != ast.ListKind || len(c.Args()[1].AsList().OptionalIndices()) > 0 {
			break
		}
		var values []string
		for _, element := range c.Args()[1].AsList().Elements() {
			value, ok := constant(element)
			if !ok {
				return found
			}
			values = append(values, value)
		}
		found = append(found, predicate{read: read, values: values})
	}
	return found
}

// textOf reads a label, a field of the request or the route; nil for anything else.
func textOf(e ast.Expr) func(*Input) string {
	if name, of, ok := member(e); ok && isVariable(of, "subject") {
		return func(in *Input) string { return in.labels[name] }
	}
	return requestTexts[identifier(e)]
}

func flagOf(e ast.Expr) func(*Input) bool { return requestFlags[identifier(e)] }

// identifier is the name of a variable. The checker has made one name of request and its field.
func identifier(e ast.Expr) string {
	if e.Kind() != ast.IdentKind {
		return ""
	}
	return e.AsIdent()
}

// The fields that conditions compare most, without the boxes that CEL needs.
var (
	requestTexts = map[string]func(*Input) string{
		"request.model":        func(in *Input) string { return in.request.Model },
		"request.provider":     func(in *Input) string { return in.request.Provider },
		"request.api":          func(in *Input) string { return in.request.API },
		"request.path":         func(in *Input) string { return in.request.Path },
		"request.service_tier": func(in *Input) string { return in.request.ServiceTier },
		"route":                func(in *Input) string { return in.request.Route },
	}
	requestFlags = map[string]func(*Input) bool{
		"request.stream": func(in *Input) bool { return in.request.Stream },
		"request.tools":  func(in *Input) bool { return in.request.Tools },
		"request.priced": func(in *Input) bool { return in.request.Priced },
	}
)
