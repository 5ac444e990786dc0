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
	label  string   // of the subject, where it reads one
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

// needs appends what e needs, and says whether that is all of it: then a call that has it all matches. What it does not know it leaves out.
func needs(found []predicate, e ast.Expr) (_ []predicate, all bool) {
	if e.Kind() != ast.CallKind {
		flag := flagOf(e)
		if flag != nil {
			found = append(found, predicate{flag: flag})
		}
		return found, flag != nil
	}
	c := e.AsCall()
	if c.FunctionName() == "_&&_" {
		all = true
		for _, arg := range c.Args() {
			var whole bool
			found, whole = needs(found, arg)
			all = all && whole
		}
		return found, all
	}
	p, ok := comparison(c)
	if ok {
		found = append(found, p)
	}
	return found, ok
}

// comparison is a call that compares something of the call with what stands there.
func comparison(c ast.CallExpr) (predicate, bool) {
	switch c.FunctionName() {
	case "!_":
		flag := flagOf(c.Args()[0])
		return predicate{flag: flag, not: true}, flag != nil
	case "_==_", "_>_", "_>=_", "_<_", "_<=_":
		return operator(c.FunctionName(), c.Args()[0], c.Args()[1])
	case "startsWith":
		if !c.IsMemberFunction() {
			break
		}
		value, ok := constant(c.Args()[0])
		read := textOf(c.Target())
		return predicate{read: read, values: []string{value}, prefix: true}, ok && read != nil
	case "@in":
		read := textOf(c.Args()[0])
		if read == nil || c.Args()[1].Kind() != ast.ListKind || len(c.Args()[1].AsList().OptionalIndices()) > 0 {
			break
		}
		var values []string
		for _, element := range c.Args()[1].AsList().Elements() {
			value, ok := constant(element)
			if !ok {
				return predicate{}, false
			}
			values = append(values, value)
		}
		return predicate{read: read, label: labelOf(c.Args()[0]), values: values}, true
	}
	return predicate{}, false
}

// operator is a comparison by ==, >, >=, < or <=. Where the constant stands on the left, it is turned around.
func operator(name string, left, right ast.Expr) (predicate, bool) {
	if left.Kind() == ast.LiteralKind || isDollars(left) {
		left, right = right, left
		name = map[string]string{"_==_": "_==_", "_>_": "_<_", "_>=_": "_<=_", "_<_": "_>_", "_<=_": "_>=_"}[name]
	}
	if value, ok := constant(right); ok && name == "_==_" {
		read := textOf(left)
		return predicate{read: read, label: labelOf(left), values: []string{value}}, read != nil
	}
	if flag := flagOf(left); flag != nil && name == "_==_" && right.Kind() == ast.LiteralKind {
		value, ok := right.AsLiteral().Value().(bool)
		return predicate{flag: flag, not: !value}, ok
	}
	number, ok := wholeNumber(right)
	count := numberOf(left)
	if !ok || count == nil {
		return predicate{}, false
	}
	holds := map[string]func(n int64) bool{
		"_==_": func(n int64) bool { return n == number },
		"_>_":  func(n int64) bool { return n > number },
		"_>=_": func(n int64) bool { return n >= number },
		"_<_":  func(n int64) bool { return n < number },
		"_<=_": func(n int64) bool { return n <= number },
	}[name]
	return predicate{flag: func(in *Input) bool { return holds(count(in)) }}, true
}

func isDollars(e ast.Expr) bool {
	return e.Kind() == ast.CallKind && e.AsCall().FunctionName() == "usd"
}

// wholeNumber is an integer that stands there, or an amount.
func wholeNumber(e ast.Expr) (int64, bool) {
	if isDollars(e) {
		text, ok := constant(e.AsCall().Args()[0])
		n, err := amount(text)
		return n, ok && err == nil
	}
	if e.Kind() != ast.LiteralKind {
		return 0, false
	}
	n, ok := e.AsLiteral().Value().(int64)
	return n, ok
}

// textOf reads a label, a field of the request or the route; nil for anything else.
func textOf(e ast.Expr) func(*Input) string {
	if name := labelOf(e); name != "" {
		return func(in *Input) string { return in.Subject[name] }
	}
	return requestTexts[identifier(e)]
}

// labelOf is the label of the subject that e is, "" for anything else.
func labelOf(e ast.Expr) string {
	if name, of, ok := member(e); ok && isVariable(of, "subject") {
		return name
	}
	return ""
}

// numberOf reads a number of the request, or of a budget by name; nil for anything else.
func numberOf(e ast.Expr) func(*Input) int64 {
	field, of, ok := member(e)
	if !ok {
		return requestNumbers[identifier(e)]
	}
	name, budgets, ok := member(of)
	read := standingFields[field]
	if !ok || read == nil || !isVariable(budgets, "budgets") {
		return nil
	}
	return func(in *Input) int64 {
		if in.Standing == nil {
			return read(Standing{})
		}
		return read(in.Standing(name))
	}
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
		"request.model":        func(in *Input) string { return in.Request.Model },
		"request.provider":     func(in *Input) string { return in.Request.Provider },
		"request.api":          func(in *Input) string { return in.Request.API },
		"request.path":         func(in *Input) string { return in.Request.Path },
		"request.service_tier": func(in *Input) string { return in.Request.ServiceTier },
		"request.effort":       func(in *Input) string { return in.Request.Effort },
		"route":                func(in *Input) string { return in.Request.Route },
	}
	requestNumbers = map[string]func(*Input) int64{
		"request.max_output_tokens": func(in *Input) int64 { return in.Request.MaxOutputTokens },
		"request.input_tokens":      func(in *Input) int64 { return in.Request.InputTokens },
		"request.choices":           func(in *Input) int64 { return in.Request.Choices },
		"request.images":            func(in *Input) int64 { return in.Request.Images },
		"request.expected_cost":     func(in *Input) int64 { return in.Request.ExpectedCost },
		"request.bound_cost":        func(in *Input) int64 { return in.Request.BoundCost },
	}
	requestFlags = map[string]func(*Input) bool{
		"request.stream": func(in *Input) bool { return in.Request.Stream },
		"request.tools":  func(in *Input) bool { return in.Request.Tools },
		"request.priced": func(in *Input) bool { return in.Request.Priced },
	}
)
