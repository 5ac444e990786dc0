package policy

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

// costLimit ends an evaluation that runs away, in CEL's cost units (about one
// a step, and one every ten bytes of a string that is searched). A rule of
// four comparisons costs about 20; a regular expression over a label of 4 KiB
// about 1 000.
const costLimit = 100_000

// maxLength of a condition, in code points. CEL's own default is 100 000,
// which takes seconds to check.
const maxLength = 8 << 10

// A Program is a compiled condition. It is safe for concurrent use.
type Program struct {
	source  string
	program cel.Program
	needs   []predicate // all of which hold where the condition does
	whole   bool        // and it does where they do
	budgets []string    // that it reads
	labels  []Label     // that it reads
	all     bool        // it reads the subject as a whole
	effort  bool        // it reads the reasoning effort
}

// Budgets are the names of the budgets that the condition reads.
func (p *Program) Budgets() []string { return p.budgets }

// Labels are those of the subject that the condition reads by their names. all says that it also looks at the subject as a
// whole, in a loop say.
func (p *Program) Labels() (read []Label, all bool) { return p.labels, p.all }

// ReadsEffort reports whether the condition reads the reasoning effort.
func (p *Program) ReadsEffort() bool { return p.effort }

// An Error says what is wrong with a condition, and where.
type Error struct {
	Line    int // 1-based, within the expression
	Column  int // 1-based, in code points
	Message string
	Source  string // the line
}

// Error gives the position, what is wrong, and the line with a mark under the position.
func (e *Error) Error() string {
	text := fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
	if strings.TrimSpace(e.Source) == "" {
		return text
	}
	before := []rune(e.Source)
	before = before[:min(e.Column-1, len(before))]
	for i, r := range before {
		if r != '\t' { // a tab stays one, so that the mark stands where it does in the line
			before[i] = ' '
		}
	}
	return text + "\n  " + e.Source + "\n  " + string(before) + "^"
}

// within gives errors the lines of the condition that they are about.
func within(condition string, err error) error {
	lines := strings.Split(condition, "\n")
	var mark func(error)
	mark = func(err error) {
		switch e := err.(type) {
		case *Error:
			if e.Line <= len(lines) {
				e.Source = lines[e.Line-1]
			}
		case interface{ Unwrap() []error }:
			for _, each := range e.Unwrap() {
				mark(each)
			}
		}
	}
	mark(err)
	return err
}

var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.Variable("subject", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("budgets", cel.MapType(cel.StringType, cel.MapType(cel.StringType, cel.IntType))),
		cel.Variable("route", cel.StringType),
		cel.Variable("now", cel.TimestampType),
		cel.Function("usd", cel.Overload("usd_string", []*cel.Type{cel.StringType}, cel.IntType, cel.UnaryBinding(dollars))),
		cel.ParserExpressionSizeLimit(maxLength),
		cel.ParserRecursionLimit(64),
		cel.EagerlyValidateDeclarations(true),
		ext.Strings(ext.StringsVersion(4)),
	}
	for _, f := range requestFields {
		options = append(options, cel.Variable("request."+f.name, f.kind))
	}
	return cel.NewEnv(options...)
})

// Compile checks a condition and returns its program. The error joins one
// *Error for each thing that is wrong.
//
// The condition is evaluated once for a call that carries nothing: one that
// fails there would fail for every caller who leaves a label out, and a policy
// that fails denies, so it is refused here.
func Compile(condition string) (*Program, error) {
	p, err := compile(condition)
	if err != nil {
		return nil, within(condition, err)
	}
	return p, nil
}

func compile(condition string) (*Program, error) {
	if strings.TrimSpace(condition) == "" {
		return nil, &Error{Line: 1, Column: 1, Message: "the condition is empty; write true for a policy that applies to every call"}
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("policy: CEL environment: %w", err)
	}
	ast, issues := env.Compile(condition)
	if issues != nil && issues.Err() != nil {
		return nil, positions(issues)
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the condition gives %s; it has to give a bool", ast.OutputType())}
	}
	p := &Program{source: condition}
	if err := p.look(ast); err != nil {
		return nil, err
	}
	most, err := bounded(env, ast)
	if err != nil {
		return nil, err
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if most > costSmall {
		options = append(options, cel.CostLimit(costLimit))
	}
	program, err := env.Program(ast, options...)
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Message: firstLine(err.Error())}
	}
	p.program = program
	if _, err := p.evaluate(new(Input)); err != nil {
		return nil, &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the condition fails for a call without labels: %v", err)}
	}
	return p, nil
}

// Needs is a label of the subject that has to have one of some values where the condition holds, as far as one can be told by
// looking at it; "" for none. Match is not worth asking of a call whose label has another value; one that is missing reads as "".
func (p *Program) Needs() (label string, values []string) {
	for i := range p.needs {
		if p.needs[i].label != "" {
			return p.needs[i].label, p.needs[i].values
		}
	}
	return "", nil
}

// Match evaluates the condition. An error means that it could not be told
// whether the call is meant: whoever asks has to treat the call as denied,
// because a rule that can be made to fail must not be a way around it.
func (p *Program) Match(in *Input) (bool, error) {
	for i := range p.needs {
		if !p.needs[i].holds(in) {
			return false, nil
		}
	}
	if p.whole {
		return true, nil
	}
	return p.evaluate(in)
}

func (p *Program) evaluate(in *Input) (bool, error) {
	out, _, err := p.program.Eval(in)
	if err != nil {
		return false, errors.New(firstLine(err.Error()))
	}
	matched, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the condition gave %s", out.Type().TypeName())
	}
	return matched, nil
}

// String returns the condition as it was written.
func (p *Program) String() string { return p.source }

func positions(issues *cel.Issues) error {
	var all []error
	for _, e := range issues.Errors() {
		message := e.Message
		if strings.HasPrefix(message, "undeclared reference to 'request") {
			message = "request has no such field; it has " + strings.Join(requestFieldNames(), ", ")
		}
		// CEL counts columns from 0.
		all = append(all, &Error{Line: max(1, e.Location.Line()), Column: max(1, e.Location.Column()+1), Message: firstLine(message)})
	}
	return errors.Join(all...)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
