package record

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/pricing/meter"
)

// leftOut are the fields that a record does not carry, on purpose: they are for
// a call in flight or for a dry run.
var leftOut = map[string]bool{
	"Decision.Call.Prompt":        true,
	"Decision.Call.Routable":      true,
	"Decision.Call.Constrainable": true,
	"Decision.Call.Changeable":    true,
	"Decision.Call.Watchable":     true,
	"Decision.Call.Effort":        true, // the policies that read it say it, in Rules
	"Decision.Constraint":         true, // its policies say it, in Rules
	"Decision.Watched":            true, // so does its policy
	"Decision.Rewrites":           true,
	"Decision.Alternatives":       true,
	"Decision.Budgets":            true,

	"Closeout.AttemptRows.Bill":          true, // travels with the call, until the closeout has it in Bills
	"Closeout.Closeout.AttemptRows.Bill": true,
}

// filled returns a T in which every field has a value of its own that is not zero.
// It fails at a kind of field that it does not know.
func filled[T any](tb testing.TB) *T {
	tb.Helper()
	v := new(T)
	n := int64(0)
	fill(tb, reflect.ValueOf(v).Elem(), reflect.TypeFor[T]().Name(), &n)
	return v
}

func fill(tb testing.TB, v reflect.Value, path string, n *int64) {
	tb.Helper()
	if leftOut[path] {
		return
	}
	*n++
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(1_790_000_000+*n, *n).UTC()
		return
	case *meter.Kind:
		*p = meter.Kind(1 + *n%int64(meter.NumKinds-1))
		return
	case *uuid.UUID:
		*p = uuid.NewSHA1(uuid.Nil, []byte(path))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(*n * 1_000_003 * (1 - 2*(*n%2))) // every other one is negative
	case reflect.Uint8:
		v.SetUint(uint64(*n%200) + 1)
	case reflect.String:
		v.SetString(fmt.Sprintf("%s %d", path, *n))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(tb, v.Field(i), path+"."+v.Type().Field(i).Name, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(tb, v.Elem(), path, n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(tb, v.Index(i), path, n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(tb, v.Index(i), path, n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range 3 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			key.SetString(fmt.Sprintf("key %d", i))
			fill(tb, value, path, n)
			v.SetMapIndex(key, value)
		}
	default:
		tb.Fatalf("%s is a %s: the codec and this test know no such field", path, v.Kind())
	}
}
