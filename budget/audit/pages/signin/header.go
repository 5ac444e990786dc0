package signin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"

	"keel/budget/audit/pages"
)

// Nobody lets everybody in, and shows all. It is for a loopback address: whoever is on the machine. A page on another
// machine that gave its own name the address of this one is sent away.
type Nobody struct{}

// Viewer implements pages.SignIn.
func (Nobody) Viewer(w http.ResponseWriter, r *http.Request) *pages.Viewer {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if !loopback(host) {
		http.Error(w, "nobody signs in here, so this is only for http://127.0.0.1 and http://localhost", http.StatusForbidden)
		return nil
	}
	return &pages.Viewer{Orgs: []string{"*"}}
}

// header believes a reverse proxy.
type header struct{ c *Config }

// Viewer implements pages.SignIn.
func (h *header) Viewer(w http.ResponseWriter, r *http.Request) *pages.Viewer {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !slices.ContainsFunc(h.c.Header.trusted, func(p netip.Prefix) bool { return p.Contains(peer.Addr().Unmap()) }) {
		http.Error(w, "these pages are behind a proxy that signs people in, and you did not come through it", http.StatusForbidden)
		return nil
	}
	names := r.Header.Values(h.c.Header.User)
	if len(names) != 1 || names[0] == "" { // two would be the proxy's and somebody's own
		http.Error(w, "the proxy named nobody in "+h.c.Header.User, http.StatusUnauthorized)
		return nil
	}
	var groups, listed []string
	if h.c.Header.Groups != "" {
		groups = words(r.Header.Values(h.c.Header.Groups))
	}
	if h.c.Header.Orgs != "" {
		listed = words(r.Header.Values(h.c.Header.Orgs))
	}
	return &pages.Viewer{Name: names[0], Orgs: h.c.orgs(names[0], groups, listed)}
}
