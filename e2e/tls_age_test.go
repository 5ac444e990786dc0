//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/durationpb"

	"keel/budget"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/filter"
	"keel/filter/peers"
	"keel/filter/peers/peerstest"
	"keel/pricing"
	"keel/pricing/tokens"
)

// witness is a listener that knows of every connection which authority signed the certificate of its peer, and what came over it.
type witness struct {
	net.Listener
	mu    sync.Mutex
	conns map[string]*witnessed // by the address of the peer
}

type witnessed struct {
	net.Conn
	w      *witness
	issuer string // "" until it is known
	read   atomic.Int64
}

func (w *witness) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := &witnessed{Conn: c, w: w}
	w.mu.Lock()
	w.conns[c.RemoteAddr().String()] = conn
	w.mu.Unlock()
	return conn, nil
}

func (c *witnessed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c *witnessed) Close() error {
	c.w.mu.Lock()
	delete(c.w.conns, c.RemoteAddr().String())
	c.w.mu.Unlock()
	return c.Conn.Close()
}

// of is how many connections are open whose peer an authority vouched for, and how much has come over them.
func (w *witness) of(issuer string) (open int, read int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		if c.issuer == issuer {
			open++
			read += c.read.Load()
		}
	}
	return open, read
}

// sees notes the certificate of each peer that is let in.
func (w *witness) sees(gate *tls.Config) *tls.Config {
	outer := gate.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config, err := gate.GetConfigForClient(hello)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		admit := config.VerifyConnection
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if err := admit(state); err != nil {
				return err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if c := w.conns[hello.Conn.RemoteAddr().String()]; c != nil {
				c.issuer = state.PeerCertificates[0].Issuer.CommonName
			}
			return nil
		}
		return config, nil
	}
	return outer
}

// serveAged is the processor in this process, with connections of a short life: the filter on the real ledger.
func serveAged(t *testing.T, dsn, dir string, age time.Duration) *witness {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := ledger.Open(t.Context(), dsn, ledger.Options{Journal: t.TempDir(), Logger: log, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := l.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := budget.Compile(documents, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	var config atomic.Pointer[budget.Config]
	config.Store(compiled)
	file := func(name string) string { return filepath.Join(dir, name) }
	gate, err := peers.New(peers.Options{Certificate: file("tls.crt"), Key: file("tls.key"), ClientCA: file("ca.crt"), Allowed: []string{gatewayName}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{Listener: inner, conns: make(map[string]*witnessed)}
	s := filter.New(filter.Options{Config: &config, Decider: &budget.Decider{Ledger: l, Estimator: tokens.New(), Health: budget.NewHealth()}, Ledger: l, Logger: log,
		Metrics: prometheus.NewRegistry(), Undecided: l.Undecided, TLS: w.sees(gate.TLS()), ConnectionAge: age})
	served := make(chan error, 1)
	go func() { served <- s.Serve(w) }()
	t.Cleanup(func() {
		done := make(chan struct{})
		close(done)
		s.Drain(done)
		if err := <-served; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

// renewed has Envoy go on by another connection so soon, where its configuration says that it does.
func renewed(t *testing.T, after time.Duration) func(*bootstrapv3.Bootstrap) {
	return func(b *bootstrapv3.Bootstrap) {
		for _, name := range []string{"keel_processor", "keel_access_log"} {
			for _, packed := range clusterOf(b, name).TypedExtensionProtocolOptions {
				var o upstreamv3.HttpProtocolOptions
				if err := packed.UnmarshalTo(&o); err != nil {
					t.Fatal(err)
				}
				if o.GetCommonHttpProtocolOptions().GetMaxConnectionDuration() == nil {
					t.Fatalf("connections of %s have no age", name)
				}
				o.CommonHttpProtocolOptions.MaxConnectionDuration = durationpb.New(after)
				if err := packed.MarshalFrom(&o); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// A connection grows old: calls go on by another, whose certificates are those of now, and none fails, because it is Envoy that goes on before it is told to. A stream that is long stays on the old one to
// its end, and nothing else does, so that it is closed then. A certificate that was revoked is of no use from then on.
func TestConnectionAge(t *testing.T) {
	t.Parallel()
	const age, renewal = 2 * time.Second, 1500 * time.Millisecond // the processor takes a tenth off
	release := make(chan struct{})
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		usage := `"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}`
		if r.Header.Get("x-long") == "" {
			w.Header().Set("content-type", "application/json")
			fmt.Fprintf(w, `{"id":"x","model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],%s}`, usage)
			return
		}
		w.Header().Set("content-type", "text/event-stream")
		fmt.Fprint(w, "data: {\"id\":\"x\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"first\"}}]}\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		fmt.Fprintf(w, "data: {\"id\":\"x\",\"model\":\"gpt-4o-mini\",\"choices\":[],%s}\n\ndata: [DONE]\n\n", usage)
	}))
	t.Cleanup(answers.Close)
	var once sync.Once
	end := func() { once.Do(func() { close(release) }) }
	t.Cleanup(end)

	mesh, next, server := peerstest.NewCA(t, "mesh"), peerstest.NewCA(t, "mesh 2"), peerstest.NewCA(t, "server")
	ours := t.TempDir()
	server.Write(t, ours, mesh.PEM, "keel.internal")
	c := startCluster(t, keel, pgserver.ForTest(t), 0, false, "")
	w := serveAged(t, c.dsn, ours, age)
	s := &secured{server: server, client: mesh, address: w.Addr().String(), openai: "openai=" + answers.URL}
	url, theirs := s.envoy(t, mesh, gatewayName, renewed(t, renewal))
	traffic := &stack{url: url, dsn: c.dsn}

	// The access log is there, too, before anything changes: what it said of a call is in the record.
	first := traffic.post(t, "/v1/chat/completions", helloCall)
	traffic.recordWhere(t, "decision_id = '"+first.decision()+"' and response_code_details = 'via_upstream'")
	// The long stream begins while there is only one connection for calls.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(strings.Replace(helloCall, "{", `{"stream":true,`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	setHeaders(request, []string{"x-long: yes"})
	long, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Body.Close()
	stream := bufio.NewReader(long.Body)
	if line, err := stream.ReadString('\n'); err != nil || !strings.Contains(line, "first") {
		t.Fatalf("%q, %v", line, err)
	}
	// Certificates are rotated: Envoy shows one of the next authority, and the one of before is revoked.
	server.Write(t, ours, append(bytes.Clone(mesh.PEM), next.PEM...), "keel.internal")
	next.Write(t, theirs, server.PEM, gatewayName)
	passed := 0
	pass := func() {
		t.Helper()
		if a := traffic.post(t, "/v1/chat/completions", helloCall); a.status != http.StatusOK {
			t.Fatalf("call %d: %d %s", passed, a.status, a.body)
		}
		passed++
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !done(); pass() {
			if time.Now().After(deadline) {
				t.Fatalf("not within %s: %s", patience, what)
			}
		}
	}
	until("calls by a connection with the new certificate", func() bool { open, _ := w.of("mesh 2"); return open > 0 })
	server.Write(t, ours, next.PEM, "keel.internal")
	// Of what the old certificate let in only the long stream is left: neither a call nor a line of the access log goes by it.
	until("nothing but the long stream on the old connection", func() bool {
		open, before := w.of("mesh")
		for range 20 {
			pass()
		}
		time.Sleep(250 * time.Millisecond) // Envoy sends its access log by then
		_, after := w.of("mesh")
		return open == 1 && after-before < 500
	})
	end()
	rest, err := io.ReadAll(stream)
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(rest)), "[DONE]") {
		t.Errorf("the long stream: %v: %s", err, rest)
	}
	traffic.record(t, long.Header.Get("x-keel-decision-id")).want(t, record{"outcome": "complete", "metered": "provider", "http_status": "200"})
	until("the end of the old connection", func() bool { open, _ := w.of("mesh"); return open == 0 })
	t.Logf("%d calls, none failed", passed)

	// The new one is revoked, too, and nobody has another: within the age calls fail closed.
	server.Write(t, ours, peerstest.NewCA(t, "nobody").PEM, "keel.internal")
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		a := traffic.post(t, "/v1/chat/completions", helloCall)
		if a.status == http.StatusServiceUnavailable {
			break
		}
		if a.status != http.StatusOK || time.Now().After(deadline) {
			t.Fatalf("a certificate that was revoked: %d %s", a.status, a.body)
		}
	}
}
