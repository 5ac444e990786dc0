package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"keel/filter/peers"
)

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	redirected = regexp.MustCompile(`^(.*?) > (\S+)$`)
)

// Every command of docs/envoy.md, and those of the README that attach Keel, what they say, one after the other in one folder. Those
// of others have to name files that are there.
func TestEnvoyPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ours := regexp.MustCompile(`(?m)^\.keel/bin/(keel envoy .*)$`).FindAllStringSubmatch(string(readme), -1)
	if len(ours) == 0 {
		t.Error("the README attaches nothing")
	}
	for _, line := range ours {
		page = append(page, "\n```sh\n"+line[1]+"\n```\n"...)
	}
	dump, err := os.ReadFile("../../envoy/lint/testdata/config_dump.json") // in place of the Envoy that curl asks; e2e.TestAttach asks one
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "envoy", "kubernetes"), os.DirFS("../../envoy/kubernetes")); err != nil {
		t.Fatal(err)
	}
	logins, err := os.ReadFile("../../envoy/logins.sql")
	if err != nil {
		t.Fatal(err)
	}
	serve := gatewayServes(t)
	signIn := regexp.MustCompile("(?s)```yaml\n(oidc:.*?)```").FindSubmatch(page)
	if signIn == nil {
		t.Fatal("nobody signs in")
	}
	for name, text := range map[string][]byte{"ca.crt": nil, "oidc-secret": nil, "sign-in.yaml": signIn[1], "envoy/logins.sql": logins} { // which the reader has
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	run := 0
	for _, block := range shellBlock.FindAllSubmatch(page, -1) {
		for line := range strings.Lines(string(block[1])) {
			line = strings.TrimSpace(line)
			command, file := line, ""
			if m := redirected.FindStringSubmatch(line); m != nil {
				command, file = m[1], m[2]
			}
			words := strings.Fields(command)
			var stdout bytes.Buffer
			switch words[0] {
			case "keel":
				run++
				var stderr bytes.Buffer
				m := Main{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
				code := m.Run(context.Background(), words[1:])
				if words[1] == "serve" { // there is no database here; e2e.TestAttach has one
					if code != exitFailed || !strings.Contains(stderr.String(), "no database") {
						t.Errorf("%s: exit %d: %s", line, code, &stderr)
					}
				} else if code != exitOK {
					t.Errorf("%s: exit %d: %s%s", line, code, &stderr, &stdout)
				}
			case "curl":
				if strings.Contains(line, "config_dump") {
					stdout.Write(dump)
				} else if !strings.Contains(line, "x-keel-dry-run: true") { // e2e runs it
					t.Errorf("nobody runs %q", line)
				}
			case "kubectl":
				stdout.Write(kubectl(t, line, dump))
			case "envoy":
				if _, err := os.Stat(words[len(words)-1]); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			case "umask", "for", "openssl":
				if _, err := exec.LookPath("openssl"); err != nil {
					t.Skipf("%s was skipped from here on: no openssl on this machine", t.Name())
				}
				if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", line, err, out)
				}
				file = ""
			case "psql": // e2e.TestImage runs it
				if _, err := os.Stat(words[len(words)-1]); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			case "docker": // TestDockerfile, and e2e.TestImage, which runs what it packs
			default:
				t.Errorf("nobody runs %q", line)
			}
			if file != "" {
				if err := os.WriteFile(filepath.Join(dir, file), stdout.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if run < 10 {
		t.Errorf("only %d commands of keel on the page", run)
	}
	checkCertificates(t, serve)
}

// gatewayServes is how the gateway's manifest serves.
func gatewayServes(t *testing.T) *serveCmd {
	t.Helper()
	for _, m := range readManifests(t, "../../envoy/kubernetes/gateway.yaml") {
		if m.Kind == "StatefulSet" {
			return &parseLine(t, m.Metadata.Name, m.Spec.Template.Spec.Containers[0].Args).Serve
		}
	}
	t.Fatal("gateway.yaml serves nothing")
	return nil
}

// checkCertificates holds those that the page makes to what both ends want of each other: Envoy the name by which it is told
// to find Keel, Keel the peer of the manifest.
func checkCertificates(t *testing.T, serve *serveCmd) {
	t.Helper()
	gate, err := peers.New(peers.Options{Certificate: "keel.crt", Key: "keel.key", ClientCA: "keel-ca.crt", Allowed: serve.Peer, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.LoadX509KeyPair("envoy.crt", "envoy.key")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile("keel-ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	l, err := tls.Listen("tcp", "127.0.0.1:0", gate.TLS())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	let := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.(*tls.Conn).HandshakeContext(t.Context())
			c.Close()
		}
		let <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: trusted, ServerName: "keel.keel.svc.cluster.local", Certificates: []tls.Certificate{client}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatalf("Envoy does not take the certificate of Keel: %v", err)
	}
	defer c.Close()
	if err := <-let; err != nil {
		t.Errorf("Keel does not take the certificate of Envoy: %v", err)
	}
}

// fileFlag is a file that kubectl is to read.
var fileFlag = regexp.MustCompile(`(?:-f |--from-file=(?:[a-z.]+=)?|--cert=|--key=)(\S+)`)

// kubectl does what a cluster is not needed for: the files have to be there, and kubectl itself, where it is, has to
// understand a "create". What is in the manifests e2e/mesh has checked.
func kubectl(t *testing.T, line string, dump []byte) []byte {
	t.Helper()
	if strings.Contains(line, " exec ") || strings.Contains(line, " port-forward ") || strings.Contains(line, " rollout ") || strings.Contains(line, " wait ") {
		return dump
	}
	for _, m := range fileFlag.FindAllStringSubmatch(line, -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if _, err := exec.LookPath("kubectl"); err != nil || !strings.Contains(line, " create ") {
		return nil
	}
	if out, err := exec.Command("sh", "-c", line+" --dry-run=client -o yaml").CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", line, err, out)
	}
	return nil
}
