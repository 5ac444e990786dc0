package signin

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"keel/budget/audit/pages"
)

// Config says who people are and what they may see. One of Header and OIDC is set.
type Config struct {
	Header *HeaderConfig       `yaml:"header"`
	OIDC   *OIDCConfig         `yaml:"oidc"`
	Groups map[string][]string `yaml:"groups"` // group → orgs; "*" is all
	Users  map[string][]string `yaml:"users"`  // name → orgs
}

// HeaderConfig is a reverse proxy that signs people in.
type HeaderConfig struct {
	Peers  []string `yaml:"peers"`  // addresses that the proxy calls from: 10.0.0.0/8, 127.0.0.1
	User   string   `yaml:"user"`   // header with the name of who calls
	Groups string   `yaml:"groups"` // header with their groups, separated by commas; "" for none
	Orgs   string   `yaml:"orgs"`   // header with the orgs that they may see, separated by commas; "" for none

	trusted []netip.Prefix
}

// OIDCConfig is an OpenID Connect provider.
type OIDCConfig struct {
	Issuer       string        `yaml:"issuer"`
	ClientID     string        `yaml:"client_id"`
	ClientSecret string        `yaml:"client_secret_file"` // its file; "" for a public client
	Redirect     string        `yaml:"redirect_url"`       // of the pages, as browsers see it: https://keel.example/review/sign-in/callback
	Scopes       []string      `yaml:"scopes"`             // beside openid; email and profile when empty
	Name         string        `yaml:"name_claim"`         // email when empty
	Groups       string        `yaml:"groups_claim"`       // groups when empty
	Orgs         string        `yaml:"orgs_claim"`         // a claim that lists orgs; "" for none
	SessionKey   string        `yaml:"session_key_file"`   // 32 bytes or more, the same for all replicas; "": sessions end with the process
	Session      time.Duration `yaml:"session"`            // 8 hours when 0
}

// Read reads a file. Unknown fields are refused with file, line and a caret.
func Read(file string) (*Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("sign-in: %w", err)
	}
	c := &Config{}
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("sign-in: %s: %s", file, yaml.FormatError(err, false, true))
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("sign-in: %s: %w", file, err)
	}
	return c, nil
}

func (c *Config) check() error {
	if (c.Header == nil) == (c.OIDC == nil) {
		return errors.New("give one of header and oidc")
	}
	lists := c.Header != nil && c.Header.Orgs != "" || c.OIDC != nil && c.OIDC.Orgs != ""
	if len(c.Groups) == 0 && len(c.Users) == 0 && !lists {
		return errors.New("nobody may see anything: say under groups, or users, which organisations are whose")
	}
	if c.Header != nil {
		return c.Header.check()
	}
	return c.OIDC.check()
}

func (h *HeaderConfig) check() error {
	if h.User == "" {
		return errors.New("header: name the header with the user, such as user: x-forwarded-user")
	}
	if len(h.Peers) == 0 {
		return errors.New("header: say under peers from which addresses the proxy calls; whoever else calls could name anybody")
	}
	for _, text := range h.Peers {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			address, single := netip.ParseAddr(text)
			if single != nil {
				return fmt.Errorf("header: peer %q is neither an address nor a network like 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		h.trusted = append(h.trusted, prefix)
	}
	return nil
}

func (o *OIDCConfig) check() error {
	issuer, err := url.Parse(o.Issuer)
	if err != nil || issuer.Host == "" || issuer.Scheme != "https" && !loopback(issuer.Hostname()) {
		return fmt.Errorf("oidc: issuer %q is no https address", o.Issuer)
	}
	if o.ClientID == "" {
		return errors.New("oidc: client_id is missing")
	}
	redirect, err := url.Parse(o.Redirect)
	if err != nil || redirect.Host == "" || redirect.Scheme != "https" && !loopback(redirect.Hostname()) || redirect.Path != callbackPath {
		return fmt.Errorf("oidc: redirect_url %q is no https address that ends in %s", o.Redirect, callbackPath)
	}
	return nil
}

// New makes the sign-in that c describes.
func New(c *Config, log *slog.Logger) (pages.SignIn, error) {
	if c.Header != nil {
		return &header{c}, nil
	}
	return newOIDC(c, log)
}

// orgs are what somebody may see.
func (c *Config) orgs(name string, groups, listed []string) []string {
	all := slices.Clone(listed)
	all = append(all, c.Users[name]...)
	for _, g := range groups {
		all = append(all, c.Groups[g]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// words are what is between commas.
func words(values []string) (all []string) {
	for _, v := range values {
		for word := range strings.SplitSeq(v, ",") {
			if word = strings.TrimSpace(word); word != "" {
				all = append(all, word)
			}
		}
	}
	return all
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
