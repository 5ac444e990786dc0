package signin

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sign-in.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const headerConfig = `
header: {peers: [10.1.0.0/16, "::1"], user: x-forwarded-user, groups: x-forwarded-groups, orgs: x-forwarded-orgs}
groups: {finance: ["*"], acme-leads: [acme]}
users: {bob: [beta]}
`

func TestSignInByHeader(t *testing.T) {
	t.Parallel()
	c, err := Read(write(t, headerConfig))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		peer    string
		headers []string
		status  int
		want    string
	}{
		{"10.1.2.3:4", []string{"x-forwarded-user: ann", "x-forwarded-groups: acme-leads, chess"}, 200, "ann [acme]"},
		{"10.1.2.3:4", []string{"x-forwarded-user: ann", "x-forwarded-groups: chess", "x-forwarded-groups: finance"}, 200, "ann [*]"},
		{"10.1.2.3:4", []string{"x-forwarded-user: bob", "x-forwarded-orgs: gamma, delta"}, 200, "bob [beta delta gamma]"},
		{"[::1]:4", []string{"x-forwarded-user: bob"}, 200, "bob [beta]"},
		{"[::ffff:10.1.2.3]:4", []string{"x-forwarded-user: bob"}, 200, "bob [beta]"},
		{"10.1.2.3:4", []string{"x-forwarded-user: nobody"}, 200, "nobody []"},
		{"10.1.2.3:4", nil, 401, "named nobody"},
		{"10.1.2.3:4", []string{"x-forwarded-user: "}, 401, "named nobody"},
		{"10.1.2.3:4", []string{"x-forwarded-user: ann", "x-forwarded-user: bob"}, 401, "named nobody"},
		{"10.2.2.3:4", []string{"x-forwarded-user: ann"}, 403, "did not come through it"},
		{"127.0.0.1:4", []string{"x-forwarded-user: ann", "x-forwarded-for: 10.1.2.3"}, 403, "did not come through it"},
		{"@", []string{"x-forwarded-user: ann"}, 403, "did not come through it"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		for _, h := range c.headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Add(name, value)
		}
		w := httptest.NewRecorder()
		if v := s.Viewer(w, r); v != nil {
			fmt.Fprint(w, v.Name, " ", v.Orgs)
		}
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%+v: status %d: %s", c, w.Code, w.Body)
		}
	}
}

// Where nobody signs in, only this machine's own names are answered.
func TestNobody(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]int{"127.0.0.1:10001": 200, "localhost:10001": 200, "[::1]:10001": 200, "127.0.0.1": 200, "evil.example:10001": 403, "127.0.0.1.evil.example": 403, "": 403} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		if v := (Nobody{}).Viewer(w, r); (v != nil) != (want == 200) || v != nil && !v.May("anything") {
			t.Errorf("%q: %+v", host, v)
		}
		if w.Code != want {
			t.Errorf("%q: status %d", host, w.Code)
		}
	}
}

// A file that says something else than what is meant is refused, and says what to do.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	const groups = "\ngroups: {a: [b]}"
	for text, want := range map[string]string{
		"groups: {a: [b]}": "one of header and oidc",
		"header: {peers: [10.0.0.1], user: u}\noidc: {issuer: x}" + groups: "one of header and oidc",
		"header: {peers: [10.0.0.1], user: u}":                             "nobody may see anything",
		"header: {user: u}" + groups:                                       "whoever else calls could name anybody",
		"header: {peers: [10.0.0.1]}" + groups:                             "name the header with the user",
		"header: {peers: [ten], user: u}" + groups:                         "\"ten\" is neither an address nor a network",
		"header: {peers: [10.0.0.1], user: u, users: x}" + groups:          "unknown field \"users\"",
		"oidc: {issuer: \"http://idp.example\", client_id: k, redirect_url: \"https://k/review/sign-in/callback\"}" + groups:                                                    "is no https address",
		"oidc: {issuer: \"https://idp.example\", redirect_url: \"https://k/review/sign-in/callback\"}" + groups:                                                                 "client_id is missing",
		"oidc: {issuer: \"https://idp.example\", client_id: k, redirect_url: \"https://k/callback\"}" + groups:                                                                  "that ends in /review/sign-in/callback",
		"oidc: {issuer: \"https://idp.example\", client_id: k, redirect_url: \"http://k/review/sign-in/callback\"}" + groups:                                                    "is no https address",
		"oidc: {issuer: \"https://idp.example\", client_id: k, redirect_url: \"https://k/review/sign-in/callback\", session_key_file: /nonexistent, session: 1h}" + groups + "": "",
	} {
		c, err := Read(write(t, text))
		if want == "" && err == nil {
			if _, err = New(c, slog.Default()); err == nil || !strings.Contains(err.Error(), "session key") {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	short := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(short, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readKey(short); err == nil || !strings.Contains(err.Error(), "32 or more") {
		t.Error(err)
	}
	if _, err := Read("/nonexistent"); err == nil {
		t.Error("a file that is not there")
	}
}

// The examples of docs/review.md are files that are taken.
func TestDocumentedFiles(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../../docs/review.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples, want one of a proxy and one of a provider", len(blocks))
	}
	for _, b := range blocks {
		if _, err := Read(write(t, b[1])); err != nil {
			t.Errorf("%v in\n%s", err, b[1])
		}
	}
}
