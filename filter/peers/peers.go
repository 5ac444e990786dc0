// Package peers says who may open streams to the processor: whose certificate one authority signed and whose name is on a list.
// It reads certificates from files, again whenever they change, so that they are rotated without a restart.
//
// It signs nothing, fetches nothing, and does not look into what a peer says once it is let in.
package peers

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// AnyPeer on the list lets everybody in whose certificate the authority signed.
const AnyPeer = "*"

// Options are all required but Logger and Metrics.
type Options struct {
	Certificate, Key string   // PEM files of the server's chain and its key
	ClientCA         string   // PEM file of the authorities that sign peers
	Allowed          []string // URI or DNS SANs, exactly as a peer's certificate has one of them; or AnyPeer

	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Gate makes the TLS configuration of a server. It is safe for concurrent use.
type Gate struct {
	o       Options
	any     bool
	refused *prometheus.CounterVec

	mu      sync.Mutex
	read    [3][]byte // what the files had when config was made
	config  *tls.Config
	expires time.Time
	failing string    // the error that was logged last
	told    time.Time // when a refusal was logged last
}

// New reads the files. An error names the one that is wrong.
func New(o Options) (*Gate, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if len(o.Allowed) == 0 {
		return nil, errors.New("peers: nobody is let in: name who may open streams by a URI or DNS name of its certificate, or * for everybody whom the authority signed")
	}
	for _, name := range o.Allowed {
		if name != AnyPeer && strings.ContainsAny(name, "* ,") || name == "" {
			return nil, fmt.Errorf("peers: %q: want a name as certificates have it, such as spiffe://cluster.local/ns/gateway/sa/envoy or envoy.example.com; only * alone is a pattern", name)
		}
	}
	g := &Gate{o: o, any: slices.Contains(o.Allowed, AnyPeer)}
	g.refused = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keel_peers_refused_total", Help: "Handshakes of peers that are not let in, by what is wrong with their certificate: unsigned, not_listed."}, []string{"why"})
	for _, why := range []string{"unsigned", "not_listed"} {
		g.refused.WithLabelValues(why)
	}
	if _, err := g.current(); err != nil {
		return nil, err
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(g.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keel_certificate_expires_timestamp_seconds", Help: "When the certificate that the processor shows to Envoy expires, Unix time.",
		}, func() float64 {
			g.mu.Lock()
			defer g.mu.Unlock()
			return float64(g.expires.Unix())
		}))
	}
	return g, nil
}

// TLS is what a server listens with. Files are looked at with every handshake; while what they have can't be used, the last that
// could is.
func (g *Gate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config, err := g.current()
			g.mu.Lock()
			defer g.mu.Unlock()
			if err != nil && err.Error() != g.failing {
				g.o.Logger.Error("peers: certificates stay as they were last read", "error", err)
			}
			g.failing = ""
			if err != nil {
				g.failing = err.Error()
			}
			return config, nil
		},
	}
}

// current is the configuration of what the files have now. With an error it is the last one.
func (g *Gate) current() (*tls.Config, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var read [3][]byte
	for i, name := range []string{g.o.Certificate, g.o.Key, g.o.ClientCA} {
		text, err := os.ReadFile(name)
		if err != nil {
			return g.config, fmt.Errorf("peers: %w", err)
		}
		read[i] = text
	}
	if g.config != nil && slices.EqualFunc(read[:], g.read[:], bytes.Equal) {
		return g.config, nil
	}
	pair, err := tls.X509KeyPair(read[0], read[1])
	if err != nil {
		return g.config, fmt.Errorf("peers: certificate %s with key %s: %w", g.o.Certificate, g.o.Key, err)
	}
	roots, err := pool(read[2])
	if err != nil {
		return g.config, fmt.Errorf("peers: authorities %s: %w", g.o.ClientCA, err)
	}
	if g.config != nil {
		g.o.Logger.Info("peers: certificates were read anew", "expires", pair.Leaf.NotAfter)
	}
	g.read, g.expires = read, pair.Leaf.NotAfter
	g.config = &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2"},
		Certificates: []tls.Certificate{pair},
		// The chain is verified in admit, and not by the library first, so that every refusal is counted.
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: func(c tls.ConnectionState) error { return g.admit(c.PeerCertificates, roots) },
		// A ticket would let a peer back in that was admitted under other files.
		SessionTicketsDisabled: true,
	}
	return g.config, nil
}

// pool reads authorities. A file with none, or with something else, is an error: it would let nobody in.
func pool(text []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("there is a %s in it", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		roots.AddCert(certificate)
		n++
	}
	if n == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return roots, nil
}

func (g *Gate) admit(chain []*x509.Certificate, roots *x509.CertPool) error {
	leaf := chain[0] // there is one: RequireAnyClientCert
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return g.refuse("unsigned", leaf, err)
	}
	names := namesOf(leaf)
	if !g.any && !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(g.o.Allowed, name) }) {
		return g.refuse("not_listed", leaf, errors.New("its names are not on the list of peers"))
	}
	return nil
}

// namesOf are the URI and DNS names of a certificate.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return names
}

// refuse counts a refusal, and logs one a second: whoever is refused may try as often as it likes.
func (g *Gate) refuse(why string, leaf *x509.Certificate, err error) error {
	g.refused.WithLabelValues(why).Inc()
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.told) >= time.Second {
		g.told = now
		g.o.Logger.Warn("peers: a peer was refused", "why", why, "names", namesOf(leaf), "error", err)
	}
	return fmt.Errorf("peers: %w", err)
}
