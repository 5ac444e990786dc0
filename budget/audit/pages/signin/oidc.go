package signin

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"keel/budget/audit/pages"
)

// Where a browser begins, comes back to, and signs out.
const (
	beginPath    = pages.Root + "sign-in/"
	callbackPath = pages.Root + "sign-in/callback"
	outPath      = pages.Root + "sign-in/out"
)

// askTime bounds what is asked of the provider.
const askTime = 10 * time.Second

// oidc is the authorization code flow with PKCE. The provider is looked up when somebody first signs in: that it
// is away must not keep a processor from starting.
type oidc struct {
	c      *Config
	log    *slog.Logger
	jar    jar
	secret string
	mux    *http.ServeMux
	found  atomic.Pointer[discovered]
}

type discovered struct {
	oauth2   oauth2.Config
	verifier *gooidc.IDTokenVerifier
}

func newOIDC(c *Config, log *slog.Logger) (*oidc, error) {
	o := &oidc{c: c, log: log, mux: http.NewServeMux(), jar: jar{secure: strings.HasPrefix(c.OIDC.Redirect, "https:"), now: time.Now}}
	var err error
	if o.jar.key, err = readKey(c.OIDC.SessionKey); err != nil {
		return nil, fmt.Errorf("sign-in: session key: %w", err)
	}
	if c.OIDC.ClientSecret != "" {
		secret, err := os.ReadFile(c.OIDC.ClientSecret)
		if err != nil {
			return nil, fmt.Errorf("sign-in: client secret: %w", err)
		}
		o.secret = strings.TrimSpace(string(secret))
	}
	c.OIDC.Session = cmp.Or(c.OIDC.Session, 8*time.Hour)
	c.OIDC.Name, c.OIDC.Groups = cmp.Or(c.OIDC.Name, "email"), cmp.Or(c.OIDC.Groups, "groups")
	if len(c.OIDC.Scopes) == 0 {
		c.OIDC.Scopes = []string{"email", "profile"}
	}
	o.mux.HandleFunc("GET "+beginPath+"{$}", o.begin)
	o.mux.HandleFunc("GET "+callbackPath, o.callback)
	o.mux.HandleFunc("POST "+outPath, o.out)
	o.mux.HandleFunc("GET "+outPath, o.signedOut)
	return o, nil
}

// ServeHTTP answers what is below the path of the sign-in.
func (o *oidc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("cache-control", "no-store")
	o.mux.ServeHTTP(w, r)
}

// Viewer implements pages.SignIn.
func (o *oidc) Viewer(w http.ResponseWriter, r *http.Request) *pages.Viewer {
	var s session
	if o.jar.get(r, sessionCookie, &s) && o.jar.now().Unix() < s.Until {
		return &pages.Viewer{Name: s.Name, Orgs: o.c.orgs(s.Name, s.Groups, s.Orgs), SignOut: outPath}
	}
	http.Redirect(w, r, beginPath+"?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
	return nil
}

// provider finds the provider's addresses and keys.
func (o *oidc) provider(ctx context.Context) (*discovered, error) {
	if found := o.found.Load(); found != nil {
		return found, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	p, err := gooidc.NewProvider(ctx, o.c.OIDC.Issuer)
	if err != nil {
		return nil, err
	}
	found := &discovered{
		oauth2: oauth2.Config{ClientID: o.c.OIDC.ClientID, ClientSecret: o.secret, Endpoint: p.Endpoint(), RedirectURL: o.c.OIDC.Redirect,
			Scopes: append([]string{gooidc.ScopeOpenID}, o.c.OIDC.Scopes...)},
		// Keys are fetched later too, so not on the context that ends here.
		verifier: p.VerifierContext(context.WithoutCancel(ctx), &gooidc.Config{ClientID: o.c.OIDC.ClientID, Now: o.jar.now}),
	}
	o.found.Store(found)
	return found, nil
}

func (o *oidc) begin(w http.ResponseWriter, r *http.Request) {
	p, err := o.provider(r.Context())
	if err != nil {
		o.fail(w, http.StatusBadGateway, "the sign-in provider can't be reached; try again", err)
		return
	}
	u := underway{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: local(r.URL.Query().Get("next")), Until: o.jar.now().Add(signInTime).Unix()}
	if err := o.jar.set(w, signInCookie, &u, signInTime); err != nil {
		o.fail(w, http.StatusInternalServerError, "sign-in failed", err)
		return
	}
	http.Redirect(w, r, p.oauth2.AuthCodeURL(u.State, gooidc.Nonce(u.Nonce), oauth2.S256ChallengeOption(u.Verifier)), http.StatusSeeOther)
}

// local is an address of the pages, whatever was asked for: nobody is sent elsewhere.
func local(next string) string {
	if !strings.HasPrefix(next, pages.Root) || strings.HasPrefix(next, beginPath) || strings.ContainsAny(next, "\\\r\n") {
		return pages.Root
	}
	return next
}

func (o *oidc) callback(w http.ResponseWriter, r *http.Request) {
	var u underway
	there := o.jar.get(r, signInCookie, &u) && o.jar.now().Unix() < u.Until
	o.jar.drop(w, signInCookie) // for one use
	q := r.URL.Query()
	if !there || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(u.State)) != 1 {
		o.fail(w, http.StatusBadRequest, "this sign-in was not begun here, or took too long; begin again at "+pages.Root, errors.New("state is not ours"))
		return
	}
	if said := q.Get("error"); said != "" {
		o.fail(w, http.StatusForbidden, "the sign-in provider refused", fmt.Errorf("%q: %q", said, q.Get("error_description")))
		return
	}
	s, err := o.exchange(r.Context(), q.Get("code"), &u)
	if err != nil {
		o.fail(w, http.StatusForbidden, "sign-in failed; begin again at "+pages.Root, err)
		return
	}
	if err := o.jar.set(w, sessionCookie, s, o.c.OIDC.Session); err != nil {
		o.fail(w, http.StatusInternalServerError, "sign-in failed", err)
		return
	}
	http.Redirect(w, r, u.Next, http.StatusSeeOther)
}

// exchange makes a session of a code.
func (o *oidc) exchange(ctx context.Context, code string, u *underway) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	p, err := o.provider(ctx)
	if err != nil {
		return nil, err
	}
	token, err := p.oauth2.Exchange(ctx, code, oauth2.VerifierOption(u.Verifier))
	if err != nil {
		return nil, err
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("the provider sent no ID token")
	}
	id, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(u.Nonce)) != 1 {
		return nil, errors.New("the ID token is of another sign-in")
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return nil, err
	}
	return o.session(claims)
}

func (o *oidc) session(claims map[string]any) (*session, error) {
	c := o.c.OIDC
	s := &session{Until: o.jar.now().Add(c.Session).Unix()}
	if s.Name, _ = claims[c.Name].(string); s.Name == "" {
		return nil, fmt.Errorf("the ID token has no claim %q with a name", c.Name)
	}
	if verified, said := claims["email_verified"].(bool); c.Name == "email" && said && !verified {
		return nil, fmt.Errorf("the provider has not verified the address %q", s.Name)
	}
	for _, g := range list(claims[c.Groups]) {
		if _, known := o.c.Groups[g]; known {
			s.Groups = append(s.Groups, g)
		}
	}
	if c.Orgs != "" {
		s.Orgs = list(claims[c.Orgs])
	}
	return s, nil
}

// list reads a claim that is a string or several.
func list(claim any) (all []string) {
	switch v := claim.(type) {
	case string:
		return words([]string{v})
	case []any:
		for _, one := range v {
			if text, ok := one.(string); ok && text != "" {
				all = append(all, text)
			}
		}
	}
	return all
}

func (o *oidc) out(w http.ResponseWriter, r *http.Request) {
	o.jar.drop(w, sessionCookie)
	http.Redirect(w, r, outPath, http.StatusSeeOther)
}

func (o *oidc) signedOut(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "You are signed out here. The sign-in provider may still know you.")
}

// fail tells whoever signs in what to do, and the log why.
func (o *oidc) fail(w http.ResponseWriter, status int, text string, err error) {
	o.log.Warn("review pages: sign-in failed", "error", err)
	http.Error(w, text, status)
}
