package filter

import (
	"keel/budget"
	"keel/filter/wire"
	"keel/filter/wire/constrain"
)

// Speaks reports whether a route may send calls of an API to a provider, other than the one that they were made for.
func Speaks(provider, api string) bool { return speaks(provider, wire.API(api)) }

// Constrainable returns what is against applying a constraint to requests of an API at all, nil for nothing. A
// single request may still not take it.
func Constrainable(api string, c budget.Constraint) error {
	_, err := constrain.Apply(wire.API(api), []byte("{}"), constraint(c))
	return err
}
