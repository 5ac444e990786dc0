package signin

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keel/budget/audit/pages"
)

// provider is a small OpenID Connect provider, which knows one person.
type provider struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu     sync.Mutex
	claims map[string]any        // of whoever signs in next, over the usual ones
	begun  map[string]url.Values // code → what was asked
	secret string
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key, begun: make(map[string]url.Values), secret: "s3cret"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		p.mu.Lock()
		code := fmt.Sprint("code", len(p.begun))
		p.begun[code] = q
		p.mu.Unlock()
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("content-type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.begun[r.FormValue("code")]
	delete(p.begun, r.FormValue("code"))
	verifier := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	user, secret, basic := r.BasicAuth()
	if !basic {
		user, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if asked == nil || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(verifier[:]) || user != "keel" || secret != p.secret {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{"iss": p.URL, "aud": "keel", "sub": "7", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nonce": asked.Get("nonce"),
		"email": "ann@example.com", "email_verified": true, "groups": []string{"finance", "chess"}}
	maps.Copy(claims, p.claims)
	text, _ := json.Marshal(claims)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k"}}, nil)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		panic(err)
	}
	id, _ := signed.CompactSerialize()
	answer(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": id})
}

// site is pages with a sign-in: it answers with who looks, and what they may see.
type site struct {
	*httptest.Server
	*oidc
	client *http.Client
}

func newSite(t *testing.T, p *provider, change func(*Config)) *site {
	t.Helper()
	s := &site{}
	var handler http.Handler
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(s.Server.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(p.secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &Config{OIDC: &OIDCConfig{Issuer: p.URL, ClientID: "keel", ClientSecret: secret, Redirect: s.URL + callbackPath}, Groups: map[string][]string{"finance": {"acme"}, "admins": {"*"}}}
	if change != nil {
		change(c)
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	made, err := New(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.oidc = made.(*oidc)
	mux := http.NewServeMux()
	mux.Handle(beginPath, s.oidc)
	mux.HandleFunc(pages.Root, func(w http.ResponseWriter, r *http.Request) {
		if v := s.Viewer(w, r); v != nil {
			fmt.Fprint(w, r.URL.RequestURI(), " ", v.Name, " ", v.Orgs)
		}
	})
	handler = mux
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.client = &http.Client{Jar: jar}
	return s
}

func (s *site) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	r, err := s.client.Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, strings.TrimSpace(string(text))
}

// stop keeps the client from following an address, and returns it.
func (s *site) stop(t *testing.T, at string) (location *string) {
	location = new(string)
	s.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.Contains(r.URL.String(), at) {
			*location = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	t.Cleanup(func() { s.client.CheckRedirect = nil })
	return location
}

func TestSignInByOIDC(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	s := newSite(t, p, func(c *Config) { c.Users = map[string][]string{"ann@example.com": {"zeta"}} })
	status, body := s.get(t, pages.Root+"budgets?org=acme")
	if want := pages.Root + "budgets?org=acme ann@example.com [acme zeta]"; status != http.StatusOK || body != want {
		t.Fatalf("status %d: %s, want %s", status, body, want)
	}
	// The session is a cookie that no script reads and no other site makes the browser send with a form.
	at, _ := url.Parse(s.URL + pages.Root)
	if n := len(s.client.Jar.Cookies(at)); n != 1 {
		t.Errorf("%d cookies are left, want the session alone", n)
	}
	w := httptest.NewRecorder()
	if err := s.jar.set(w, sessionCookie, &session{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if c := w.Header().Get("set-cookie"); !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=Lax") || strings.Contains(c, "Secure") {
		t.Errorf("cookie %q", c)
	}
	// It ends with its time, whatever the browser does.
	s.jar.now = func() time.Time { return time.Now().Add(9 * time.Hour) }
	location := s.stop(t, p.URL)
	if s.get(t, pages.Root+"budgets"); *location == "" {
		t.Error("a session of yesterday is still good")
	}
	s.jar.now = time.Now
	s.client.CheckRedirect = nil
	r, err := s.client.Post(s.URL+outPath, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	for _, c := range s.client.Jar.Cookies(at) {
		if c.Name == sessionCookie {
			t.Error("the session is left after signing out")
		}
	}
}

// What the provider says must be true, and for us, and what is not said is not given.
func TestSignInRefuses(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for name, claims := range map[string]map[string]any{
		"another client": {"aud": "somebody else"}, "another issuer": {"iss": "https://elsewhere"}, "old": {"exp": time.Now().Add(-time.Hour).Unix()},
		"another sign-in": {"nonce": "x"}, "no name": {"email": nil}, "not verified": {"email_verified": false},
	} {
		p.claims = claims
		if status, body := newSite(t, p, nil).get(t, pages.Root+"budgets"); status != http.StatusForbidden || !strings.Contains(body, "sign-in failed") {
			t.Errorf("%s: status %d: %s", name, status, body)
		}
	}
	p.claims = nil
	for name, c := range map[string]struct {
		claims map[string]any
		change func(*Config)
		want   string
	}{
		"no group":       {map[string]any{"groups": nil}, nil, "[]"},
		"another group":  {map[string]any{"groups": []string{"chess"}}, nil, "[]"},
		"one group":      {map[string]any{"groups": "admins"}, nil, "[*]"},
		"groups of text": {map[string]any{"groups": []any{7, "finance"}}, nil, "[acme]"},
		"another claim":  {map[string]any{"roles": []string{"admins"}}, func(c *Config) { c.OIDC.Groups = "roles" }, "[*]"},
		"listed orgs":    {map[string]any{"orgs": []string{"a", "b"}}, func(c *Config) { c.OIDC.Orgs = "orgs" }, "[a acme b]"},
		"orgs not asked": {map[string]any{"orgs": []string{"a", "b"}}, nil, "[acme]"},
		"another name":   {map[string]any{"email": "x"}, func(c *Config) { c.OIDC.Name = "sub"; c.Users = map[string][]string{"7": {"seven"}} }, "7 [acme seven]"},
	} {
		p.claims = c.claims
		if status, body := newSite(t, p, c.change).get(t, pages.Root); status != http.StatusOK || !strings.HasSuffix(body, c.want) {
			t.Errorf("%s: status %d: %s, want %s", name, status, body, c.want)
		}
	}
	p.claims = nil
	p.mu.Lock()
	p.secret = "changed"
	p.mu.Unlock()
	s := newSite(t, p, nil)
	s.secret = "wrong"
	if status, _ := s.get(t, pages.Root); status != http.StatusForbidden {
		t.Errorf("a wrong secret: status %d", status)
	}
}

// A sign-in that was not begun here, or is ended twice, or comes late, gives nothing.
func TestCallbackIsForOneSignIn(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	s := newSite(t, p, nil)
	location := s.stop(t, callbackPath)
	s.get(t, pages.Root)
	back := strings.TrimPrefix(*location, s.URL)
	for _, address := range []string{callbackPath, callbackPath + "?code=code0&state=x", strings.Replace(back, "state=", "state=x", 1)} {
		other := newSite(t, p, nil)
		if status, body := other.get(t, address); status != http.StatusBadRequest || !strings.Contains(body, "not begun here") {
			t.Errorf("%s: status %d: %s", address, status, body)
		}
	}
	s.client.CheckRedirect = nil
	if status, body := s.get(t, back); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	if status, _ := s.get(t, back); status != http.StatusBadRequest {
		t.Errorf("a second time: status %d", status)
	}
	late := newSite(t, p, nil)
	location = late.stop(t, callbackPath)
	late.get(t, pages.Root)
	late.jar.now = func() time.Time { return time.Now().Add(signInTime) }
	if status, _ := late.get(t, strings.TrimPrefix(*location, late.URL)); status != http.StatusBadRequest {
		t.Errorf("too late: status %d", status)
	}
	if status, body := s.get(t, callbackPath+"?error=access_denied"); status != http.StatusBadRequest {
		t.Errorf("an error of nobody's sign-in: status %d: %s", status, body)
	}
}

func TestCookiesAreSigned(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	s, other := newSite(t, p, nil), newSite(t, p, nil)
	read := func(from *site, name string, value string) bool {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: name, Value: value})
		var into map[string]any
		return from.jar.get(r, name, &into)
	}
	w := httptest.NewRecorder()
	if err := s.jar.set(w, sessionCookie, &session{Name: "ann", Until: time.Now().Add(time.Hour).Unix()}, time.Hour); err != nil {
		t.Fatal(err)
	}
	good := w.Result().Cookies()[0].Value
	if !read(s, sessionCookie, good) {
		t.Fatal("the own cookie is not read")
	}
	body, signature, _ := strings.Cut(good, ".")
	forged := base64.RawURLEncoding.EncodeToString([]byte(`{"name":"root","groups":["admins"],"until":99999999999}`))
	for name, bad := range map[string]string{"forged": forged + "." + signature, "no signature": forged, "empty signature": body + ".", "cut": good[:len(good)-2], "garbage": "!.!"} {
		if read(s, sessionCookie, bad) {
			t.Errorf("%s is read", name)
		}
	}
	if read(s, signInCookie, good) {
		t.Error("a session is read as another cookie")
	}
	if read(other, sessionCookie, good) {
		t.Error("a cookie of another key is read")
	}
}

// Nobody is sent to another site.
func TestNextIsLocal(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		pages.Root + "budgets?org=a": pages.Root + "budgets?org=a", "": pages.Root, "https://evil.example": pages.Root, "//evil.example" + pages.Root: pages.Root,
		pages.Root + "..\\\\evil.example": pages.Root, beginPath + "out": pages.Root, pages.Root + "a\r\nset-cookie: x": pages.Root, "/metrics": pages.Root,
	} {
		if got := local(next); got != want {
			t.Errorf("%q: %q, want %q", next, got, want)
		}
	}
}

// A provider that is away is said, and found when it is back.
func TestProviderAway(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	s := newSite(t, p, nil)
	address := s.c.OIDC.Issuer
	s.c.OIDC.Issuer = "http://127.0.0.1:1"
	if status, body := s.get(t, pages.Root); status != http.StatusBadGateway || !strings.Contains(body, "can't be reached") {
		t.Errorf("status %d: %s", status, body)
	}
	s.c.OIDC.Issuer = address
	if status, _ := s.get(t, pages.Root); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}
