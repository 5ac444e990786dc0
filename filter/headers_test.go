package filter

import (
	"net/http"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"pgregory.net/rapid"

	"keel/filter/frame"
)

// TestHeaders has an http.Header of the same headers say what is in them.
func TestHeaders(t *testing.T) {
	t.Parallel()
	name := rapid.OneOf(rapid.SampledFrom([]string{"content-type", "Content-Type", "content-length", "CONTENT-LENGTH", "x-keel-team", "X-Keel-Tear", "\u212aeel", "keel", "content-\u017f"}), rapid.StringMatching(`[a-zA-Z-]{1,3}`))
	rapid.Check(t, func(t *rapid.T) {
		m, want := new(corev3.HeaderMap), make(http.Header)
		line, logged := loggedHeaders(nil), make(http.Header)
		for range rapid.IntRange(0, 6).Draw(t, "headers") {
			h := &corev3.HeaderValue{Key: name.Draw(t, "name")}
			value := rapid.StringMatching(`[a-z0-9]{0,3}`).Draw(t, "value")
			if rapid.Bool().Draw(t, "raw") {
				h.RawValue = []byte(value)
			} else {
				h.Value = value
			}
			m.Headers = append(m.Headers, h)
			want.Add(h.Key, value)
			line = append(line, frame.Header{Name: []byte(h.Key), Value: []byte(value)})
			logged.Set(h.Key, value)
		}
		for _, asked := range []string{"content-type", "content-length", "x-keel-team", "keel", "a", "ab", "missing"} {
			if got := (*headerMap)(m).Get(asked); got != want.Get(asked) {
				t.Fatalf("%s is %q in %v, want %q", asked, got, m, want.Get(asked))
			}
			if got := line.Get(asked); got != logged.Get(asked) {
				t.Fatalf("%s is %q in a line with %v, want %q", asked, got, m, logged.Get(asked))
			}
		}
	})
	if got := (*headerMap)(nil).Get("content-type"); got != "" {
		t.Errorf("no headers say %q", got)
	}
	for value, want := range map[string]int{"200": 200, "": 0, "x": 0} {
		m := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "a", Value: "1"}, {Key: ":status", RawValue: []byte(value)}}}
		if got := (*headerMap)(m).status(); got != want {
			t.Errorf("%q is status %d, want %d", value, got, want)
		}
	}
	if got := (*headerMap)(nil).status(); got != 0 {
		t.Errorf("no headers have status %d", got)
	}
}
