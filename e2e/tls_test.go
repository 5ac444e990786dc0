//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"keel/budget/ledger/pgserver"
	"keel/filter/peers/peerstest"
	"keel/filter/wire/sample"
)

const gatewayName = "spiffe://cluster.local/ns/gateway/sa/envoy"

// secured is an Envoy, or several, before a processor that lets in who shows a certificate.
type secured struct {
	*replica
	cluster         *cluster
	server, client  *peerstest.CA
	ours            string // folder of the processor's files
	address, openai string
}

func startSecured(t *testing.T) *secured {
	t.Helper()
	provider := httptest.NewServer(sample.New(sample.Options{Keep: 10}))
	t.Cleanup(provider.Close)
	s := &secured{server: peerstest.NewCA(t, "server"), client: peerstest.NewCA(t, "mesh"), openai: "openai=" + provider.URL}
	args, ours := certifies(t, s.server, s.client, "keel.internal")
	s.ours = ours
	s.cluster = startCluster(t, keel, pgserver.ForTest(t), 0, false, "")
	s.replica = newReplica(t, 0, keel, s.cluster.dsn, filepath.Join(openDir(t), "0"))
	s.args = append(s.args, args...)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	s.address = s.connection().Target()
	s.args = append(s.args, "--grpc", s.address) // the same, when it is started again
	return s
}

// envoy starts one whose certificate ca has signed for name, and returns its URL and its folder.
func (s *secured) envoy(t *testing.T, ca *peerstest.CA, name string, amend ...func(*bootstrapv3.Bootstrap)) (url, dir string) {
	t.Helper()
	args, dir := certified(t, ca, s.server, name, "keel.internal")
	return runAttached(t, envoyConfig(t, s.address, append(args, "--provider", s.openai)...), amend...), dir
}

// certified writes what an Envoy needs that speaks to a processor, of which server vouches for processorName, with a certificate that ca has signed for name,
// and returns the flags of its configuration, and the folder.
func certified(t *testing.T, ca, server *peerstest.CA, name, processorName string) (args []string, dir string) {
	t.Helper()
	dir = openDir(t)
	ca.Write(t, dir, server.PEM, name)
	args = []string{"--tls", dir, "--tls-name", processorName}
	for secret, file := range map[string]string{"certificate": "keel_certificate.yaml", "ca": "keel_ca.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, file), envoyConfig(t, "127.0.0.1:1", append(slices.Clone(args), "--tls-secret", secret)...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return args, dir
}

// certifies returns the flags of a processor that shows a certificate of server for name, and lets in gatewayName with one that client has signed, and the
// folder of its files.
func certifies(t *testing.T, server, client *peerstest.CA, name string) (args []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	server.Write(t, dir, client.PEM, name)
	file := func(name string) string { return filepath.Join(dir, name) }
	return []string{"--tls-cert", file("tls.crt"), "--tls-key", file("tls.key"), "--tls-peer-ca", file("ca.crt"), "--peer", gatewayName}, dir
}

func (s *secured) metric(t *testing.T, name string) string {
	t.Helper()
	all := adminURL.FindAllStringSubmatch(s.output.String(), -1)
	response, err := client.Get(all[len(all)-1][1] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}

const helloCall = `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"Hello"}]}`

// An Envoy speaks to the processor with a certificate, and nobody without one that is on the list: traffic of such an Envoy fails closed.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	url, _ := s.envoy(t, s.client, gatewayName)
	good := &stack{url: url, dsn: s.cluster.dsn}
	answer := good.post(t, "/v1/chat/completions", helloCall)
	if answer.status != http.StatusOK || answer.header.Get("x-keel-cost-usd") == "" {
		t.Fatalf("status %d, headers %v: %s", answer.status, answer.header, answer.body)
	}
	good.record(t, answer.decision()).want(t, record{"outcome": "complete"})

	for name, c := range map[string]struct {
		ca   *peerstest.CA
		name string
		why  string
	}{
		"another name":      {s.client, "spiffe://cluster.local/ns/apps/sa/chat", "not_listed"},
		"another authority": {peerstest.NewCA(t, "somebody"), gatewayName, "unsigned"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := s.envoy(t, c.ca, c.name)
			if a := (&stack{url: url}).post(t, "/v1/chat/completions", helloCall); a.status != http.StatusServiceUnavailable {
				t.Errorf("status %d: %s", a.status, a.body)
			}
			if n := s.metric(t, `keel_peers_refused_total{why="`+c.why+`"}`); n == "0" {
				t.Error("it is not counted")
			}
		})
	}
	t.Run("clear text", func(t *testing.T) {
		text := envoyConfig(t, s.address, "--provider", s.openai)
		if a := (&stack{url: runAttached(t, text)}).post(t, "/v1/chat/completions", helloCall); a.status != http.StatusServiceUnavailable {
			t.Errorf("status %d: %s", a.status, a.body)
		}
	})
	t.Run("another processor", func(t *testing.T) { // whose certificate is for another name
		s.server.Write(t, s.ours, s.client.PEM, "evil.internal")
		if err := s.end(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		if a := good.post(t, "/v1/chat/completions", helloCall); a.status != http.StatusServiceUnavailable {
			t.Errorf("status %d: %s", a.status, a.body)
		}
	})
	if answer := good.post(t, "/nothing", "{}"); answer.status == http.StatusOK {
		t.Error("a call passed without the processor")
	}
}

// Authorities and certificates of both ends change, one after the other, while calls go on: none fails, and what is old
// is of no use any more.
func TestTLSRotation(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	url, theirs := s.envoy(t, s.client, gatewayName)
	traffic := &stack{url: url, dsn: s.cluster.dsn}

	stop := make(chan struct{})
	var calling sync.WaitGroup
	var mu sync.Mutex
	calls, failed := 0, []string{}
	for range 3 {
		calling.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				response, err := client.Post(traffic.url+"/v1/chat/completions", "application/json", strings.NewReader(helloCall))
				said := fmt.Sprint(err)
				if err == nil {
					body, _ := io.ReadAll(response.Body)
					response.Body.Close()
					said = fmt.Sprint(response.StatusCode, " ", string(body))
				}
				mu.Lock()
				calls++
				if err != nil || response.StatusCode != http.StatusOK {
					failed = append(failed, said)
				}
				mu.Unlock()
			}
		})
	}
	pass := func(n int) { // waits for n more calls
		t.Helper()
		mu.Lock()
		want := calls + n
		mu.Unlock()
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			mu.Lock()
			done := calls >= want
			mu.Unlock()
			if done {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("no calls")
			}
		}
	}
	pass(5)
	server, mesh := peerstest.NewCA(t, "server 2"), peerstest.NewCA(t, "mesh 2")
	// Both ends trust both authorities, then show what the new ones signed, then forget the old ones.
	s.server.Write(t, s.ours, append(bytes.Clone(s.client.PEM), mesh.PEM...), "keel.internal")
	s.client.Write(t, theirs, append(bytes.Clone(s.server.PEM), server.PEM...), gatewayName)
	pass(10)
	server.Write(t, s.ours, append(bytes.Clone(s.client.PEM), mesh.PEM...), "keel.internal")
	mesh.Write(t, theirs, append(bytes.Clone(s.server.PEM), server.PEM...), gatewayName)
	pass(10)
	server.Write(t, s.ours, mesh.PEM, "keel.internal")
	mesh.Write(t, theirs, server.PEM, gatewayName)
	pass(10)
	old, next := s.server, server
	s.server = server
	fresh, _ := s.envoy(t, mesh, gatewayName) // makes connections of its own
	pass(5)
	close(stop)
	calling.Wait()
	if len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %.300s", len(failed), calls, failed[0])
	}
	if a := (&stack{url: fresh}).post(t, "/v1/chat/completions", helloCall); a.status != http.StatusOK {
		t.Errorf("an Envoy with new certificates: %d", a.status)
	}
	stale, _ := s.envoy(t, s.client, gatewayName)
	if a := (&stack{url: stale}).post(t, "/v1/chat/completions", helloCall); a.status != http.StatusServiceUnavailable {
		t.Errorf("an Envoy of the old authority: %d", a.status)
	}
	s.server = old
	mistaken, _ := s.envoy(t, mesh, gatewayName)
	if a := (&stack{url: mistaken}).post(t, "/v1/chat/completions", helloCall); a.status != http.StatusServiceUnavailable {
		t.Errorf("an Envoy that trusts the old authority: %d", a.status)
	}
	s.server = next
	// The first Envoy was there all the time. With its connection gone it makes one by what is new.
	if err := s.end(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		a := traffic.post(t, "/v1/chat/completions", helloCall)
		if a.status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the Envoy that was there before: %d %s", a.status, a.body)
		}
	}
}
