package signin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"keel/budget/audit/pages"
)

// Cookies are JSON with a signature. They can be read by whoever has them, and made by nobody else.
const (
	sessionCookie = "keel_session"
	signInCookie  = "keel_sign_in"
)

// signInTime is how long somebody may take at the provider.
const signInTime = 10 * time.Minute

type jar struct {
	key    []byte
	secure bool // only over https
	now    func() time.Time
}

// session is who signed in.
type session struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups,omitempty"` // those that the configuration knows
	Orgs   []string `json:"orgs,omitempty"`   // as a claim lists them
	Until  int64    `json:"until"`            // Unix seconds
}

// underway is a sign-in that has begun.
type underway struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Next     string `json:"next"`
	Until    int64  `json:"until"`
}

func readKey(file string) ([]byte, error) {
	if file == "" {
		key := make([]byte, 32)
		_, err := rand.Read(key)
		return key, err
	}
	key, err := os.ReadFile(file)
	if err == nil && len(key) < 32 {
		err = fmt.Errorf("%s has %d bytes; 32 or more are needed", file, len(key))
	}
	return key, err
}

// mac is of one kind of cookie: a value of one is none of another.
func (j *jar) mac(name, value string) []byte {
	h := hmac.New(sha256.New, j.key)
	h.Write([]byte(name + "\x00" + value))
	return h.Sum(nil)
}

func (j *jar) set(w http.ResponseWriter, name string, value any, life time.Duration) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	body := base64.RawURLEncoding.EncodeToString(text)
	cookie := body + "." + base64.RawURLEncoding.EncodeToString(j.mac(name, body))
	if len(cookie) > 3800 {
		return errors.New("the provider lists too many groups for a cookie; map fewer of them")
	}
	http.SetCookie(w, &http.Cookie{Name: name, Value: cookie, Path: pages.Root, MaxAge: int(life.Seconds()), HttpOnly: true, Secure: j.secure, SameSite: http.SameSiteLaxMode})
	return nil
}

func (j *jar) drop(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: pages.Root, MaxAge: -1, HttpOnly: true, Secure: j.secure, SameSite: http.SameSiteLaxMode})
}

// get reads a cookie that was set here.
func (j *jar) get(r *http.Request, name string, into any) bool {
	cookie, err := r.Cookie(name)
	if err != nil {
		return false
	}
	body, signature, _ := strings.Cut(cookie.Value, ".")
	mac, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(mac, j.mac(name, body)) {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(body)
	return err == nil && json.Unmarshal(text, into) == nil
}
