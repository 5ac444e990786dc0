package envoy

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// Provider is a company or server that answers calls.
type Provider struct {
	Name    string // first part of x-keel-target; lower case letters, digits, "-" and "_"
	Host    string // the Host that it is called by, a name with an optional port
	Address string // where calls really go: http://HOST[:PORT] or https://HOST[:PORT]; "" is https://Host
}

// DefaultProviders are those whose API has one host for everyone, by the host
// that their own reference names. Azure and Bedrock have one a customer or region.
func DefaultProviders() []Provider {
	return []Provider{
		{Name: "openai", Host: "api.openai.com"},
		{Name: "anthropic", Host: "api.anthropic.com"},
		{Name: "google", Host: "generativelanguage.googleapis.com"},
		{Name: "cerebras", Host: "api.cerebras.ai"},
		{Name: "cohere", Host: "api.cohere.com"},
		{Name: "deepseek", Host: "api.deepseek.com"},
		{Name: "fireworks", Host: "api.fireworks.ai"},
		{Name: "groq", Host: "api.groq.com"},
		{Name: "mistral", Host: "api.mistral.ai"},
		{Name: "openrouter", Host: "openrouter.ai"},
		{Name: "perplexity", Host: "api.perplexity.ai"},
		{Name: "together", Host: "api.together.xyz"},
		{Name: "xai", Host: "api.x.ai"},
	}
}

var (
	providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	hostName     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
)

// endpoint is where a provider's connections go.
type endpoint struct {
	address
	tls bool
}

func (p Provider) endpoint() (endpoint, error) {
	fail := func(format string, args ...any) (endpoint, error) {
		return endpoint{}, fmt.Errorf("provider %s: "+format, append([]any{p.Name}, args...)...)
	}
	if !providerName.MatchString(p.Name) {
		return endpoint{}, fmt.Errorf("provider name %q: want lower case letters, digits, - and _", p.Name)
	}
	if strings.HasPrefix(p.Name, "keel") {
		return fail("names that begin with keel are Keel's own: choose another")
	}
	withPort := p.Host
	if _, _, err := net.SplitHostPort(p.Host); err != nil {
		withPort = net.JoinHostPort(p.Host, "443")
	}
	host, err := parseAddress(withPort)
	if err != nil || p.Host == "" {
		return fail("host %q is not a host name, such as api.example.com", p.Host)
	}
	if p.Address == "" {
		return endpoint{host, true}, nil
	}
	u, err := url.Parse(p.Address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fail("address %q: want http://HOST:PORT or https://HOST", p.Address)
	}
	if (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fail("address %q: want only scheme, host and port: calls keep the path that they came with", p.Address)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	a, err := parseAddress(net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return fail("address %q: %w", p.Address, err)
	}
	if a.port == 0 {
		return fail("address %q: a port is needed", p.Address)
	}
	return endpoint{a, u.Scheme == "https"}, nil
}
