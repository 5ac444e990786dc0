package record

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"keel/budget"
	"keel/pricing/meter"
)

var update = flag.Bool("update", false, "rewrite the golden records: only with a new format number, or before a release")

// leftOut are the fields that a record does not keep, on purpose.
var leftOut = map[string]bool{"Decision.Call.Prompt": true, "Decision.Call.Routable": true, "Decision.Alternatives": true, "Decision.Budgets": true}

// fill sets everything in v to something that is not zero, each to something else.
func fill(v reflect.Value, path string, n *int64) {
	if leftOut[path] {
		return
	}
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(1_790_000_000+*n, *n*1000).UTC()
		return
	case *meter.Kind:
		*x = meter.Kind(*n % int64(meter.NumKinds))
		return
	case *uuid.UUID:
		*x = uuid.NewSHA1(uuid.Nil, []byte(path))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(*n * 1_000_003 * (1 - 2*(*n%2)))
	case reflect.Uint8:
		v.SetUint(uint64(*n%17) + 1)
	case reflect.String:
		v.SetString(fmt.Sprint(path, *n))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), path+"."+v.Type().Field(i).Name, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), path, n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), path, n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), path, n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range 20 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			key.SetString(fmt.Sprint("key", i))
			fill(value, path, n)
			v.SetMapIndex(key, value)
		}
	default:
		panic("a field of kind " + v.Kind().String() + ": " + path)
	}
}

func filled[T any](t testing.TB) *T {
	v := new(T)
	n := int64(0)
	fill(reflect.ValueOf(v).Elem(), reflect.TypeFor[T]().Name(), &n)
	return v
}

// TestEveryFieldIsKept fails when somebody adds a field that the codec does not carry.
func TestEveryFieldIsKept(t *testing.T) {
	keeps(t, "decision", AppendDecision, DecodeDecision)
	keeps(t, "closeout", AppendCloseout, DecodeCloseout)
	keeps(t, "return", AppendReturn, DecodeReturn)
	keeps(t, "response", AppendResponse, DecodeResponse)
}

func keeps[T any](t *testing.T, name string, encode func([]byte, *T) []byte, decode func([]byte) (*T, error)) {
	t.Run(name, func(t *testing.T) {
		for _, want := range []*T{filled[T](t), new(T)} {
			got, err := decode(encode(nil, want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-wrote +read\n%s", diff)
			}
		}
		b := encode([]byte("before"), filled[T](t))[len("before"):]
		golden(t, name, b)
		for end := range b {
			if _, err := decode(b[:end]); err == nil {
				t.Fatalf("cut after %d of %d bytes: no error", end, len(b))
			}
		}
		if _, err := decode(append(bytes.Clone(b), 0)); err == nil || !strings.Contains(err.Error(), "1 bytes too many") {
			t.Errorf("a byte too many: %v", err)
		}
		b[0] = 9
		if _, err := decode(b); err == nil || !strings.Contains(err.Error(), "format 9, this program reads 1") {
			t.Errorf("another format: %v", err)
		}
	})
}

// golden pins the format: journals outlive the program that wrote them.
func golden(t *testing.T, name string, b []byte) {
	path := filepath.Join("testdata", name+".hex")
	var lines strings.Builder
	for len(b) > 0 {
		n := min(len(b), 64)
		lines.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	if *update {
		if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != lines.String() {
		t.Errorf("the format differs from %s: journals that are out there could not be read; raise the format number", path)
	}
}

func fuzz[T any](f *testing.F, encode func([]byte, *T) []byte, decode func([]byte) (*T, error)) {
	f.Add(encode(nil, filled[T](f)))
	f.Add(encode(nil, new(T)))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(encode(nil, v))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, again); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzDecodeDecision(f *testing.F) { fuzz(f, AppendDecision, DecodeDecision) }
func FuzzDecodeCloseout(f *testing.F) { fuzz(f, AppendCloseout, DecodeCloseout) }
func FuzzDecodeReturn(f *testing.F)   { fuzz(f, AppendReturn, DecodeReturn) }
func FuzzDecodeResponse(f *testing.F) { fuzz(f, AppendResponse, DecodeResponse) }

// BenchmarkAppendDecision writes the intent of a call with six holds.
func BenchmarkAppendDecision(b *testing.B) {
	d := filled[budget.Decision](b)
	d.Subject = budget.Subject{"org": "acme", "team": "research", "user": "ada", "app": "ide", "key": "k-7"}
	d.Shape.Bytes = map[string]int64{"text": 2000, "tool": 300}
	d.Denial = nil
	for len(d.Holds) < 6 {
		d.Holds = append(d.Holds, d.Holds[0])
	}
	for len(d.Rules) < 10 {
		d.Rules = append(d.Rules, d.Rules[0])
	}
	buffer := AppendDecision(nil, d)
	b.ReportMetric(float64(len(buffer)), "bytes")
	b.ReportAllocs()
	for b.Loop() {
		buffer = AppendDecision(buffer[:0], d)
	}
}

func BenchmarkDecodeDecision(b *testing.B) {
	record := AppendDecision(nil, filled[budget.Decision](b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeDecision(record); err != nil {
			b.Fatal(err)
		}
	}
}
