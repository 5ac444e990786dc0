package ndjson

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// read feeds body cut at random, or whole for seed 0.
func read(r *Reader, body string, seed uint64) (objects []string) {
	random := rand.New(rand.NewPCG(seed, 1))
	for rest := []byte(body); len(rest) > 0; {
		n := len(rest)
		if seed > 0 {
			n = min(n, 1+random.IntN(9))
		}
		chunk := bytes.Clone(rest[:n])
		r.Feed(chunk)
		for r.Next() {
			objects = append(objects, string(r.Object()))
		}
		clear(chunk)
		rest = rest[n:]
	}
	return objects
}

func TestReader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       []string
		whole, one bool
		broken     bool
	}{
		{"nothing", "", nil, false, false, false},
		{"space", " \r\n", nil, false, false, false},
		{"object", `{"a":1}`, []string{`{"a":1}`}, true, true, false},
		{"object with space around", "\n { \"a\" :\n1} \n", []string{"{ \"a\" :\n1}"}, true, true, false},
		{"lines", "{\"a\":1}\n{}\r\n\n{\"b\":[{}]}\n", []string{`{"a":1}`, `{}`, `{"b":[{}]}`}, true, false, false},
		{"lines, the last without an end", "{}\n{}", []string{`{}`, `{}`}, true, false, false},
		{"lines, one cut", "{}\n{\"a\"", []string{`{}`}, false, false, false},
		{"lines, one of a number", "{}\n17\n{\"a\":1}\n", []string{`{}`, `{"a":1}`}, false, false, true},
		{"lines, one cut in a string", "{\"a\":\"x\n{\"b\":1}\n", []string{`{"b":1}`}, false, false, true},
		{"brackets in strings", `{"a":"}]\\\"}{["}`, []string{`{"a":"}]\\\"}{["}`}, true, true, false},
		{"array", "[{\"a\":1}\n,\r\n{}]\n", []string{`{"a":1}`, `{}`}, true, true, false},
		{"array, empty", `[]`, nil, true, true, false},
		{"array, one comma too many", `[{},]`, []string{`{}`}, true, true, false},
		{"array, cut", `[{},{`, []string{`{}`}, false, false, false},
		{"array, cut behind an element", `[{}`, []string{`{}`}, false, false, false},
		{"array of numbers", `[1,{}]`, nil, false, false, true},
		{"array and more", `[{}] {}`, []string{`{}`}, false, false, true},
		{"array without commas", `[{}{}]`, []string{`{}`}, false, false, true},
		{"text", "Not Found", nil, false, false, true},
	} {
		for seed := range uint64(10) {
			var r Reader
			got := read(&r, c.body, seed)
			if !slices.Equal(got, c.want) || r.Whole() != c.whole || r.One() != c.one || (r.Err() != nil) != c.broken {
				t.Errorf("%s, seed %d: %q, whole %v, one %v, %v", c.name, seed, got, r.Whole(), r.One(), r.Err())
				break
			}
		}
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	large := `{"a":"` + strings.Repeat("x", 50) + `"}`
	for _, body := range []string{large + "\n{\"b\":1}\n", "[" + large + `,{"b":1}]`} {
		for seed := range uint64(10) {
			r := Reader{limit: 20}
			if got := read(&r, body, seed); !slices.Equal(got, []string{`{"b":1}`}) || r.Err() == nil || r.Whole() {
				t.Errorf("seed %d: %q, %v", seed, got, r.Err())
			}
		}
	}
}

func TestPending(t *testing.T) {
	t.Parallel()
	var r Reader
	for _, c := range []struct {
		chunk string
		want  int64
	}{{"[ ", 0}, {`{"a"`, 4}, {`:1`, 6}, {"}", 0}, {`,{`, 1}} {
		r.Feed([]byte(c.chunk))
		for r.Next() {
		}
		if r.Pending() != c.want {
			t.Errorf("behind %q: %d pending, want %d", c.chunk, r.Pending(), c.want)
		}
	}
}

// TestObjects: whatever JSON stands in lines or in an array comes out as it stands.
func TestObjects(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for range rapid.IntRange(0, 5).Draw(t, "objects") {
			object := map[string]any{
				rapid.String().Draw(t, "key"): rapid.String().Draw(t, "value"),
				"n":                           []any{map[string]any{"}": "{"}, rapid.Int().Draw(t, "n")},
			}
			line, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
		seed := rapid.Uint64().Draw(t, "seed")
		for _, body := range []string{strings.Join(lines, "\n"), "[" + strings.Join(lines, ",") + "]"} {
			var r Reader
			if got := read(&r, body, seed); !slices.Equal(got, lines) || r.Err() != nil {
				t.Fatalf("%q, %v of %q", got, r.Err(), body)
			}
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add("{\"a\":1}\n{\"b\":\"}\"}\n", uint64(3))
	f.Add(`[{"a":[{}]},{}]`, uint64(4))
	f.Add("{\"a\":\"\n{}\n]", uint64(5))
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		var whole, cut Reader
		a, b := read(&whole, body, 0), read(&cut, body, seed|1)
		if !slices.Equal(a, b) || whole.Whole() != cut.Whole() || whole.One() != cut.One() || whole.Pending() != cut.Pending() {
			t.Fatalf("%q and %q", a, b)
		}
		if json.Valid([]byte(body)) && strings.HasPrefix(strings.TrimLeft(body, " \t\r\n"), "{") && (len(a) != 1 || !whole.One()) {
			t.Fatalf("one object reads as %q", a)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	line := `{"model":"m","created_at":"2025-08-20T13:48:23.241046Z","message":{"role":"assistant","content":"Hello"},"done":false}` + "\n"
	body := []byte(strings.Repeat(line, 100))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var r Reader
		r.Feed(body)
		for r.Next() {
		}
	}
}
