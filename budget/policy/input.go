package policy

import (
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Request is what a condition can read of a call, besides who makes it.
type Request struct {
	Model           string // as asked for
	Provider        string // that the call would go to without a route
	API             string // wire format, as in "openai.chat"
	Path            string
	Stream          bool
	MaxOutputTokens int64 // stated for one choice, 0 where the request states none
	InputTokens     int64 // estimated, the likely number
	Choices         int64 // alternatives asked for
	Images          int64
	Tools           bool   // it defines tools
	HostedTools     string // kinds of tools that the provider runs, "" for none
	ServiceTier     string // as asked for
	Effort          string // of reasoning, as asked for; "" where none is stated
	Priced          bool   // whether the two costs are known
	ExpectedCost    int64  // nano-dollars, at the target that was asked for; 0 where it is not known
	BoundCost       int64  // nano-dollars
	Route           string // that takes the model, "" for none
	At              time.Time
}

// A Standing is how far a budget is used, as a condition reads it: nano-dollars.
type Standing struct{ Used, Limit int64 }

var requestFields = []struct {
	name  string
	kind  *cel.Type
	value func(*Request) any
}{
	{"model", cel.StringType, func(r *Request) any { return r.Model }},
	{"provider", cel.StringType, func(r *Request) any { return r.Provider }},
	{"api", cel.StringType, func(r *Request) any { return r.API }},
	{"path", cel.StringType, func(r *Request) any { return r.Path }},
	{"stream", cel.BoolType, func(r *Request) any { return r.Stream }},
	{"max_output_tokens", cel.IntType, func(r *Request) any { return r.MaxOutputTokens }},
	{"input_tokens", cel.IntType, func(r *Request) any { return r.InputTokens }},
	{"choices", cel.IntType, func(r *Request) any { return r.Choices }},
	{"images", cel.IntType, func(r *Request) any { return r.Images }},
	{"tools", cel.BoolType, func(r *Request) any { return r.Tools }},
	{"hosted_tools", cel.StringType, func(r *Request) any { return r.HostedTools }},
	{"service_tier", cel.StringType, func(r *Request) any { return r.ServiceTier }},
	{"effort", cel.StringType, func(r *Request) any { return r.Effort }},
	{"priced", cel.BoolType, func(r *Request) any { return r.Priced }},
	{"expected_cost", cel.IntType, func(r *Request) any { return r.ExpectedCost }},
	{"bound_cost", cel.IntType, func(r *Request) any { return r.BoundCost }},
}

func requestFieldNames() []string {
	names := make([]string, len(requestFields))
	for i, f := range requestFields {
		names[i] = f.name
	}
	return names
}

// An Input is one call as conditions see it. It is made once a call, however
// many policies look at it, for one goroutine.
type Input struct {
	// Subject has the labels of the call. It must not change while conditions are evaluated.
	Subject map[string]string
	Request Request
	// Standing tells of a budget by its name, as the call would use it; it is asked only where a
	// condition does, and may be nil.
	Standing func(budget string) Standing

	subject ref.Val // for CEL, once a condition asks: most are answered without it
}

// ResolveName implements cel.Activation.
func (in *Input) ResolveName(name string) (any, bool) {
	switch name {
	case "subject":
		if in.subject == nil {
			in.subject = labels{types.NewStringStringMap(types.DefaultTypeAdapter, in.Subject)}
		}
		return in.subject, true
	case "budgets":
		return standings{noBudgets, in.Standing}, true
	case "route":
		return in.Request.Route, true
	case "now":
		return types.Timestamp{Time: in.Request.At}, true
	}
	for i := range requestFields {
		f := &requestFields[i]
		if len(name) == len("request.")+len(f.name) && name[len("request."):] == f.name {
			return f.value(&in.Request), true
		}
	}
	return nil, false
}

// Parent implements cel.Activation.
func (in *Input) Parent() cel.Activation { return nil }

// labels is a map that answers "" for a missing key. It is deliberately no
// traits.Mapper: CEL asks a Mapper by Find for both the value and whether it
// is there, and asks an Indexer by Get for the one and IsSet for the other.
type labels struct{ present traits.Mapper }

func (l labels) Get(key ref.Val) ref.Val {
	value, found := l.present.Find(key)
	if value != nil && types.IsUnknownOrError(value) {
		return value
	}
	if !found {
		return types.String("")
	}
	return value
}

func (l labels) IsSet(key ref.Val) ref.Val    { return l.present.Contains(key) }
func (l labels) Contains(key ref.Val) ref.Val { return l.present.Contains(key) }
func (l labels) Size() ref.Val                { return l.present.Size() }
func (l labels) Iterator() traits.Iterator    { return l.present.Iterator() }
func (l labels) Type() ref.Type               { return l.present.Type() }
func (l labels) Value() any                   { return l.present.Value() }

func (l labels) Equal(other ref.Val) ref.Val {
	if o, ok := other.(labels); ok {
		return l.present.Equal(o.present)
	}
	return l.present.Equal(other)
}

func (l labels) ConvertToNative(t reflect.Type) (any, error) { return l.present.ConvertToNative(t) }
func (l labels) ConvertToType(t ref.Type) ref.Val            { return l.present.ConvertToType(t) }

// noBudgets answers for what nobody asks of standings.
var noBudgets = types.NewStringStringMap(types.DefaultTypeAdapter, nil)

// standings reads a budget when it is asked for. It is no traits.Mapper, as labels.
type standings struct {
	traits.Mapper
	of func(string) Standing
}

func (s standings) Find(key ref.Val) (ref.Val, bool) { return s.Get(key), true }
func (s standings) IsSet(ref.Val) ref.Val            { return types.True }

func (s standings) Get(key ref.Val) ref.Val {
	name, ok := key.Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key)
	}
	var is Standing
	if s.of != nil {
		is = s.of(name)
	}
	all := make(map[string]int64, len(standingFields))
	for field, value := range standingFields {
		all[field] = value(is)
	}
	return types.DefaultTypeAdapter.NativeToValue(all)
}

// standingFields are what a condition can read of a budget.
var standingFields = map[string]func(Standing) int64{
	"used":         func(s Standing) int64 { return s.Used },
	"limit":        func(s Standing) int64 { return s.Limit },
	"left":         func(s Standing) int64 { return max(0, s.Limit-s.Used) },
	"used_percent": Standing.percent,
}

func (s Standing) percent() int64 {
	switch {
	case s.Limit > 0:
		return int64(float64(s.Used) / float64(s.Limit) * 100)
	case s.Used > 0:
		return 100
	}
	return 0
}
