//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"

	// What Istio has its gateways run beside what Keel generates.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"

	"keel/budget/ledger/pgserver"
	"keel/filter/peers/peerstest"
	"keel/filter/wire/sample"
)

// meshPolicy lets one call pass, and denies another.
const meshPolicy = `
kind: Policy
name: no-interns
when: 'subject.team == "interns"'
do: {deny: "interns call no models"}
`

// Istio's own control plane takes what "keel envoy config --target istio" prints, and what it makes of
// that runs in the real Envoy, before "keel serve". The program that has it in it takes minutes to
// build (make mesh), so it is looked for and not built here.
func TestIstio(t *testing.T) {
	t.Parallel()
	pilot := builtBy(t, "make mesh", "pilot")
	for name, c := range map[string]struct {
		mode     string
		flags    []string
		service  bool // the processor is a Service of the cluster, not an address
		tls      bool // with certificates, as docs/envoy.md has it
		socket   bool
		attempts int // that are known one by one
	}{
		"full, a service":         {mode: "full", service: true},
		"full, by certificates":   {mode: "full", service: true, tls: true},
		"attempts, an address":    {mode: "attempts", attempts: 1},
		"attempts, over a socket": {mode: "attempts", socket: true, attempts: 1},
		"light, a service":        {mode: "light", service: true},
		"authz, a service":        {mode: "authz", service: true},
		"authz, by a policy":      {mode: "authz", service: true, flags: []string{"--custom-policy"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider := httptest.NewServer(sample.New(sample.Options{Keep: 10}))
			defer provider.Close()
			replicas := startCluster(t, keel, pgserver.ForTest(t), 1, false, "---"+meshPolicy)
			var more []string
			if c.tls {
				more = []string{"--tls", overTLS(t, replicas.replicas[0])}
			}
			processor := replicas.replicas[0].connection().Target()
			manifests := [][]byte{}
			switch {
			case c.socket:
				processor = overSocket(t, replicas.replicas[0])
			case c.service:
				_, port, _ := strings.Cut(processor, ":")
				manifests = append(manifests, processorService(t, port))
				processor = "keel.keel.svc.cluster.local:10002"
			}
			written := inIstio(t, pilot, processor, provider.URL, slices.Concat([]string{"--mode", c.mode}, c.flags, more), manifests...)
			if secrets := holdSecrets(t, written, ofTheAgent); (secrets == 2) != c.tls {
				t.Errorf("%d secrets", secrets)
			}
			s := &stack{url: runBootstrap(t, written), dsn: replicas.dsn}
			meshCalls(t, s, replicas, c.attempts, c.mode)
		})
	}
}

// Claims of tokens that Istio verified reach Keel in both kinds of modes, and nothing that a client says of itself makes up for them. A check by
// an AuthorizationPolicy comes before the tokens are verified, as docs/envoy.md says: nobody is named there, least of all by a client.
func TestIstioClaims(t *testing.T) {
	t.Parallel()
	pilot := builtBy(t, "make mesh", "pilot")
	for name, c := range map[string]struct {
		flags []string
		known bool
	}{
		"full":            {[]string{"--mode", "full"}, true},
		"authz":           {[]string{"--mode", "authz"}, true},
		"authz by policy": {[]string{"--mode", "authz", "--custom-policy"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replicas, provider, _ := startVerified(t)
			upstream := httptest.NewServer(provider)
			defer upstream.Close()
			idp := newIssuer(t)
			written := inIstio(t, pilot, replicas.replicas[0].connection().Target(), upstream.URL, c.flags, fmt.Appendf(nil, verifiedByIstio, idp.jwks()))
			var findings []string
			if !c.known { // and lint says so
				findings = []string{"claims-unseen"}
			}
			s := &stack{url: runBootstrap(t, written, findings...), dsn: replicas.dsn, sample: provider}

			s.believesClaims(t, idp, c.known)
		})
	}
}

// believesClaims holds an Envoy that verifies the tokens of an issuer to tell Keel of their claims, where they are known to it, and of nothing
// that a client says of itself.
func (s *stack) believesClaims(t *testing.T, idp *issuer, known bool) {
	t.Helper()
	spoofs := []string{"x-keel-org: evil", "x-keel-team: finance", "x-keel-user: eve", "x-keel-target: attacker/gpt-9", "org: evil",
		"x-forwarded-client-cert: By=spiffe://x;Hash=00;URI=spiffe://acme.example/ns/apps/sa/chat"}
	claims := map[string]any{"org": "acme", "team": "research", "realm": map[string]any{"user": "ada"}}
	want := map[string]string{}
	if known {
		want = map[string]string{"org": "acme", "team": "research", "user": "ada"}
	}
	a := s.post(t, "/v1/chat/completions", helloCall, append(spoofs, "authorization: Bearer "+idp.token(t, time.Hour, claims))...)
	wantSubject(t, s.subject(t, a), want)
	wantSubject(t, s.subject(t, s.post(t, "/v1/chat/completions", helloCall, spoofs...)), map[string]string{})

	served := len(s.sample.Served())
	for name, token := range map[string]string{"expired": idp.token(t, -time.Hour, claims), "of somebody else": newIssuer(t).token(t, time.Hour, claims)} {
		if a := s.post(t, "/v1/chat/completions", helloCall, "authorization: Bearer "+token); a.status != http.StatusUnauthorized {
			t.Errorf("a token %s: status %d", name, a.status)
		}
	}
	if now := len(s.sample.Served()); now != served {
		t.Errorf("%d calls with a bad token reached the provider", now-served)
	}
}

// Istio bounds by itself neither the headers nor the body of a request; Keel's EnvoyFilter does.
func TestIstioSlowRequest(t *testing.T) {
	t.Parallel()
	pilot := builtBy(t, "make mesh", "pilot")
	provider := sample.New(sample.Options{Keep: 10})
	upstream := httptest.NewServer(provider)
	defer upstream.Close()
	replicas := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
	written := inIstio(t, pilot, replicas.replicas[0].connection().Target(), upstream.URL, []string{"--idle-timeout", "2s"})
	s := &stack{url: runBootstrap(t, written), dsn: replicas.dsn, sample: provider}
	s.refusesSlowRequests(t)
}

const verifiedByIstio = `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: idp, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: [{issuer: "https://idp.example.com", jwks: '%s'}]
`

// inIstio is what Istio makes of what Keel prints for a processor, a provider and flags, and of other manifests; it listens on any port.
func inIstio(t *testing.T, pilot, processor, provider string, flags []string, manifests ...[]byte) *bootstrapv3.Bootstrap {
	t.Helper()
	flags = append([]string{"envoy", "config", "--target", "istio", "--grpc", processor, "--namespace", "istio-system", "--gateway", "llm",
		"--provider", "openai=" + provider}, flags...)
	written := piloted(t, pilot, keelOutput(t, append(flags, "--mesh-config")...), append(manifests, keelOutput(t, flags...))...)
	listenAnywhere(t, written)
	return written
}

// piloted is what Istio makes of the Gateway, Keel's manifests and others.
func piloted(t *testing.T, pilot string, meshConfig []byte, manifests ...[]byte) *bootstrapv3.Bootstrap {
	t.Helper()
	dir := t.TempDir()
	args := []string{"-mesh-config", filepath.Join(dir, "meshconfig.yaml"), "testdata/istio-gateway.yaml"}
	if err := os.WriteFile(args[1], meshConfig, 0o644); err != nil {
		t.Fatal(err)
	}
	for i, text := range manifests {
		args = append(args, filepath.Join(dir, fmt.Sprint(i, ".yaml")))
		if err := os.WriteFile(args[len(args)-1], text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	made := exec.Command(pilot, args...)
	var said bytes.Buffer
	made.Stderr = &said
	text, err := made.Output()
	if err != nil {
		t.Fatalf("pilot: %v\n%s", err, &said)
	}
	// What the stock Envoy lacks, and nothing else, is left out.
	for line := range strings.Lines(said.String()) {
		if !strings.Contains(line, ": dropped istio.") && !strings.Contains(line, ": dropped tlsMode-istio:") {
			t.Errorf("pilot said: %s", line)
		}
	}
	written := new(bootstrapv3.Bootstrap)
	if err := protojson.Unmarshal(text, written); err != nil {
		t.Fatal(err)
	}
	return written
}

// overTLS starts the replica again with the certificates that gateway.yaml wants, and returns the folder of Envoy's.
func overTLS(t *testing.T, r *replica) (dir string) {
	t.Helper()
	server, client := peerstest.NewCA(t, "keel"), peerstest.NewCA(t, "envoys")
	args, _ := certifies(t, server, client, "keel.keel.svc.cluster.local")
	dir = openDir(t)
	client.Write(t, dir, server.PEM, gatewayName)
	if err := r.end(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.args = append(r.args, args...)
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ofTheAgent is a secret by the name by which Istio has its agent read files for Envoy.
func ofTheAgent(name string) *tlsv3.Secret {
	if pair, ok := strings.CutPrefix(name, "file-cert:"); ok {
		certificate, key, _ := strings.Cut(pair, "~")
		return certificateSecret(certificate, key)
	}
	if ca, ok := strings.CutPrefix(name, "file-root:"); ok {
		return authoritySecret(ca)
	}
	return nil
}

func certificateSecret(certificate, key string) *tlsv3.Secret {
	return &tlsv3.Secret{Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: fileSource(certificate), PrivateKey: fileSource(key)}}}
}

func authoritySecret(ca string) *tlsv3.Secret {
	return &tlsv3.Secret{Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: fileSource(ca)}}}
}

func fileSource(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}

// holdSecrets puts secrets that a control plane would send into the bootstrap, and returns how many there are.
func holdSecrets(t *testing.T, b *bootstrapv3.Bootstrap, secretOf func(name string) *tlsv3.Secret) int {
	t.Helper()
	held := map[string]bool{}
	hold := func(s *tlsv3.SdsSecretConfig) {
		secret := secretOf(s.GetName())
		if secret == nil {
			return
		}
		s.SdsConfig = nil
		if !held[s.Name] {
			held[s.Name], secret.Name = true, s.Name
			b.StaticResources.Secrets = append(b.StaticResources.Secrets, secret)
		}
	}
	for _, c := range b.StaticResources.Clusters {
		sockets := []*corev3.TransportSocket{c.TransportSocket}
		for _, m := range c.TransportSocketMatches {
			sockets = append(sockets, m.TransportSocket)
		}
		for _, socket := range sockets {
			var tls tlsv3.UpstreamTlsContext
			if socket.GetTypedConfig().UnmarshalTo(&tls) != nil {
				continue
			}
			for _, s := range tls.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
				hold(s)
			}
			hold(tls.GetCommonTlsContext().GetCombinedValidationContext().GetValidationContextSdsSecretConfig())
			if err := socket.GetTypedConfig().MarshalFrom(&tls); err != nil {
				t.Fatal(err)
			}
		}
	}
	return len(held)
}

// processorService is the Service of envoy/kubernetes as a cluster has it, and its one endpoint, on a port of this machine.
func processorService(t *testing.T, port string) []byte {
	t.Helper()
	text, err := os.ReadFile("../envoy/kubernetes/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(text), "\n---\n") {
		if strings.Contains(doc, "kind: Service\nmetadata:\n  name: keel\n") {
			return fmt.Appendf(nil, "%s\n---\n%s", strings.Replace(doc, "spec:\n", "spec:\n  clusterIP: 10.0.0.1\n", 1), fmt.Sprintf(processorEndpoint, port))
		}
	}
	t.Fatal("no Service keel in envoy/kubernetes/gateway.yaml")
	return nil
}

const processorEndpoint = `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: keel-1, namespace: keel, labels: {kubernetes.io/service-name: keel}}
addressType: IPv4
ports: [{name: grpc, port: %s, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
`

// builtBy finds a program that a target of make builds, because it takes long.
func builtBy(t *testing.T, target, name string) string {
	t.Helper()
	path := filepath.Join(root(t), ".keel", "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s: %s builds it: %v", name, target, err)
	}
	return path
}

// listenAnywhere moves the one listener to a free port of this machine, under the name that envoy.Start waits for.
func listenAnywhere(t *testing.T, b *bootstrapv3.Bootstrap) {
	t.Helper()
	if n := len(b.StaticResources.Listeners); n != 1 {
		t.Fatalf("%d listeners were generated", n)
	}
	anywhere := func() *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0}}}}
	}
	b.StaticResources.Listeners[0].Name = "keel"
	b.StaticResources.Listeners[0].Address = anywhere()
	b.Admin = &bootstrapv3.Admin{Address: anywhere()}
}

// meshCalls makes a call that is metered, one that is denied, and one that no processor decides.
func meshCalls(t *testing.T, s *stack, replicas *cluster, wantAttempts int, mode string) {
	t.Helper()
	told := "x-keel-cost-usd"
	if mode == "light" || mode == "authz" { // where the answer has left before it is known
		told = "x-keel-estimated-cost-usd"
	}
	const body = `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"Hello"}]}`
	allowed := s.post(t, "/v1/chat/completions", body)
	if allowed.status != http.StatusOK || allowed.header.Get(told) == "" {
		t.Fatalf("status %d, headers %v: %s", allowed.status, allowed.header, allowed.body)
	}
	r := s.record(t, allowed.decision())
	r.want(t, record{"action": "allow", "outcome": "complete", "metered": "provider", "provider": "openai"})
	if r["actual_cost_usd"] == "" || r["actual_cost_usd"] == "0" {
		t.Errorf("it cost %q", r["actual_cost_usd"])
	}
	attempts, err := rows[struct{ N int }](replicas, "select count(*) as n from keel.attempts where decision_id = $1", allowed.decision())
	if err != nil || attempts[0].N != wantAttempts {
		t.Errorf("%v attempts, %v; want %d", attempts, err, wantAttempts)
	}

	denied := s.post(t, "/v1/chat/completions", body, "x-keel-team: interns")
	if denied.status != http.StatusForbidden || !bytes.Contains(denied.body, []byte("interns call no models")) {
		t.Errorf("a call that a policy denies: %d %s", denied.status, denied.body)
	}
	s.record(t, denied.decision()).want(t, record{"action": "deny", "outcome": "denied", "metered": "none"})

	s.dryRunOfThePage(t)
	if answer := s.post(t, "/nothing", "{}"); answer.status != http.StatusNotFound {
		t.Errorf("an unknown call: %d", answer.status)
	}
	if err := replicas.replicas[0].end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if answer := s.post(t, "/v1/chat/completions", body); answer.status != http.StatusServiceUnavailable {
		t.Errorf("without a processor: %d %s", answer.status, answer.body)
	}
}
