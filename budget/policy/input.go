package policy

import (
	"reflect"

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
}

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
}

func requestFieldNames() []string {
	names := make([]string, len(requestFields))
	for i, f := range requestFields {
		names[i] = f.name
	}
	return names
}

// An Input is one call as conditions see it. It is made once a call, however
// many policies look at it, and is only read.
type Input struct {
	subject ref.Val
	request Request
}

// NewInput returns the input for a call. The map must not change afterwards.
func NewInput(subject map[string]string, request Request) *Input {
	return &Input{subject: labels{types.NewStringStringMap(types.DefaultTypeAdapter, subject)}, request: request}
}

// ResolveName implements cel.Activation.
func (in *Input) ResolveName(name string) (any, bool) {
	if name == "subject" {
		return in.subject, true
	}
	for i := range requestFields {
		f := &requestFields[i]
		if len(name) == len("request.")+len(f.name) && name[len("request."):] == f.name {
			return f.value(&in.request), true
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
