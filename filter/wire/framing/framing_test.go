package framing

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

func read(r *Reader, body string, size int, end bool) (docs []string) {
	document := func(doc []byte) error {
		if doc[0] != '{' {
			return errors.New("no object")
		}
		docs = append(docs, string(doc))
		return nil
	}
	for len(body) > 0 {
		n := min(size, len(body))
		r.Feed([]byte(body[:n]), false, document)
		body = body[n:]
	}
	r.Feed(nil, end, document)
	return docs
}

func TestReader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body       string
		end              bool
		docs             []string
		one, done, ended bool
	}{
		{"object", " \n{\"a\":1}\n", true, []string{`{"a":1}`}, true, false, true},
		{"object, open", `{"a":1}`, false, []string{`{"a":1}`}, true, false, false},
		{"object, cut", `{"a":`, true, nil, false, false, false},
		{"lines", "{}\n{}\n", true, []string{"{}", "{}"}, false, false, true},
		{"array", "[{},{}]", true, []string{"{}", "{}"}, true, false, true},
		{"events", "event: x\ndata: {}\n\ndata: {\"a\":1}\n\n", true, []string{"{}", `{"a":1}`}, false, false, true},
		{"events behind space", "  data: {}\n\n", true, []string{"{}"}, false, false, true},
		{"events, open", "data: {}\n\n", false, []string{"{}"}, false, false, false},
		{"events, one cut", "data: {}\n\ndata: {", true, []string{"{}"}, false, false, false},
		{"events, one of a text", "data: x\n\ndata: {}\n\n", true, []string{"{}"}, false, false, false},
		{"events with an end marker", "data: {}\n\ndata: [DONE]\n\n", false, []string{"{}"}, false, true, false},
		{"text", "Not Found", true, nil, false, false, false},
		{"nothing", "", true, nil, false, false, false},
	} {
		for _, size := range []int{1, 3, 1000} {
			var r Reader
			docs := read(&r, c.body, size, c.end)
			if !slices.Equal(docs, c.docs) || r.One() != c.one || r.Done() != c.done || r.Ended() != c.ended {
				t.Errorf("%s by %d: %q, one %v, done %v, ended %v", c.name, size, docs, r.One(), r.Done(), r.Ended())
			}
		}
	}
}

func TestFinish(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("ü", 400)
	for _, c := range []struct {
		body   string
		status int
		task   tokens.Task
		want   wire.Reading
	}{
		{`{"a":"bcd`, 200, tokens.Generate, wire.Reading{OutputBytes: 9}},
		{`{"a":"bcd`, 200, tokens.Embed, wire.Reading{}},
		{`{"a":"bcd`, 500, tokens.Generate, wire.Reading{}},
		{"Not Found\n", 404, tokens.Generate, wire.Reading{Failure: "Not Found"}},
		{"Not Found", 200, tokens.Generate, wire.Reading{}},
		{"data: {}\n\n", 500, tokens.Generate, wire.Reading{}},
		{page, 502, tokens.Generate, wire.Reading{Failure: page[:500]}},
		{"x" + page, 502, tokens.Generate, wire.Reading{Failure: "x" + page[:498]}},
	} {
		var r Reader
		read(&r, c.body, 7, true)
		var got wire.Reading
		r.Finish(&got, c.status, c.task)
		if got.OutputBytes != c.want.OutputBytes || got.Failure != c.want.Failure || !utf8.ValidString(got.Failure) {
			t.Errorf("%.20q: %d %q", c.body, got.OutputBytes, got.Failure)
		}
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`null`: "", `"no"`: "no", `{"message":"no","code":4}`: "no", `{"error":{"message":"no"}}`: "no",
		`[{"msg":"no"},"later"]`: "no", `[]`: "", `{}`: "", `{"code":4}`: `{"code":4}`, `7`: "7", `{"message":["no"]}`: "no",
	} {
		var got string
		err := walk.Response([]byte(`{"e":`+body+`}`), func(c *walk.Cursor, _ []byte) (err error) {
			got, err = Message(c)
			return err
		})
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", body, got, err, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add("data: {}\r\n\r\ndata: [DONE]\n\n", 3)
	f.Add("[{},{}]", 1)
	f.Add("{}\n{}", 2)
	f.Add("  data: {}\n\n", 2)
	f.Fuzz(func(t *testing.T, body string, size int) {
		var whole, cut Reader
		a, b := read(&whole, body, max(len(body), 1), true), read(&cut, body, 1+int(uint(size)%64), true)
		var x, y wire.Reading
		whole.Finish(&x, 502, tokens.Generate)
		cut.Finish(&y, 502, tokens.Generate)
		if !slices.Equal(a, b) || whole.One() != cut.One() || whole.Done() != cut.Done() || whole.Ended() != cut.Ended() || x.Failure != y.Failure {
			t.Fatalf("%q and %q", a, b)
		}
	})
}
