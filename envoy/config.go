package envoy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Names that others hold on to: the processor, alerts, and filters of a mesh
// that read what Keel leaves in a call's metadata.
const (
	// FilterName is the name of the external processor filter, and of its
	// filter state in the access log. It is not Envoy's own name for the
	// filter, which Istio uses for another purpose.
	FilterName = "keel.ext_proc"

	// AttemptFilterName is the name of the filter that every attempt passes.
	AttemptFilterName = "keel.ext_proc.attempt"

	// PhaseKey is the gRPC metadata by which a stream says which filter it comes from.
	PhaseKey      = "x-keel-phase"
	PhaseRouter   = "router"
	PhaseUpstream = "upstream"

	// MetadataNamespace is the dynamic metadata that the processor writes.
	MetadataNamespace = "keel"

	// TargetHeader is what the processor sets to "provider/model" to choose a
	// route. A provider never sees it.
	TargetHeader = "x-keel-target"

	// LogName is the name of the access log stream that Envoy sends.
	LogName = "keel"
)

// Config is what Bootstrap needs to know. Processor and Providers are required.
type Config struct {
	Listen    string // host:port for applications; default 127.0.0.1:0, where 0 takes a free port
	Admin     string // host:port for Envoy's admin interface, loopback only; default 127.0.0.1:0
	Processor string // host:port of Keel's gRPC server
	Providers []Provider

	// RequestLimit is the most bytes of a request body; a longer one is
	// answered with 413 before the processor sees any of it. Default 32 MiB. Envoy holds a
	// body in memory while the processor decides.
	RequestLimit uint64

	// IdleTimeout ends a call in which nothing moved for so long, in either
	// direction. Default 300 s: reasoning models are silent for minutes.
	IdleTimeout time.Duration

	// Retry is when Envoy tries a call again. nil is DefaultRetry.
	Retry *Retry

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
	return &Retry{On: []string{"connect-failure", "refused-stream", "reset-before-request"}, Times: 2}
}

const (
	defaultListen       = "127.0.0.1:0"
	defaultRequestLimit = 32 << 20
	defaultIdleTimeout  = 300 * time.Second
)

// complete fills in the defaults and checks everything that a user may have written.
func (c Config) complete() (Config, error) {
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
	if p, err := parseAddress(c.Processor); err != nil {
		return c, fmt.Errorf("processor address: %w", err)
	} else if p.port == 0 {
		return c, fmt.Errorf("processor address %q: a port is needed", c.Processor)
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

// address is a host, which may be a name or an IP, and a port.
type address struct {
	host string
	port uint32
}

func (a address) isIP() bool {
	_, err := netip.ParseAddr(a.host)
	return err == nil
}

func (a address) String() string { return net.JoinHostPort(a.host, strconv.Itoa(int(a.port))) }

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
	return address{host, uint32(n)}, nil
}
