package policy

import "cel.dev/cel-go/common/ast"

// A Label is one reading of a label of the subject.
type Label struct {
	Name   string
	Values []string // that it is compared with, by ==, != or in; where Other is false, with nothing else
	Other  bool     // it is read in another way
}

// labelReading finds what a condition reads of the subject. A node is seen before those below it.
type labelReading struct {
	read  []Label
	whole bool
	known map[int64]bool // nodes that are accounted for
}

func newLabelReading() *labelReading { return &labelReading{known: make(map[int64]bool)} }

func (r *labelReading) see(e ast.Expr) {
	if e.Kind() == ast.CallKind {
		r.compared(e.AsCall())
	}
	if e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly() { // has(subject.team)
		r.known[e.AsSelect().Operand().ID()] = true
		return
	}
	if name, of, ok := member(e); ok && isVariable(of, "subject") {
		r.known[of.ID()] = true
		if !r.known[e.ID()] {
			r.read = append(r.read, Label{Name: name, Other: true})
		}
	}
	r.whole = r.whole || isVariable(e, "subject") && !r.known[e.ID()]
}

// compared notes a label that is compared with what stands there.
func (r *labelReading) compared(c ast.CallExpr) {
	args := c.Args()
	switch c.FunctionName() {
	case "_==_", "_!=_":
		for i := range args {
			name, of, ok := member(args[i])
			value, stands := constant(args[1-i])
			if ok && stands && isVariable(of, "subject") {
				r.known[args[i].ID()] = true
				r.read = append(r.read, Label{Name: name, Values: []string{value}})
			}
		}
	case "@in":
		if isVariable(args[1], "subject") { // "team" in subject
			r.known[args[1].ID()] = true
			return
		}
		name, of, ok := member(args[0])
		if !ok || !isVariable(of, "subject") || args[1].Kind() != ast.ListKind {
			return
		}
		label := Label{Name: name}
		for _, element := range args[1].AsList().Elements() {
			value, stands := constant(element)
			if !stands {
				return
			}
			label.Values = append(label.Values, value)
		}
		r.known[args[0].ID()] = true
		r.read = append(r.read, label)
	}
}
