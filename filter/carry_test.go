package filter

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/pricing"
)

// anyCall draws what may travel with a call.
func anyCall(t *rapid.T) carriedCall {
	text := func(name string) string { return rapid.OneOf(rapid.Just(""), rapid.String()).Draw(t, name) }
	count := func(name string) int64 {
		return rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(-math.MaxInt64, math.MaxInt64)).Draw(t, name)
	}
	money := func(name string) pricing.NanoUSD { return pricing.NanoUSD(count(name)) }
	truth := func(name string) bool { return rapid.Bool().Draw(t, name) }
	c := carriedCall{
		At:     time.Unix(rapid.Int64Range(0, math.MaxUint32).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond")).UTC(),
		Method: text("method"), Path: text("path"), Asked: text("asked"), Stream: truth("stream"), Provider: text("provider"), Model: text("model"),
		ServiceTier: text("tier"), Speed: text("speed"), Region: text("region"), SearchContext: text("context"),
		InputBound: count("input bound"), OutputBound: count("output bound"), Bound: money("bound"), Unpriced: text("unpriced"),
		Envelope: budget.Envelope{Limit: money("limit"), Attempts: count("attempts"), Mode: budget.Mode(text("mode")), Unknown: budget.UnknownAttempt(text("unknown"))},
		Input:    count("input"), WantsUsage: truth("usage"), Choices: count("choices"), Background: truth("background"), Retrieval: truth("retrieval"), Beside: text("beside"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "rewrites") {
		c.Rewrites = append(c.Rewrites, budget.Rewrite{Provider: text("to"), Model: text("model"), Bound: money("bound"), InputTokensBound: count("in"), OutputTokensBound: count("out")})
	}
	if truth("changed") {
		c.Change = &carriedChange{Model: text("model"), MaxOutput: count("most"), ForceUsage: truth("forced"), Encoding: text("encoding"), Hash: text("hash")}
	}
	return c
}

// What a release writes the next one reads, and the other way round: both are what encoding/json writes and reads.
func TestCarriedCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyCall(t)
		ours := want.append(nil)
		theirs, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range [][]byte{ours, theirs} {
			var read, oracle carriedCall
			if err := read.read(text); err != nil {
				t.Fatalf("%v of %s", err, text)
			}
			if err := json.Unmarshal(text, &oracle); err != nil {
				t.Fatalf("%v of %s", err, text)
			}
			for _, got := range []carriedCall{read, oracle} {
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("%s:\nread as %+v\nwant    %+v", text, got, want)
				}
			}
		}
	})
}

// A field that is new is written: one that append forgets is the zero value in what is read.
func TestCarriedCallIsWhole(t *testing.T) {
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int64:
			v.SetInt(7)
		case reflect.Struct:
			if at, ok := v.Addr().Interface().(*time.Time); ok {
				*at = time.Unix(1, 2).UTC()
				return
			}
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0))
		case reflect.Pointer:
			if v.Type() != reflect.TypeFor[*budget.Constraint]() { // which encoding/json writes
				v.Set(reflect.New(v.Type().Elem()))
				fill(v.Elem())
			}
		default:
			t.Fatalf("a field of kind %v: teach append, read and this test", v.Kind())
		}
	}
	var want, got carriedCall
	fill(reflect.ValueOf(&want).Elem())
	text := want.append(nil)
	if err := got.read(text); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v of %s:\nread as %+v\nwant    %+v", err, text, got, want)
	}
}

// Whatever stands in the namespace, it is read as a reader by reflection reads it, or refused.
func FuzzCarriedCall(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-26T23:34:38.123456789Z","method":"POST","path":"/v1/chat/completions","asked":"openai","provider":"openai","model":"gpt-5-mini",` +
		`"input_tokens_bound":252,"output_tokens_bound":200,"bound_usd":"0.000463","envelope":{"limit_usd":"0.000463","max_attempts":1,"mode":"enforce","unknown":"full"}}`))
	f.Add([]byte(`{"rewrites":[{"provider":"local","model":"m"}],"change":{"model":"m","sha256":"x"},"later":[1,{"at":2}],"stream":true,"choices":1e1}`))
	f.Add([]byte(`{"at":null,"envelope":null,"change":null,"rewrites":[],"path":"\ud800\u00e9\/"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want carriedCall
		if got.read(text) != nil {
			return
		}
		if err := jsonv2.Unmarshal(text, &want); err != nil { // the older one takes names in any case
			if bytes.ContainsAny(text, ".eE") { // a count may be written as 1e3, see walk.Cursor.Int
				return
			}
			t.Fatalf("read, and the oracle says %v: %s", err, text)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\nread as    %+v\nthe oracle %+v", text, got, want)
		}
	})
}

func BenchmarkCarriedCall(b *testing.B) {
	c := carriedCall{
		At: time.Unix(1795784693, 123456789).UTC(), Method: "POST", Path: "/v1/chat/completions", Asked: "openai", Provider: "openai", Model: "gpt-5-mini",
		InputBound: 252, OutputBound: 200, Bound: 463_000, Envelope: budget.Envelope{Limit: 463_000, Attempts: 1, Mode: budget.Enforce, Unknown: "full"},
		Input: 240, Choices: 1,
	}
	text := c.append(nil)
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			c.value()
		}
	})
	b.Run("read", func(b *testing.B) {
		var into carriedCall
		for b.Loop() {
			if err := into.read(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write by reflection", func(b *testing.B) {
		for b.Loop() {
			carried(c)
		}
	})
	b.Run("read by reflection", func(b *testing.B) {
		for b.Loop() {
			var into carriedCall
			if err := json.Unmarshal(text, &into); err != nil {
				b.Fatal(err)
			}
		}
	})
}
