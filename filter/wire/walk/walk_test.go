package walk

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"keel/filter/wire"
)

func TestRequestRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		offset     int64
		reason     string
	}{
		{"nothing", "", 0, "empty"},
		{"white space", " \n", 0, "empty"},
		{"array", `[]`, 0, "not an object"},
		{"string", `"model"`, 0, "not an object"},
		{"cut", `{"model":"a"`, 12, "early"},
		{"cut in a string", `{"model":"a`, 11, "early"},
		{"duplicate", `{"model":"a","model":"b"}`, 13, `duplicate key`},
		{"duplicate by escape", `{"model":"a","mod\u0065l":"b"}`, 13, `duplicate key`},
		{"duplicate deep in what nobody reads", `{"x":[{"y":{"z":1,"z":2}}]}`, 18, `duplicate key`},
		{"duplicate among many", many(40, `"n3":0`), 341, `duplicate key`},
		{"duplicate among many that nobody reads", `{"x":` + many(16, `"n15":0`) + `}`, 130, `duplicate key`},
		{"more data", `{} {}`, 2, "more data"},
		{"more garbage", `{}x`, 2, "invalid character"},
		{"bad UTF-8", "{\"a\":\"\xff\"}", 6, "UTF-8"},
		{"overlong UTF-8", "{\"a\":\"\xc0\xaf\"}", 6, "UTF-8"},
		{"bad UTF-8 in a name", "{\"\xff\":1}", 2, "UTF-8"},
		{"lone surrogate", `{"a":"\ud800"}`, 6, "surrogate"},
		{"byte order mark", "\ufeff{}", 0, "invalid character"},
		{"single quotes", `{'a':1}`, 1, "invalid character"},
		{"trailing comma", `{"a":1,}`, 6, "invalid character"},
		{"NaN", `{"a":NaN}`, 5, "invalid"},
		{"comment", `{/**/}`, 1, "invalid character"},
		{"control character", "{\"a\":\"\n\"}", 6, "invalid character"},
		{"deep", strings.Repeat(`{"a":`, 1001) + "1" + strings.Repeat("}", 1001), 5000, "deeper"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Request([]byte(test.body), func(*Cursor, []byte) error { return nil })
			var syntax *wire.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(syntax.Reason, test.reason) || syntax.Offset != test.offset {
				t.Errorf("%q at %d; want %q at %d", syntax.Reason, syntax.Offset, test.reason, test.offset)
			}
		})
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	skip := func(*Cursor, []byte) error { return nil }
	body := `{"a":` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `}`
	if _, err := Request([]byte(body), skip); err != nil {
		t.Error(err)
	}
	flat := `{"a":[` + strings.Repeat(`{"b":"\"[[["},`, 2000) + `{}]}`
	if _, err := Request([]byte(flat), skip); err != nil {
		t.Error(err)
	}
}

func TestResponseTakesWhatRequestDoesNot(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{`{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":"\ud83d"}`} {
		if err := Response([]byte(doc), func(c *Cursor, _ []byte) error { return c.Skip() }); err != nil {
			t.Errorf("%q: %v", doc, err)
		}
	}
	for _, doc := range []string{``, `{`, `{}}`, `[]`} {
		if err := Response([]byte(doc), func(c *Cursor, _ []byte) error { return c.Skip() }); err == nil {
			t.Errorf("%q is taken", doc)
		}
	}
}

// visit reads every member with one typed method and renders what it got.
func visit(c *Cursor, key []byte) (string, error) {
	var got any
	var err error
	switch string(key) {
	case "text":
		var text []byte
		text, err = c.Text()
		got = fmt.Sprintf("%q %v", text, text == nil)
	case "len":
		got, err = c.TextLen()
	case "bool":
		got, err = c.Bool()
	case "int":
		var n int64
		var ok bool
		n, ok, err = c.Int()
		got = fmt.Sprint(n, ok)
	case "object":
		keys := ""
		err = c.Object(func(key []byte) error { keys += string(key) + ","; return nil })
		got = keys
	case "array":
		n := 0
		err = c.Array(func() error { n++; return nil })
		got = n
	}
	return fmt.Sprintf("%s=%v", key, got), err
}

func TestCursor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		body string
		want string // rendered, or the error of Request where that is "field: …"
		soft string // what Response gives where it differs
	}{
		{`{"text":"a\"b"}`, `text="a\"b" false`, ""},
		{`{"te\u0078t":"\ud83d\ude00"}`, `text="😀" false`, ""},
		{`{"text":""}`, `text="" false`, ""},
		{`{"text":null}`, `text="" true`, ""},
		{`{"text":1}`, `text: must be a string`, `text="" true`},
		{`{"Text":"a"}`, `Text=<nil>`, ""},
		{`{"len":"a\u00e9\u20ac\ud83d\ude00\n\\"}`, `len=12`, ""},
		{`{"len":"é"}`, `len=2`, ""},
		{`{"bool":true}`, `bool=true`, ""},
		{`{"bool":null}`, `bool=false`, ""},
		{`{"bool":"true"}`, `bool: must be true or false`, `bool=false`},
		{`{"int":12}`, `int=12 true`, ""},
		{`{"int":-12}`, `int=-12 true`, ""},
		{`{"int":12.00}`, `int=12 true`, ""},
		{`{"int":1.2e1}`, `int=12 true`, ""},
		{`{"int":1200E-2}`, `int=12 true`, ""},
		{`{"int":0e9999}`, `int=0 true`, ""},
		{`{"int":9223372036854775807}`, `int=9223372036854775807 true`, ""},
		{`{"int":9223372036854775808}`, `int: must be an integer, not 9223372036854775808`, `int=0 false`},
		{`{"int":1e999999999}`, `int: must be an integer, not 1e999999999`, `int=0 false`},
		{`{"int":12.5}`, `int: must be an integer, not 12.5`, `int=0 false`},
		{`{"int":null}`, `int=0 false`, ""},
		{`{"int":"12"}`, `int: must be an integer`, `int=0 false`},
		{`{"object":{"a":{"b":1},"c":[]}}`, `object=a,c,`, ""},
		{`{"object":null}`, `object=`, ""},
		{`{"object":[]}`, `object: must be an object`, `object=`},
		{`{"array":[1,[2],{}]}`, `array=3`, ""},
		{`{"array":"x"}`, `array: must be an array`, `array=0`},
	}
	for _, test := range tests {
		var got string
		member := func(c *Cursor, key []byte) (err error) {
			got, err = visit(c, key)
			return err
		}
		_, err := Request([]byte(test.body), member)
		var field *wire.RequestError
		if errors.As(err, &field) {
			got = field.Field + ": " + field.Reason
		} else if err != nil {
			t.Errorf("%s: %v", test.body, err)
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.body, got, test.want)
		}
		soft := test.soft
		if soft == "" {
			soft = test.want
		}
		if err := Response([]byte(test.body), member); err != nil || got != soft {
			t.Errorf("%s as response: %s, %v; want %s", test.body, got, err, soft)
		}
	}
}

func TestFailNamesThePath(t *testing.T) {
	t.Parallel()
	_, err := Request([]byte(`{"messages":[{},{"content":{"a/b":7}}]}`), func(c *Cursor, key []byte) error {
		return c.Array(func() error {
			return c.Object(func([]byte) error {
				return c.Object(func([]byte) error {
					_, err := c.Text()
					return err
				})
			})
		})
	})
	var field *wire.RequestError
	if !errors.As(err, &field) || field.Field != "messages[1].content.a/b" {
		t.Errorf("%v", err)
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	body := []byte(` { "a" : "x" , "b":null,"c": {"d" : [1] } } `)
	want := map[string]string{"a": `"x"`, "b": "null", "c": `{"d" : [1] }`}
	root, err := Request(body, func(c *Cursor, key []byte) error {
		var err error
		if string(key) == "c" {
			err = c.Object(func([]byte) error { return nil })
		} else {
			err = c.Skip()
		}
		if got := string(body[c.Span().Start:c.Span().End]); got != want[string(key)] || got != string(c.Raw()) {
			t.Errorf("%s stands at %q, want %q", key, got, want[string(key)])
		}
		return err
	})
	if err != nil || string(body[root.Start:root.End]) != string(bytes.TrimSpace(body)) {
		t.Errorf("%v, root %q", err, body[root.Start:root.End])
	}
}

// value draws JSON with odd white space and escapes.
func value(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", " ", "\n\t"})
		switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
		case kind == 4 && depth > 0:
			return "[" + strings.Join(rapid.SliceOfN(value(depth-1), 0, 3).Draw(t, "elements"), space.Draw(t, "space")+",") + "]"
		case kind == 5 && depth > 0:
			return anObject(depth-1).Draw(t, "object")
		case kind == 1:
			return fmt.Sprint(rapid.Int32().Draw(t, "number"))
		case kind == 2:
			return rapid.SampledFrom([]string{"null", "true", "1.50", "1e3", `"\u0041\/"`}).Draw(t, "odd")
		}
		return string(Quote(rapid.String().Draw(t, "string")))
	})
}

func anObject(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", " ", "\r\n"})
		keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"model", "Model", "max_tokens", "n", "messages", "", "ü"}), 0, 5, rapid.ID).Draw(t, "keys")
		var list []string
		for _, key := range keys {
			list = append(list, space.Draw(t, "s")+string(Quote(key))+space.Draw(t, "s")+":"+value(depth).Draw(t, "value")+space.Draw(t, "s"))
		}
		return "{" + strings.Join(list, ",") + space.Draw(t, "s") + "}"
	})
}

func decode(t *rapid.T, body []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return v
}

func TestSpliceChangesOnlyWhatItNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := []byte(anObject(3).Draw(t, "body"))
		before := bytes.Clone(body)
		want := decode(t, body)
		var edits []Replacement
		root, err := Request(body, func(c *Cursor, key []byte) error {
			if !rapid.Bool().Draw(t, "edit") {
				return nil
			}
			err := c.Skip()
			edits = append(edits, Replacement{At: c.Span(), With: []byte(`"new"`)})
			want[string(key)] = "new"
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var added []byte
		for i := range rapid.IntRange(0, 2).Draw(t, "added") {
			name := fmt.Sprint("added", i)
			added = Member(added, name, Number(int64(i)))
			want[name] = json.Number(fmt.Sprint(i))
		}
		if added != nil {
			edits = append(edits, Insert(body, root, added))
		}
		got := Splice(body, edits...)
		if !reflect.DeepEqual(decode(t, got), want) {
			t.Fatalf("%s\nbecame\n%s\nwant %v", body, got, want)
		}
		if !bytes.Equal(body, before) {
			t.Fatal("the body itself was changed")
		}
		if len(edits) == 0 && &got[0] != &body[0] {
			t.Fatal("copied for nothing")
		}
		// All bytes that no edit names are there, in order.
		at := 0
		for _, e := range edits { // in order by now
			piece := body[at:e.At.Start]
			if !bytes.HasPrefix(got, piece) || !bytes.HasPrefix(got[len(piece):], e.With) {
				t.Fatalf("%q before the edit at %d became %q", piece, e.At.Start, got)
			}
			got, at = got[len(piece)+len(e.With):], e.At.End
		}
		if !bytes.Equal(got, body[at:]) {
			t.Fatalf("the end %q became %q", body[at:], got)
		}
	})
}

func TestSpliceRefusesForeignSpans(t *testing.T) {
	t.Parallel()
	for _, edits := range [][]Replacement{
		{{At: wire.Span{Start: 1, End: 9}}},
		{{At: wire.Span{Start: 2, End: 1}}},
		{{At: wire.Span{Start: 0, End: 2}}, {At: wire.Span{Start: 1, End: 2}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v is taken", edits)
				}
			}()
			Splice([]byte("{}  "), edits...)
		}()
	}
}

// TestSpecial has every byte at every place among others, and looks for the first that is special one by one.
func TestSpecial(t *testing.T) {
	t.Parallel()
	eight := func(x uint64) (b [8]byte) { binary.LittleEndian.PutUint64(b[:], x); return b }
	first := func(x uint64) int {
		b := eight(x)
		return slices.IndexFunc(b[:], func(c byte) bool { return c == '"' || c == '\\' || c < ' ' || c >= 0x80 })
	}
	check := func(x uint64) {
		want, got := first(x), -1
		if found := special(x) & tops; found != 0 {
			got = bits.TrailingZeros64(found) / 8
		}
		if got != want {
			t.Fatalf("the first that is special in %q is at %d, want %d", eight(x), got, want)
		}
	}
	for c := range uint64(256) {
		for place := range 8 {
			for _, others := range []uint64{' ', '!', '#', 'a', '[', ']', 0x7f, '"', '\\', 0x1f, 0, 0x80, 0xff} {
				check(others*ones&^(0xff<<(8*place)) | c<<(8*place))
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 200_000 {
		x := r.Uint64()
		check(x)
		check(x&^tops | ' '*ones)
	}
}

// TestStringsOfAllLengths has what a string may and may not hold at every place of strings that are longer than what is looked at together.
func TestStringsOfAllLengths(t *testing.T) {
	t.Parallel()
	for before := range 48 {
		for _, after := range []int{0, 1, 7, 8, 15, 16, 30} {
			for _, test := range []struct {
				inside  string
				ok, esc bool
			}{{"", true, false}, {"a", true, false}, {`\"`, true, true}, {`\\`, true, true}, {`\u00e9`, true, true}, {"é", true, false}, {"中", true, false}, {"\x01", false, false}, {"\n", false, false}, {"\xff", false, false}, {`\x`, false, true}, {"\x7f", true, false}} {
				text := `"` + strings.Repeat("a", before) + test.inside + strings.Repeat("b", after) + `"`
				for _, behind := range []string{"", `,"more than sixteen bytes behind it"`} {
					want := len(text)
					if !test.ok {
						want = -1
					}
					if end, escaped := scanString([]byte(text+behind), 0, false); end != want || test.ok && escaped != test.esc {
						t.Fatalf("%q ends at %d, escaped %v; want %d, %v", text+behind, end, escaped, want, test.esc)
					}
				}
			}
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{`{"text":"a","int":1e3,"array":[{}]}`, `{"len":"\ud83d\ude00\u00e9\\"}`, `{"object":{"a":1,"a":2}}`, "{\"a\":\"\xff\"}", `{"a":1}}`, `[[`,
		`{"漢字":"é😀\u00e9\\","b":[-0.5e+3,01,{"c":[]}],"d":tru}`, "{\"long enough\":\"for eight bytes at a time\x01\"}", many(17, ""), many(40, `"n3":0`)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		member := func(c *Cursor, key []byte) error {
			_, err := visit(c, key)
			if err == nil && string(key) == "len" && len(c.Raw()) > 0 && c.Raw()[0] == '"' {
				if want := len(unquote(c.Raw())); textLen(c.Raw()[1:len(c.Raw())-1]) != int64(want) && utf8.Valid(c.Raw()) {
					t.Errorf("%s: %d bytes, want %d", c.Raw(), textLen(c.Raw()[1:len(c.Raw())-1]), want)
				}
			}
			return err
		}
		_, err := Request(body, member)
		var field *wire.RequestError
		var syntax *wire.SyntaxError
		switch valid := jsontext.Value(body).IsValid(); {
		case err == nil && !valid:
			t.Error("broken JSON is taken")
		case errors.As(err, &syntax) && valid && bytes.TrimSpace(body)[0] == '{' && deepAt(body, MaxDepth) < 0:
			t.Errorf("good JSON is refused: %v", err)
		case err != nil && !errors.As(err, &syntax) && !errors.As(err, &field):
			t.Errorf("%T", err)
		case syntax != nil && (syntax.Offset < 0 || syntax.Offset > int64(len(body))):
			t.Errorf("offset %d of %d", syntax.Offset, len(body))
		}
		err = Response(body, member)
		loose := jsontext.Value(body).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		switch {
		case err == nil && !loose:
			t.Error("a broken response is taken")
		case err != nil && errors.As(err, &field):
			t.Errorf("Response: %v", err)
		case err != nil && loose && bytes.TrimSpace(body)[0] == '{' && deepAt(body, MaxDepth) < 0:
			t.Errorf("a good response is refused: %v", err)
		}
		if loose {
			compare(t, body)
		}
	})
}

// compare reads body member by member, and as jsontext does.
func compare(t *testing.T, body []byte) {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil || d.PeekKind() == 0 {
		return
	}
	err := Response(body, func(c *Cursor, key []byte) error {
		name, err := d.ReadValue()
		if err != nil || string(unquote(name)) != string(key) {
			t.Fatalf("name %q, want %q (%v)", key, name, err)
		}
		if kind := d.PeekKind(); byte(kind) != c.Kind() {
			t.Fatalf("kind %c of %q, want %c", c.Kind(), key, kind)
		}
		want, _ := d.ReadValue()
		got, err := c.Value()
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%q is %q, want %q", key, got, want)
		}
		return err
	})
	if err == nil && d.PeekKind() != '}' {
		t.Fatalf("members are left: %c", d.PeekKind())
	}
}

// many is an object with n names, and one member more.
func many(n int, more string) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"n%d":%d`, i, i))
	}
	if more != "" {
		list = append(list, more)
	}
	return "{" + strings.Join(list, ",") + "}"
}

// deepAt returns the offset where JSON nests deeper than most objects and arrays, or -1.
func deepAt(body []byte, most int) int {
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if depth++; depth > most {
				return i
			}
		case ']', '}':
			depth--
		}
	}
	return -1
}
