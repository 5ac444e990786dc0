package tokens

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRender holds the rendering of tools to golden files: each holds a tool as APIs
// have it, a line ---, and what the model reads.
func TestRender(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/render/*.golden")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tool, want, ok := strings.Cut(string(content), "\n---\n")
		if !ok {
			t.Fatalf("%s has no ---", file)
		}
		if got := string(define(parse([]byte(tool))).appendType(nil)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
		}
	}
}

// TestRenderTotal: no definition makes rendering run away, and none is refused.
func TestRenderTotal(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat(`{"type":"object","properties":{"a":`, 500) + `{}` + strings.Repeat(`}}`, 500)
	bomb := `{"$defs":{` + strings.Repeat(`"x":{"anyOf":[{"$ref":"#/$defs/x"},{"$ref":"#/$defs/x"}]},`, 1) + `"y":{}},"type":"object","properties":{"a":{"$ref":"#/$defs/x"}}}`
	for _, parameters := range []string{nested, bomb, `{"properties":{"a":{"$ref":"#/properties/a"}}}`, `[]`, `null`, `"x"`, `{"properties":[1]}`} {
		tool := `{"name":"f","parameters":` + parameters + `}`
		if got := len(define(parse([]byte(tool))).appendType(nil)); got > 8*len(tool)+4096 {
			t.Errorf("%.60s… of %d bytes becomes %d", tool, len(tool), got)
		}
		c := gemma3.counter()
		if n, _ := c.listed(define(parse([]byte(tool)))); n > 8*int64(len(tool))+4096 {
			t.Errorf("%.60s… of %d bytes is %d tokens of texts", tool, len(tool), n)
		}
	}
}

func TestCompact(t *testing.T) {
	t.Parallel()
	const want = `{"name":"f","description":"a \"b\"  c","parameters":{"type":"object","x":[1,2]}}`
	for _, tool := range []string{
		"{ \"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"a \\\"b\\\"  c\",\n \"strict\": true, \"parameters\": {\"type\": \"object\", \"x\": [1, 2]}}}",
		`{"toolSpec":{"name":"f","description":"a \"b\"  c","inputSchema":{"json":{"type":"object","x":[1,2]}}}}`,
		`{"name":"f","description":"a \"b\"  c","input_schema":{"type":"object","x":[1,2]}}`,
	} {
		if got := string(define(parse([]byte(tool))).appendCompact(nil)); got != want {
			t.Errorf("%s becomes %s", tool, got)
		}
	}
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`a\nb\t\"\\\/`: "a\nb\t\"\\/", `\u00e9\u4e2d`: "é中", `\ud83d\ude00!`: "😀!", `\ud83dx`: "\ufffdx", `\u00`: "\x00", `\`: `\`, `plain`: "plain",
	} {
		if got := string(unescape(nil, []byte(in))); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add(`{"name":"f","description":"d","parameters":{"type":"object","properties":{"a":{"type":["string","null"],"enum":["x"]}},"required":["a"]}}`)
	f.Add(`{"function":{"name":"f","parameters":{"$defs":{"a":{"$ref":"#/$defs/a"}},"properties":{"x":{"$ref":"#/$defs/a"}}}}}`)
	f.Add(`{"name":"\u00`)
	f.Fuzz(func(t *testing.T, tool string) {
		d := define(parse([]byte(tool)))
		if n := len(d.appendType(nil)); n > 16*len(tool)+4096 {
			t.Errorf("%d bytes become %d", len(tool), n)
		}
		d.appendCompact(nil)
		c := gemma3.counter()
		if n, members := c.listed(d); n < 0 || n > 8*int64(len(tool))+4096 || members < 0 || members > 8*int64(len(tool))+4096 {
			t.Errorf("%d bytes are %d tokens of texts and %d members", len(tool), n, members)
		}
		if n := c.values([]byte(tool)); n < 0 || n > 2*int64(len(tool)) {
			t.Errorf("%d bytes are %d tokens of values", len(tool), n)
		}
	})
}

// TestListed: Google counts names, descriptions, formats, options and what is required, each by itself, and nothing of
// the JSON around them.
func TestListed(t *testing.T) {
	t.Parallel()
	c := gemma3.counter()
	for _, test := range []struct {
		tool    string
		texts   []string
		members int64
	}{
		{`{"name":"get_time"}`, []string{"get_time"}, 0},
		{`{"name":"f","description":"d d","parameters":{"type":"object","title":"T","properties":{"city":{"type":"string","description":"where","default":"x"},"unit":{"enum":["c","f"],"format":"enum"}},"required":["city"]}}`,
			[]string{"f", "d d", "city", "where", "unit", "enum", "c", "f", "city"}, 2},
		{`{"function":{"name":"f","parameters":{"$defs":{"A":{"description":"a","properties":{"x":{}}}},"properties":{"l":{"items":{"$ref":"#/$defs/A","description":"own"}},"o":{"anyOf":[{"description":"one"},{"type":"null"}]}}}}}`,
			[]string{"f", "l", "own", "x", "o", "one"}, 3},
	} {
		var want int64
		for _, text := range test.texts {
			want += c.text([]byte(text))
		}
		if n, members := c.listed(define(parse([]byte(test.tool)))); n != want || members != test.members {
			t.Errorf("%s: %d tokens and %d members, want %d and %d", test.tool, n, members, want, test.members)
		}
	}
	want := c.text([]byte("city")) + c.text([]byte("New York")) + c.text([]byte("days"))
	for _, values := range []string{`{"city":"New York","days":[3,true]}`, `"{\"city\":\"New York\",\"days\":3}"`} {
		if n := c.values([]byte(values)); n != want {
			t.Errorf("%s: %d tokens, want %d", values, n, want)
		}
	}
	if n, want := c.values([]byte(`"just text"`)), c.text([]byte("just text")); n != want {
		t.Errorf("a text is %d tokens, want %d", n, want)
	}
}
