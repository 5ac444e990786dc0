package policy

import (
	"errors"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"keel/pricing"
)

// look walks a checked condition: it finds what the condition needs of a call, the budgets that it reads, and
// what can be told wrong before a call comes.
func (p *Program) look(checked *cel.Ast) error {
	native := checked.NativeRep()
	at := func(e ast.Expr, format string, args ...any) error {
		l := native.SourceInfo().GetStartLocation(e.ID())
		return &Error{Line: max(1, l.Line()), Column: max(1, l.Column()+1), Message: fmt.Sprintf(format, args...)}
	}
	var errs []error
	named := make(map[int64]bool) // identifiers that stand before a name
	labels := newLabelReading()
	ast.PreOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if name, of, ok := member(e); ok && isVariable(of, "budgets") {
			named[of.ID()] = true
			if !slices.Contains(p.budgets, name) {
				p.budgets = append(p.budgets, name)
			}
		}
		labels.see(e)
		p.effort = p.effort || isVariable(e, "request.effort")
		if isVariable(e, "budgets") && !named[e.ID()] {
			errs = append(errs, at(e, `name the budget: budgets["research-month"].used_percent`))
		}
		if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == "usd" {
			text, ok := constant(e.AsCall().Args()[0])
			if !ok {
				errs = append(errs, at(e, `usd takes an amount that stands there: usd("2.50")`))
			} else if _, err := amount(text); err != nil {
				errs = append(errs, at(e, "usd(%q): %v", text, err))
			}
		}
	}))
	p.labels, p.all = labels.read, labels.whole
	p.needs, p.whole = needs(nil, native.Expr())
	return errors.Join(errs...)
}

func amount(text string) (int64, error) {
	var n pricing.NanoUSD
	err := n.UnmarshalText([]byte(text))
	return int64(n), err
}

// dollars is usd("2.50"): nano-dollars.
func dollars(v ref.Val) ref.Val {
	text, _ := v.Value().(string)
	n, err := amount(text)
	if err != nil {
		return types.NewErr("usd(%q): %v", text, err)
	}
	return types.Int(n)
}

// member takes apart x.name and x["name"].
func member(e ast.Expr) (name string, of ast.Expr, ok bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		return s.FieldName(), s.Operand(), !s.IsTestOnly()
	case ast.CallKind:
		if c := e.AsCall(); c.FunctionName() == "_[_]" {
			name, ok := constant(c.Args()[1])
			return name, c.Args()[0], ok
		}
	}
	return "", nil, false
}

func isVariable(e ast.Expr, name string) bool {
	return e.Kind() == ast.IdentKind && e.AsIdent() == name
}

func constant(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok
}

// costMost is the most that a condition may cost by what can be told before a call comes. It is below
// costLimit, so that no call, however it is made, can make a condition fail by its cost.
const costMost = 50_000

// costSmall is what a condition costs at most that no call can make run away, however large its labels are: it has no loop
// and no regular expression to speak of. Counting its steps would take a fifth of its time.
const costSmall = 1000

// bounded returns what a condition costs at most, and refuses one that could run away.
func bounded(env *cel.Env, checked *cel.Ast) (uint64, error) {
	estimate, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return 0, &Error{Line: 1, Column: 1, Message: "what the condition costs can't be told: " + firstLine(err.Error())}
	}
	if estimate.Max > costMost {
		return 0, &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the condition may cost %d steps for a call with %d labels of %d bytes; %d are allowed: nest no loops over subject, and search no labels by regular expressions in a loop",
			estimate.Max, maxLabels, maxLabelBytes, costMost)}
	}
	return estimate.Max, nil
}

// What the estimate takes for the largest call.
const (
	maxLabels     = 32
	maxLabelBytes = 1024
)

type sizes struct{}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

func (sizes) EstimateSize(element cost.AstNode) *cost.SizeEstimate {
	path := element.Path()
	if len(path) == 1 && path[0] == "subject" {
		return &cost.SizeEstimate{Max: maxLabels}
	}
	return &cost.SizeEstimate{Max: maxLabelBytes}
}
