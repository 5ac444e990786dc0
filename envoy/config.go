package envoy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Names that others hold on to: the processor, alerts, and filters of a mesh
// that read what Keel leaves in a call's metadata.
const (
	// FilterName is the name of the external processor filter, and of its
	// filter state in the access log. It is not Envoy's own name for the
	// filter, which Istio uses for another purpose.
	FilterName = "keel.ext_proc"

	// AuthzFilterName is the name of the ext_authz filter of mode authz.
	AuthzFilterName = "keel.ext_authz"

	// ChangeFilterName is the name of the filter that changes what ext_authz can't, in mode fast.
	ChangeFilterName = "keel.ext_proc.change"

	// AttemptFilterName is the name of the filter that every attempt passes.
	AttemptFilterName = "keel.ext_proc.attempt"

	// PhaseKey is the gRPC metadata by which a stream says which filter it comes from.
	PhaseKey      = "x-keel-phase"
	PhaseRouter   = "router"
	PhaseUpstream = "upstream"
	PhaseObserve  = "observe" // says that nobody waits for the answers; the processor goes by what Envoy itself says of that
	PhaseLight    = "light"
	PhaseFast     = "fast"   // of ext_authz: a filter behind it can change bodies
	PhaseChange   = "change" // that filter

	// UsageKey is the gRPC metadata by which the filter says, with UsageForce, that every stream is to be asked
	// for its usage although the client sees the event that tells it.
	UsageKey   = "x-keel-usage"
	UsageForce = "force"

	// MetadataNamespace is the dynamic metadata that the processor writes.
	MetadataNamespace = "keel"

	// TargetHeader is what the processor sets to "provider/model" to choose a
	// route. A provider never sees it.
	TargetHeader = "x-keel-target"

	// ChangeTarget is what the target of a call begins with until that filter has changed it.
	ChangeTarget = "keel/"

	// AuthzNamespace is the dynamic metadata that Envoy puts what ext_authz answers in.
	AuthzNamespace = "envoy.filters.http.ext_authz"

	// LogName is the name of the access log stream that Envoy sends.
	LogName = "keel"
)

// Mode is how much of a call Envoy shows to Keel.
type Mode string

const (
	// ModeFull is the filter before the router: one request and one response of each
	// call. Envoy may then repeat only what no provider can have seen.
	ModeFull Mode = "full"

	// ModeAttempts is that and a filter in every provider's cluster, so that each try
	// of a call is held and charged by itself.
	ModeAttempts Mode = "attempts"

	// ModeLight is a filter before the router that sends requests only. Envoy itself reads what the provider
	// reported, and tells it in the access log.
	ModeLight Mode = "light"

	// ModeAuthz is ext_authz with the body: one round trip, after which a call goes out as it came or not at all.
	ModeAuthz Mode = "authz"

	// ModeFast is that, and a filter of ext_proc behind it that only those calls pass whose body has to change.
	ModeFast Mode = "fast"

	// ModeObserve is a filter that Envoy waits for in nothing: Keel reads and meters what passes, and can't touch it.
	ModeObserve Mode = "observe"
)

// Logged reports whether calls of the mode are ended by the access log: their answers do not pass Keel.
func (m Mode) Logged() bool { return m == ModeLight || m.Checked() }

// Checked reports whether ext_authz asks Keel about calls of the mode.
func (m Mode) Checked() bool { return m == ModeAuthz || m == ModeFast }

// Config is what Bootstrap needs to know. Processor and Providers are required.
type Config struct {
	Mode      Mode   // default ModeAttempts
	Listen    string // host:port for applications; default 127.0.0.1:0, where 0 takes a free port
	Admin     string // host:port for Envoy's admin interface, loopback only; default 127.0.0.1:0
	Processor string // host:port of Keel's gRPC server, or unix:PATH of its socket
	Providers []Provider

	// TLS is how the processor is spoken to; nil is clear text.
	TLS *TLS

	// Namespaces of dynamic metadata that the processor reads subjects from, beside its own and the claims of verified tokens.
	Namespaces []string

	// RequestLimit is the most bytes of a request body; a longer one is
	// answered with 413 before the processor sees any of it. Default 32 MiB. Envoy holds a
	// body in memory while the processor decides.
	RequestLimit uint64

	// IdleTimeout ends a call in which nothing moved for so long, in either
	// direction. Default 300 s: reasoning models are silent for minutes.
	IdleTimeout time.Duration

	// Retry is when Envoy tries a call again. nil is DefaultRetry.
	Retry *Retry

	// ForceUsage asks every stream for its usage in a mode in which the client then sees the event that tells it.
	ForceUsage bool

	// CAFile holds the certificates that a provider's is checked against;
	// "" is the machine's own.
	CAFile string
}

// Retry says after which failures Envoy tries a call again, and how often.
type Retry struct {
	On       []string // conditions as Envoy's x-envoy-retry-on names them
	Statuses []uint32 // for the condition retriable-status-codes
	Times    uint32   // after the first try; 0 is never
}

// DefaultRetry tries again only where the provider can't have seen the request,
// so no try but the last can have been billed.
func DefaultRetry() *Retry {
	return &Retry{On: slices.Clone(unseen), Times: 2}
}

// unseen are the conditions under which who was asked can't have seen the request: a provider did not bill it, Keel did not decide it.
var unseen = []string{"connect-failure", "refused-stream", "reset-before-request"}

// UnseenRetry reports whether a try that failed by one of Envoy's retry
// conditions can't have been seen by who was asked.
func UnseenRetry(condition string) bool { return slices.Contains(unseen, condition) }

// conditions are all that Envoy tries again after.
func (r *Retry) conditions() []string {
	if len(r.Statuses) > 0 && !slices.Contains(r.On, retriableStatuses) {
		return append(slices.Clone(r.On), retriableStatuses)
	}
	return r.On
}

const retriableStatuses = "retriable-status-codes"

const (
	defaultListen       = "127.0.0.1:0"
	defaultRequestLimit = 32 << 20
	defaultIdleTimeout  = 300 * time.Second
)

// complete fills in the defaults and checks everything that a user may have written.
func (c Config) complete() (Config, error) {
	c.Mode = cmp.Or(c.Mode, ModeAttempts)
	c.Listen = cmp.Or(c.Listen, defaultListen)
	c.Admin = cmp.Or(c.Admin, defaultListen)
	c.RequestLimit = cmp.Or(c.RequestLimit, defaultRequestLimit)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, defaultIdleTimeout)
	if c.Retry == nil {
		c.Retry = DefaultRetry()
	}
	if c.IdleTimeout < 0 {
		return c, fmt.Errorf("idle timeout %v is negative", c.IdleTimeout)
	}
	listen, err := parseAddress(c.Listen)
	if err != nil {
		return c, fmt.Errorf("listen address: %w", err)
	}
	if _, err := netip.ParseAddr(listen.host); err != nil {
		return c, fmt.Errorf("listen address %q: Envoy listens on an IP address, such as 127.0.0.1 or 0.0.0.0, not on a name", c.Listen)
	}
	admin, err := parseAddress(c.Admin)
	if err != nil {
		return c, fmt.Errorf("admin address: %w", err)
	}
	if ip, err := netip.ParseAddr(admin.host); err != nil || !ip.IsLoopback() {
		return c, fmt.Errorf("admin address %q: whoever reaches it can stop and read Envoy, so it has to be a loopback IP address, such as 127.0.0.1", c.Admin)
	}
	if _, err := parseProcessor(c.Processor); err != nil {
		return c, fmt.Errorf("processor address: %w", err)
	}
	if c.TLS, err = c.completeTLS(); err != nil {
		return c, err
	}
	for _, name := range c.Namespaces {
		if name == "" || strings.ContainsAny(name, "\r\n") {
			return c, fmt.Errorf("namespace of metadata %q: want one as filters have it, such as envoy.filters.http.header_to_metadata", name)
		}
	}
	if err := c.checkMode(); err != nil {
		return c, err
	}
	if len(c.Providers) == 0 {
		return c, errors.New("no providers: Envoy would have nowhere to send a call")
	}
	seen := map[string]bool{}
	for _, p := range c.Providers {
		if _, err := p.endpoint(); err != nil {
			return c, err
		}
		if seen[p.Name] {
			return c, fmt.Errorf("provider %s: named twice", p.Name)
		}
		seen[p.Name] = true
	}
	return c, nil
}

// checkMode refuses retries that only the filter in the clusters would see.
func (c Config) checkMode() error {
	switch c.Mode {
	case ModeAttempts:
		return c.checkForce()
	case ModeFull, ModeLight, ModeAuthz, ModeFast, ModeObserve:
		for _, condition := range c.Retry.conditions() {
			if c.Retry.Times > 0 && !UnseenRetry(condition) {
				return fmt.Errorf("mode %s: after %q a provider may bill the try that failed, and only mode %s sees each try", c.Mode, condition, ModeAttempts)
			}
		}
		return c.checkForce()
	}
	return fmt.Errorf("mode %q: there are %s, %s, %s, %s, %s and %s", c.Mode, ModeFull, ModeAttempts, ModeLight, ModeAuthz, ModeFast, ModeObserve)
}

func (c Config) checkForce() error {
	if c.ForceUsage && c.Mode != ModeLight && c.Mode != ModeFast {
		return fmt.Errorf("mode %s: only in modes %s and %s is it a choice to ask streams for their usage", c.Mode, ModeLight, ModeFast)
	}
	return nil
}

// address is a host, which may be a name or an IP, and a port; or the path of a socket.
type address struct {
	host string
	port uint32
	path string
}

// isFixed reports whether nothing has to be looked up to connect.
func (a address) isFixed() bool { return a.path != "" || a.isIP() }

// isLocal reports whether what goes there stays on this machine.
func (a address) isLocal() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.path != "" || a.host == "localhost" || err == nil && ip.IsLoopback()
}

func (a address) isIP() bool {
	_, err := netip.ParseAddr(a.host)
	return err == nil
}

func (a address) String() string {
	if a.path != "" {
		return UnixScheme + a.path
	}
	return net.JoinHostPort(a.host, strconv.Itoa(int(a.port)))
}

// UnixScheme is what the address of a Unix socket begins with.
const UnixScheme = "unix:"

// maxSocketPath is what Linux takes, less the final zero.
const maxSocketPath = 107

// parseProcessor reads host:port or unix:PATH.
func parseProcessor(s string) (address, error) {
	path, isSocket := strings.CutPrefix(s, UnixScheme)
	if !isSocket {
		a, err := parseAddress(s)
		if err == nil && a.port == 0 {
			return a, fmt.Errorf("%q: a port is needed", s)
		}
		return a, err
	}
	path = strings.TrimPrefix(path, "//") // as in unix:///run/keel.sock
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) || !utf8.ValidString(path) {
		return address{}, fmt.Errorf("%q: want the absolute path of a socket, as in unix:/run/keel/keel.sock", s)
	}
	if len(path) > maxSocketPath {
		return address{}, fmt.Errorf("%q: the path of a socket has %d bytes at most", s, maxSocketPath)
	}
	return address{path: path}, nil
}

func parseAddress(s string) (address, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return address{}, fmt.Errorf("%q is not host:port", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("%q: port %q is not a number from 0 to 65535", s, port)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostName.MatchString(host) {
		return address{}, fmt.Errorf("%q: %q is not a host name or an IP address", s, host)
	}
	return address{host: host, port: uint32(n)}, nil
}
