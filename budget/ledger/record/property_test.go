package record

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/pricing/meter"
)

var (
	// texts are what a client may send: also no UTF-8.
	texts = rapid.OneOf(rapid.StringN(0, 8, 20), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }))

	numbers = rapid.OneOf(rapid.Int64Range(-200, 200), rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}))

	times = rapid.OneOf(rapid.Just(time.Time{}), rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(-62135596799, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
	}))

	kinds = rapid.Map(rapid.IntRange(0, meter.NumKinds-1), func(k int) meter.Kind { return meter.Kind(k) })

	// subjects have more labels than are sorted without an allocation, too.
	subjects = rapid.MapOfN(texts, texts, 0, fewKeys+4)

	nothing = rapid.Just[any](nil)
)

var generators = rapid.MakeConfig{
	Kinds: map[reflect.Kind]*rapid.Generator[any]{reflect.String: texts.AsAny(), reflect.Int64: numbers.AsAny()},
	Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[time.Time]():      times.AsAny(),
		reflect.TypeFor[time.Duration]():  numbers.AsAny(),
		reflect.TypeFor[meter.Kind]():     kinds.AsAny(),
		reflect.TypeFor[budget.Subject](): subjects.AsAny(),
	},
	Fields: map[reflect.Type]map[string]*rapid.Generator[any]{
		reflect.TypeFor[budget.Call]():     {"Prompt": nothing, "Routable": nothing, "Constrainable": nothing, "Changeable": nothing, "Watchable": nothing, "Effort": rapid.Just("").AsAny()},
		reflect.TypeFor[budget.Decision](): {"Alternatives": nothing, "Budgets": nothing, "Constraint": nothing, "Watched": nothing, "Rewrites": nothing},
		reflect.TypeFor[budget.Attempt]():  {"Bill": nothing},
	},
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	roundTrips(t, AppendDecision, DecodeDecision)
	roundTrips(t, AppendCloseout, DecodeCloseout)
	roundTrips(t, AppendReturn, DecodeReturn)
	roundTrips(t, AppendResponse, DecodeResponse)
	roundTrips(t, AppendExtension, DecodeExtension)
}

func roundTrips[T any](t *testing.T, encode func([]byte, *T) []byte, decode func([]byte) (*T, error)) {
	values := rapid.MakeCustom[T](generators)
	t.Run(reflect.TypeFor[T]().String(), func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			want := values.Draw(t, "value")
			b := encode(nil, &want)
			got, err := decode(b)
			if err != nil {
				t.Fatalf("what was written is refused: %v", err)
			}
			if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("-written +read\n%s", diff)
			}
			if !bytes.Equal(encode(nil, got), b) {
				t.Fatal("what was read is written otherwise")
			}
			// A byte that is wrong is an error or another value: no byte says nothing. But a value without anything
			// that is new in a version is the same in that before.
			at := rapid.IntRange(0, len(b)-1).Draw(t, "damaged byte")
			newest := b[0]
			b[at] ^= rapid.ByteRange(1, 255).Draw(t, "damage")
			before := at == 0 && b[0] < newest
			if other, err := decode(b); err == nil && cmp.Equal(got, other) && !before {
				t.Fatalf("byte %d of %d says nothing", at, len(b))
			}
		})
	})
}
