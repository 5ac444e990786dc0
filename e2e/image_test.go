//go:build linux

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"debug/elf"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"keel/filter/peers/peerstest"
	"keel/filter/wire/sample"
)

// The image's binary runs in the image's root, as the image's user, by the command lines of the manifests and of
// docker-compose.yaml, on a database with the logins of envoy/logins.sql: the owner migrates, the editor applies, the writer serves a real
// Envoy, by certificates or over a socket, the reader anchors. It needs root for a chroot, and no container.
func TestImage(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root may enter another root")
	}
	const binary = "../.keel/bin/keel-static"
	if out, err := exec.Command("make", "-C", "..", ".keel/bin/keel-static").CombinedOutput(); err != nil {
		t.Fatalf("the binary of the image: %v\n%s", err, out)
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Fatal("the binary is not static, and an image from scratch has no loader")
		}
	}
	for where, p := range packages(t) {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, binary)
			for _, args := range p.before {
				if out, err := m.command(m.here(t, args)).CombinedOutput(); err != nil {
					t.Fatalf("keel %s: %v\n%s", strings.Join(args, " "), err, out)
				}
			}
			r := m.serve(t, p.serve)
			r.answersProbes(t, p.serve)
			s := &stack{url: runAttached(t, m.envoyConfig(t, where, r)), dsn: m.admin.String()}
			a := s.post(t, "/v1/chat/completions", helloCall)
			if a.status != http.StatusOK || a.header.Get("x-keel-cost-usd") == "" {
				t.Fatalf("status %d, headers %v: %s\n%s", a.status, a.header, a.body, r.said)
			}
			s.record(t, a.decision()).want(t, record{"action": "allow", "outcome": "complete"})
			if rows, err := s.query(t, "select distinct jsonb_build_object('login', usename) from pg_stat_activity where usename ~ '^"+m.name+"_'"); err != nil || len(rows) != 1 || rows[0]["login"] != m.name+"_serve" {
				t.Errorf("want the writer to be connected and no other: %v, %v", rows, err)
			}
			for _, args := range p.after {
				m.eventually(t, m.here(t, args)) // the first checkpoint is signed within a second
			}
			if said := r.said.String(); strings.Contains(said, "permission denied") || strings.Contains(said, "level=ERROR") {
				t.Errorf("keel said:\n%s", said)
			}
			r.end(t)
		})
	}
}

func (m *machine) command(args []string) *exec.Cmd {
	c := exec.Command("/usr/local/bin/keel", args...)
	c.Dir, c.Env = "/", []string{}
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: m.dir, Credential: &syscall.Credential{Uid: imageUser, Gid: imageUser}, Pdeathsig: syscall.SIGKILL}
	return c
}

func (m *machine) eventually(t *testing.T, args []string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		out, err := m.command(args).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("keel %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

var adminOn = regexp.MustCompile(`serving Envoy on (\S+), admin on http://\S+:(\d+)`)

// running is a processor in the root of the image.
type running struct {
	m           *machine
	process     *exec.Cmd
	exited      chan error
	said        *buffer
	grpc, admin string
	peer        string // whom it lets in, by a certificate; "" over a socket
}

func (m *machine) serve(t *testing.T, c packedContainer) *running {
	t.Helper()
	args := m.here(t, c.Args)
	r := &running{m: m, process: m.command(args), said: new(buffer), exited: make(chan error, 1)}
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "--peer="); ok {
			r.peer = name
		}
	}
	r.process.Stdout, r.process.Stderr = r.said, r.said
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.exited <- r.process.Wait() }()
	t.Cleanup(func() { r.process.Process.Kill() })
	var found []string
	for deadline := time.Now().Add(patience); found == nil; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-r.exited:
			t.Fatalf("keel %s: %v\n%s", strings.Join(args, " "), err, r.said)
		default:
		}
		if found = adminOn.FindStringSubmatch(r.said.String()); found == nil && time.Now().After(deadline) {
			t.Fatalf("keel %s does not serve:\n%s", strings.Join(args, " "), r.said)
		}
	}
	r.grpc, r.admin = found[1], "http://127.0.0.1:"+found[2]
	if path, ok := strings.CutPrefix(r.grpc, "unix:"); ok {
		r.grpc = "unix:" + filepath.Join(m.dir, path)
		if err := os.Chmod(filepath.Join(m.dir, path), 0o666); err != nil { // in production Envoy is in the socket's group
			t.Fatal(err)
		}
	} else {
		r.grpc = "127.0.0.1" + r.grpc[strings.LastIndex(r.grpc, ":"):]
	}
	return r
}

// envoyConfig is the package's own where it has one, else what its page has "keel envoy config" write, for a provider of the test.
func (m *machine) envoyConfig(t *testing.T, where string, r *running) []byte {
	t.Helper()
	provider := httptest.NewServer(sample.New(sample.Options{Keep: 10}))
	t.Cleanup(provider.Close)
	if r.peer != "" {
		args, _ := certified(t, m.client, m.server, r.peer, "keel.keel.svc.cluster.local")
		return envoyConfig(t, r.grpc, append(args, "--provider", "openai="+provider.URL)...)
	}
	text := keelOutput(t, "envoy", "config", "--target", "envoy", "--grpc", "uds", "--provider", "openai=http://sample:9000")
	if where == "compose" {
		var err error
		if text, err = os.ReadFile("../envoy/compose/envoy.yaml"); err != nil {
			t.Fatal(err)
		}
	}
	address := strings.TrimPrefix(provider.URL, "http://127.0.0.1:")
	return []byte(strings.NewReplacer("path: /run/keel/keel.sock", "path: "+strings.TrimPrefix(r.grpc, "unix:"), "address: sample", "address: 127.0.0.1", "port_value: 9000", "port_value: "+address,
		"address: 0.0.0.0", "address: 127.0.0.1", "port_value: 10000", "port_value: 0", "port_value: 9901", "port_value: 0").Replace(string(text)))
}

func (r *running) answersProbes(t *testing.T, c packedContainer) {
	t.Helper()
	get := func(path string, status int) []byte {
		t.Helper()
		once := http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		response, err := once.Get(r.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, status)
		}
		return readAll(t, response.Body)
	}
	probes := 0
	for _, probe := range []*probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if probe != nil {
			probes++
			get(probe.HTTPGet.Path, http.StatusOK)
		}
	}
	if probes != 3 && c.Image != "" {
		t.Errorf("%d probes", probes)
	}
	if !bytes.Contains(get("/metrics", http.StatusOK), []byte("\nkeel_calls_in_flight ")) {
		t.Error("/metrics has no keel_calls_in_flight")
	}
	if strings.Contains(strings.Join(c.Args, " "), "--sign-in=") {
		get("/review/", http.StatusSeeOther) // to sign in
	} else {
		get("/review/", http.StatusNotFound)
	}
	if entries, err := os.ReadDir(filepath.Join(r.m.dir, "var/lib/keel/journal")); err != nil || len(entries) == 0 {
		t.Errorf("nothing is in the journal's volume: %v", err)
	}

	// Which is how Envoy asks, and how a stranger does.
	if r.peer == "" {
		r.health(t, insecure.NewCredentials(), true)
		return
	}
	r.health(t, insecure.NewCredentials(), false)
	certificate, key := r.m.client.Sign(t, peerstest.Lifetime(time.Hour), r.peer)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(r.m.server.PEM)
	config := &tls.Config{RootCAs: trusted, ServerName: "keel.keel.svc.cluster.local"}
	r.health(t, credentials.NewTLS(config.Clone()), false)
	config.Certificates = []tls.Certificate{pair}
	r.health(t, credentials.NewTLS(config), true)
}

func (r *running) health(t *testing.T, c credentials.TransportCredentials, serving bool) {
	t.Helper()
	conn, err := grpc.NewClient(r.grpc, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), new(healthv1.HealthCheckRequest))
	if got := err == nil && answer.Status == healthv1.HealthCheckResponse_SERVING; got != serving {
		t.Errorf("gRPC health: %v, %v, want serving %t", answer, err, serving)
	}
}

func (r *running) end(t *testing.T) {
	t.Helper()
	r.process.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-r.exited:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, r.said)
		}
	case <-time.After(patience):
		t.Errorf("it does not end:\n%s", r.said)
	}
}
