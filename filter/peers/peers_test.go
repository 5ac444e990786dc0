package peers

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"keel/filter/peers/peerstest"
)

const (
	gateway = "spiffe://cluster.local/ns/gateway/sa/envoy"
	hour    = peerstest.Lifetime(time.Hour)
)

// lab is a gate with its files, and what it logged.
type lab struct {
	*Gate
	dir    string
	server *peerstest.CA
	log    bytes.Buffer
}

func newLab(t *testing.T, trust *peerstest.CA, allowed ...string) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir(), server: peerstest.NewCA(t, "server")}
	l.server.Write(t, l.dir, trust.PEM, "keel.internal")
	var err error
	l.Gate, err = New(l.options(allowed...))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) options(allowed ...string) Options {
	return Options{Certificate: filepath.Join(l.dir, "tls.crt"), Key: filepath.Join(l.dir, "tls.key"), ClientCA: filepath.Join(l.dir, "ca.crt"),
		Allowed: allowed, Logger: slog.New(slog.NewTextHandler(&l.log, nil)), Metrics: prometheus.NewRegistry()}
}

// shake is a handshake over loopback: what the client finds wrong, and what the server does.
func (l *lab) shake(t *testing.T, client *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	here, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	_ = here.SetDeadline(deadline)
	_ = there.SetDeadline(deadline)
	ended := make(chan error, 1)
	go func() {
		conn := tls.Server(there, l.TLS())
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x")) // a client of TLS 1.3 learns of a refusal when it reads
		}
		there.Close()
		ended <- err
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.server.PEM)
	if client.RootCAs == nil {
		client.RootCAs = roots
	}
	client.ServerName = "keel.internal"
	conn := tls.Client(here, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(conn, make([]byte, 1))
	}
	here.Close()
	return clientErr, <-ended
}

func with(t *testing.T, ca *peerstest.CA, life peerstest.Lifetime, names ...string) *tls.Config {
	t.Helper()
	certificate, key := ca.Sign(t, life, names...)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

func TestWhoIsLetIn(t *testing.T) {
	ca, other := peerstest.NewCA(t, "mesh"), peerstest.NewCA(t, "other")
	for _, c := range []struct {
		name    string
		allowed []string
		client  *tls.Config
		want    string // of the server's error
		why     string // of the metric
	}{
		{"by its URI", []string{gateway}, with(t, ca, hour, gateway), "", ""},
		{"by a DNS name", []string{"other.internal", "envoy.internal"}, with(t, ca, hour, gateway, "envoy.internal"), "", ""},
		{"everybody whom the authority signed", []string{AnyPeer}, with(t, ca, hour, "whoever"), "", ""},
		{"of another name", []string{gateway}, with(t, ca, hour, "spiffe://cluster.local/ns/apps/sa/chat"), "not on the list", "not_listed"},
		{"whose name begins like one on the list", []string{gateway}, with(t, ca, hour, gateway+"2"), "not on the list", "not_listed"},
		{"without a name", []string{gateway}, with(t, ca, hour), "not on the list", "not_listed"},
		{"by an IP address", []string{"10.0.0.1"}, with(t, ca, hour, "10.0.0.1"), "not on the list", "not_listed"},
		{"of another authority", []string{gateway}, with(t, other, hour, gateway), "unknown authority", "unsigned"},
		{"of another authority, where all are let in", []string{AnyPeer}, with(t, other, hour, gateway), "unknown authority", "unsigned"},
		{"that has expired", []string{gateway}, with(t, ca, -hour, gateway), "expired", "unsigned"},
		{"without a certificate", []string{AnyPeer}, &tls.Config{}, "didn't provide a certificate", ""},
		{"with TLS 1.1", []string{AnyPeer}, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, "unsupported versions", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, ca, c.allowed...)
			clientErr, err := l.shake(t, c.client)
			if c.want == "" {
				if clientErr != nil || err != nil {
					t.Errorf("refused: %v, %v", clientErr, err)
				}
				return
			}
			if clientErr == nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("client: %v; server: %v, want %q", clientErr, err, c.want)
			}
			if c.why != "" && testutil.ToFloat64(l.refused.WithLabelValues(c.why)) != 1 {
				t.Error("it is not counted")
			}
		})
	}
}

// Files change under a server that runs: the next handshake has what is new; what can't be used changes nothing.
func TestFilesChange(t *testing.T) {
	old, next := peerstest.NewCA(t, "old"), peerstest.NewCA(t, "next")
	l := newLab(t, old, gateway)
	if a, b := l.shake(t, with(t, old, hour, gateway)); a != nil || b != nil {
		t.Fatal(a, b)
	}
	// Both authorities while peers go over; a new certificate of another authority for the server.
	was := l.server
	l.server = peerstest.NewCA(t, "server 2")
	l.server.Write(t, l.dir, append(bytes.Clone(old.PEM), next.PEM...), "keel.internal")
	for _, ca := range []*peerstest.CA{old, next} {
		if a, b := l.shake(t, with(t, ca, hour, gateway)); a != nil || b != nil {
			t.Error(a, b)
		}
	}
	l.server, was = was, l.server
	if a, _ := l.shake(t, with(t, next, hour, gateway)); a == nil {
		t.Error("the old certificate is still shown")
	}
	l.server = was
	// Half of a change, and rubbish.
	for file, text := range map[string]string{"tls.key": "nonsense", "ca.crt": "-----BEGIN RSA KEY-----\nAAAA\n-----END RSA KEY-----\n", "tls.crt": ""} {
		kept, err := os.ReadFile(filepath.Join(l.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(l.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, b := l.shake(t, with(t, next, hour, gateway)); a != nil || b != nil {
			t.Error(file, a, b)
		}
		if !strings.Contains(l.log.String(), file) || !strings.Contains(l.log.String(), "stay as they were") {
			t.Errorf("%s: nothing is said: %s", file, &l.log)
		}
		if err := os.WriteFile(filepath.Join(l.dir, file), kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.server.Write(t, l.dir, next.PEM, "keel.internal")
	if a, b := l.shake(t, with(t, old, hour, gateway)); a == nil || b == nil {
		t.Error("an authority that was taken away still counts")
	}
	if strings.Contains(l.log.String(), "PRIVATE") {
		t.Error("a key is in the log")
	}
}

func TestNewRefuses(t *testing.T) {
	l := newLab(t, peerstest.NewCA(t, "mesh"), gateway)
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Allowed = nil }, "nobody is let in"},
		{func(o *Options) { o.Allowed = []string{"spiffe://cluster.local/*"} }, "only * alone is a pattern"},
		{func(o *Options) { o.Allowed = []string{"a", ""} }, "want a name"},
		{func(o *Options) { o.Key = o.Certificate }, "tls.crt"},
		{func(o *Options) { o.ClientCA = o.Key }, "PRIVATE KEY in it"},
		{func(o *Options) { o.ClientCA = filepath.Join(l.dir, "none") }, "no such file"},
	} {
		o := l.options(gateway)
		c.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
