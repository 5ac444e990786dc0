//go:build linux

package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keel/budget/ledger/pgserver"
	"keel/budget/ledger/roles"
	"keel/filter/wire/sample"
)

// loginsOf are addresses of a migrated database for a login in each of its roles.
func loginsOf(t *testing.T, owner string) (writer, editor, reader string) {
	t.Helper()
	prefix, err := roles.Prefix(owner)
	if err != nil {
		t.Fatal(err)
	}
	names, err := roles.NamesOf(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return pgserver.LoginForTest(t, owner, "in role "+names.Writer), pgserver.LoginForTest(t, owner, "in role "+names.Editor), pgserver.LoginForTest(t, owner, "in role "+names.Reader)
}

// A processor that is nothing but the writer does all that a processor does, killed and started again too: it decides, settles, signs the
// log, recovers what was in flight, and follows what the editor changes. The reader then proves the record.
func TestServeAsWriter(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-hold") != "" {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		sample.New(sample.Options{}).ServeHTTP(w, r)
	}))
	defer provider.Close()
	defer close(hold)
	c := startCluster(t, keel, pgserver.ForTest(t), 0, false, `---
kind: Budget
name: each
org: acme
limit: 100 USD
window: month
mode: enforce
`)
	writer, editor, reader := loginsOf(t, c.dsn)
	key := filepath.Join(t.TempDir(), "audit.key")
	keelOutput(t, "audit", "keys", "new", key, "--origin", "keel.example.com/audit")
	r := newReplica(t, 0, keel, writer, filepath.Join(openDir(t), "0"))
	r.args = append(r.args, "--audit-key", key)
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	c.replicas = append(c.replicas, r)
	address := r.connection().Target()
	r.args = append(r.args, "--grpc", address) // the same, when it is started again
	s := &stack{url: runAttached(t, envoyConfig(t, address, "--provider", "openai="+provider.URL)), dsn: c.dsn}
	const call = `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"Hello"}]}`

	first := s.post(t, "/v1/chat/completions", call, "x-keel-org: acme")
	if first.status != http.StatusOK {
		t.Fatalf("status %d: %s", first.status, first.body)
	}
	s.record(t, first.decision()).want(t, record{"action": "allow", "outcome": "complete", "org": "acme"})

	edit := exec.Command(keel, "apply", "-f", "-", "--database", editor)
	edit.Stdin = strings.NewReader("kind: Budget\nname: each\norg: acme\nlimit: 0 USD\nwindow: month\nmode: enforce\n")
	if out, err := edit.CombinedOutput(); err != nil {
		t.Fatalf("the editor: %v\n%s", err, out)
	}
	follows := func(status int) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			if a := s.post(t, "/v1/chat/completions", call, "x-keel-org: acme"); a.status == status {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the edit is not followed")
			}
		}
	}
	follows(http.StatusTooManyRequests)
	edit = exec.Command(keel, "delete", "budget", "each", "--org", "acme", "--database", editor)
	if out, err := edit.CombinedOutput(); err != nil {
		t.Fatalf("the editor: %v\n%s", err, out)
	}

	follows(http.StatusOK)

	// Killed with a call in flight.
	go func() {
		request, _ := http.NewRequest(http.MethodPost, s.url+"/v1/chat/completions", strings.NewReader(call))
		request.Header.Set("x-keel-org", "acme")
		request.Header.Set("x-hold", "1")
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
		}
	}()
	flying := s.recordWhere(t, "org = 'acme' and outcome = 'open' and decided_at < now() - interval '1 second'")
	if err := r.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	s.record(t, flying["decision_id"]).want(t, record{"outcome": "orphaned"})

	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		out, err := exec.Command(keel, "audit", "verify", "--key", key+".pub", "--database", reader).CombinedOutput()
		if err != nil {
			t.Fatalf("the reader: %v\n%s", err, out)
		}
		if strings.Contains(string(out), "0 records are on their way") && strings.Contains(string(out), "nothing was changed") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log is not complete: %s", out)
		}
	}
	if out, err := exec.Command(keel, "ledger", "check", "--database", reader).CombinedOutput(); err != nil {
		t.Errorf("the reader: %v\n%s", err, out)
	}
	if said := r.output.String(); strings.Contains(said, "permission denied") || strings.Contains(said, "42501") {
		t.Errorf("the writer lacks a right:\n%s", said)
	}

	// Documents are the editor's, at the start too.
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("kind: Settings\nname: default\noffline: allow_debt\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(keel, "serve", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--journal", t.TempDir(), "--database", writer, "--config", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "docs/security.md says which one this command wants") {
		t.Errorf("the writer changed documents: %v\n%s", err, out)
	}
}
