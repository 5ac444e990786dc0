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
	})
}
