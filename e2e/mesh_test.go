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
	"strings"
	"syscall"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	// What Istio has its gateways run beside what Keel generates.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"

	"keel/budget/ledger/pgserver"
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
		service  bool // the processor is a Service of the cluster, not an address
		socket   bool
		attempts int // that are known one by one
	}{
		"full, a service":         {mode: "full", service: true},
		"attempts, an address":    {mode: "attempts", attempts: 1},
		"attempts, over a socket": {mode: "attempts", socket: true, attempts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider := httptest.NewServer(sample.New(sample.Options{Keep: 10}))
			defer provider.Close()
			replicas := startCluster(t, keel, pgserver.ForTest(t), 1, false, "---"+meshPolicy)
			processor := replicas.replicas[0].connection().Target()
			dir := t.TempDir()
			write := func(name string, text []byte) string {
				file := filepath.Join(dir, name)
				if err := os.WriteFile(file, text, 0o644); err != nil {
					t.Fatal(err)
				}
				return file
			}
			manifests := []string{"testdata/istio-gateway.yaml"}
			switch {
			case c.socket:
				processor = overSocket(t, replicas.replicas[0])
			case c.service:
				_, port, _ := strings.Cut(processor, ":")
				manifests = append(manifests, write("service.yaml", processorService(t, port)))
				processor = "keel.keel.svc.cluster.local:10002"
			}
			config := func(more ...string) []byte {
				return keelOutput(t, append([]string{"envoy", "config", "--target", "istio", "--mode", c.mode, "--grpc", processor,
					"--namespace", "istio-system", "--gateway", "llm", "--provider", "openai=" + provider.URL}, more...)...)
			}
			manifests = append(manifests, write("keel.yaml", config()))
			made := exec.Command(pilot, append([]string{"-mesh-config", write("meshconfig.yaml", config("--mesh-config"))}, manifests...)...)
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
			var written bootstrapv3.Bootstrap
			if err := protojson.Unmarshal(text, &written); err != nil {
				t.Fatal(err)
			}
			listenAnywhere(t, &written)
			s := &stack{url: runBootstrap(t, &written), dsn: replicas.dsn}
			meshCalls(t, s, replicas, c.attempts)
		})
	}
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
func meshCalls(t *testing.T, s *stack, replicas *cluster, wantAttempts int) {
	t.Helper()
	const body = `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"Hello"}]}`
	allowed := s.post(t, "/v1/chat/completions", body)
	if allowed.status != http.StatusOK || allowed.header.Get("x-keel-cost-usd") == "" {
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
