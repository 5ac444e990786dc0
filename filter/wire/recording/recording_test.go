package recording

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReader(t *testing.T) {
	t.Parallel()
	r := NewReader(strings.NewReader("{\"id\":\"a\",\"request_body\":\"{}\"}\r\n\n{\"id\":1}\nnonsense\n" +
		`{"id":"b","request_body_b64":"eA==","response_body_b64":"%","response_headers":{"content-encoding":"gzip","content-length":"3","date":"d"}}`))
	a, err := r.Next()
	if err != nil || a.ID != "a" || r.Line() != 1 {
		t.Fatalf("%+v, %v at line %d", a, err, r.Line())
	}
	if body, err := a.Request(); string(body) != "{}" || err != nil {
		t.Errorf("request %q, %v", body, err)
	}
	if body, err := a.Response(); body != nil || err != nil {
		t.Errorf("response %q, %v", body, err)
	}
	for _, line := range []int{3, 4} {
		_, err := r.Next()
		var bad *LineError
		if !errors.As(err, &bad) || bad.Line != line || !strings.Contains(err.Error(), "line ") {
			t.Errorf("line %d: %v", line, err)
		}
	}
	b, err := r.Next()
	if err != nil || b.ID != "b" || r.Line() != 5 {
		t.Fatalf("%+v, %v at line %d", b, err, r.Line())
	}
	if body, err := b.Request(); string(body) != "x" || err != nil {
		t.Errorf("request %q, %v", body, err)
	}
	if _, err := b.Response(); err == nil || !strings.Contains(err.Error(), "response_body_b64") {
		t.Errorf("broken base64: %v", err)
	}
	if h := Header(b.ResponseHeaders); h.Get("Date") != "d" || len(h) != 1 {
		t.Errorf("%v", h)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
	text, encoded := "a", "YQ=="
	if _, err := (&Exchange{RequestText: &text, RequestBase64: &encoded}).Request(); err == nil {
		t.Error("two bodies pass for one")
	}
}

// TestLongLine: a line longer than the reader's buffer is read whole, and the
// next one is found.
func TestLongLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<20)
	r := NewReader(strings.NewReader(`{"id":"` + long + `"}` + "\n" + `{"id":"b"}`))
	for _, want := range []string{long, "b"} {
		if x, err := r.Next(); err != nil || x.ID != want {
			t.Fatalf("%.20v, %v", x, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add("{\"id\":\"a\"}\n{}\n\nx")
	f.Fuzz(func(t *testing.T, lines string) {
		r := NewReader(strings.NewReader(lines))
		for n := 0; ; n++ {
			x, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if n > len(lines) {
				t.Fatal("more lines than bytes")
			}
			var bad *LineError
			if err != nil && !errors.As(err, &bad) {
				t.Fatal(err)
			}
			if err == nil {
				_, _ = x.Request()
				_, _ = x.Response()
			}
		}
	})
}
