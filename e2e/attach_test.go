//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
)

// What "keel envoy config" prints runs: the real Envoy with it, before "keel serve" and a
// provider. And "keel envoy lint" finds that Envoy, asked what it runs, safe.
func TestAttach(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode     string
		socket   bool
		attempts int // that are known one by one
	}{
		"full over TCP":          {"full", false, 0},
		"attempts over a socket": {"attempts", true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider := startSample(t)
			replicas := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
			processor := replicas.replicas[0].connection().Target()
			if c.socket {
				processor = overSocket(t, replicas.replicas[0])
			}
			text := envoyConfig(t, processor, "--mode", c.mode, "--provider", "openai="+provider)
			s := &stack{url: runAttached(t, text), dsn: replicas.dsn}

			answer := s.post(t, "/v1/chat/completions", `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"Hello"}]}`)
			if answer.status != http.StatusOK || answer.header.Get("x-keel-cost-usd") == "" {
				t.Fatalf("status %d, headers %v: %s", answer.status, answer.header, answer.body)
			}
			s.record(t, answer.decision()).want(t, record{"action": "allow", "outcome": "complete", "provider": "openai"})
			attempts, err := rows[struct{ N int }](replicas, "select count(*) as n from keel.attempts where decision_id = $1", answer.decision())
			if err != nil || attempts[0].N != c.attempts {
				t.Errorf("%v attempts, %v; want %d", attempts, err, c.attempts)
			}
			s.dryRunOfThePage(t)
			if answer := s.post(t, "/nothing", "{}"); answer.status != http.StatusNotFound {
				t.Errorf("an unknown call: %d", answer.status)
			}

			if err := replicas.replicas[0].end(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			if answer := s.post(t, "/v1/chat/completions", `{"model":"gpt-4o-mini","messages":[]}`); answer.status != http.StatusServiceUnavailable {
				t.Errorf("without a processor: %d %s", answer.status, answer.body)
			}
		})
	}
}

var sampleOn = regexp.MustCompile(`the sample provider is on (http://\S+)`)

// startSample runs the provider of "keel sample", and returns its URL.
func startSample(t *testing.T) string {
	t.Helper()
	said := new(buffer)
	process := exec.Command(keel, "sample", "--listen", "127.0.0.1:0")
	process.Stderr = said
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Process.Signal(syscall.SIGTERM)
		if err := process.Wait(); err != nil {
			t.Errorf("keel sample: %v\n%s", err, said)
		}
	})
	waitFor(t, "keel sample", func() bool { return sampleOn.MatchString(said.String()) })
	return sampleOn.FindStringSubmatch(said.String())[1]
}

// dryRunOfThePage makes the call by which docs/envoy.md checks an attachment.
func (s *stack) dryRunOfThePage(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile("../docs/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "curl ") || !strings.Contains(line, "x-keel-dry-run: true") {
			continue
		}
		out, err := exec.Command("sh", "-c", strings.ReplaceAll(line, "http://127.0.0.1:10000", s.url)).CombinedOutput()
		var decision struct{ Action string }
		if err != nil || json.Unmarshal(out, &decision) != nil || decision.Action != "allow" {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		return
	}
	t.Error("docs/envoy.md asks for no decision")
}

// overSocket starts the replica again, on a socket that Envoy's user may write to.
func overSocket(t *testing.T, r *replica) string {
	t.Helper()
	if err := r.end(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(openDir(t), "keel.sock")
	r.args = append(r.args, "--grpc", "unix:"+socket)
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil { // in production Envoy is in the socket's group
		t.Fatal(err)
	}
	return "unix:" + socket
}

func keelOutput(t *testing.T, args ...string) []byte {
	t.Helper()
	command := exec.Command(keel, args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("keel %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

// runAttached runs the Envoy of a configuration, changed by amend, has what it says of itself linted, and returns its URL.
func runAttached(t *testing.T, text []byte, amend ...func(*bootstrapv3.Bootstrap)) string {
	t.Helper()
	return runBootstrap(t, bootstrapOf(t, text, amend...))
}

func runBootstrap(t *testing.T, written *bootstrapv3.Bootstrap, findings ...string) string {
	t.Helper()
	e := startWritten(t, written)
	response, err := client.Get("http://" + e.Admin() + "/config_dump?include_eds")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lint := exec.Command(keel, "envoy", "lint", "--complete", "-")
	lint.Stdin = response.Body
	out, err := lint.CombinedOutput()
	clean := err == nil
	for _, rule := range findings {
		clean = strings.Contains(string(out), "["+rule+"]")
	}
	if !clean || !strings.HasSuffix(string(out), fmt.Sprintf("keel: %d findings, 0 unseen\n", len(findings))) {
		t.Errorf("keel envoy lint of the config dump: %v, want %v\n%s", err, findings, out)
	}
	return "http://" + e.Listen()
}

// envoyConfig is what "keel envoy config" writes for an Envoy of this machine that asks a processor.
func envoyConfig(t *testing.T, processor string, args ...string) []byte {
	t.Helper()
	return keelOutput(t, append([]string{"envoy", "config", "--target", "envoy", "--grpc", processor, "--listen", "127.0.0.1:0", "--envoy-admin", "127.0.0.1:0"}, args...)...)
}

// runEnvoy runs the Envoy of a configuration, until the test ends.
func runEnvoy(t *testing.T, text []byte) *envoy.Envoy {
	t.Helper()
	return startWritten(t, bootstrapOf(t, text))
}

func bootstrapOf(t *testing.T, text []byte, amend ...func(*bootstrapv3.Bootstrap)) *bootstrapv3.Bootstrap {
	t.Helper()
	plain, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var written bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(plain, &written); err != nil {
		t.Fatal(err)
	}
	for _, change := range amend {
		change(&written)
	}
	return &written
}

func startWritten(t *testing.T, written *bootstrapv3.Bootstrap) *envoy.Envoy {
	t.Helper()
	return startWorkers(t, written, 1)
}

// startWorkers is startWritten with so many workers.
func startWorkers(t *testing.T, written *bootstrapv3.Bootstrap, workers int) *envoy.Envoy {
	t.Helper()
	e, err := envoy.Start(t.Context(), envoy.Options{
		Dir: filepath.Join(openDir(t), "envoy"), Cache: cacheDir(t), Progress: os.Stderr, Concurrency: workers,
		Config: envoy.Config{Processor: "127.0.0.1:1", Providers: envoy.DefaultProviders()[:1]},
		Amend:  func(b *bootstrapv3.Bootstrap) { proto.Reset(b); proto.Merge(b, written) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Stop() })
	return e
}

// The snippets of docs/envoy.md are what they say: clusters of Envoy; signInOfThePage gives the other one to TestImage.
func TestPageSnippets(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	clusters := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		if bytes.Equal(block[1], signInOfThePage(t)) {
			continue
		}
		clusters++
		plain, err := yaml.YAMLToJSON(block[1])
		if err != nil {
			t.Fatal(err)
		}
		var c clusterv3.Cluster
		if err := protojson.Unmarshal(plain, &c); err != nil || len(c.GetLoadAssignment().GetEndpoints()) == 0 {
			t.Errorf("%v in\n%s", err, block[1])
		}
	}
	if clusters == 0 {
		t.Error("there is none")
	}
}
