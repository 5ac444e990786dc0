package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The requests that "keel dev" prints do what they say, pasted into a shell.
func TestPrintedRequests(t *testing.T) {
	t.Parallel()
	s := start(t, stackOptions{})
	waitFor(t, "the requests to paste", func() bool { return strings.Contains(s.output.String(), "Ctrl-C stops everything") })
	lines := regexp.MustCompile(`(?m)^# (.*)\n(curl .*)\n(.* explain .*)$`).FindAllStringSubmatch(s.output.String(), -1)
	if len(lines) != 4 {
		t.Fatalf("%d requests printed, want 4:\n%s", len(lines), s.output)
	}
	want := []struct{ what, status, action, explained string }{
		{"passes", "200", "allow", "gpt-4o-mini"},
		{"cheaper", "200", "substitute", "gpt-5-mini"},
		{"denies", "429", "deny", "interns-day"},
		{"streams", "200", "allow", "claude-sonnet-4-5"},
	}
	for i, line := range lines {
		what, curl, explain := line[1], line[2], line[3]
		if !strings.Contains(what, want[i].what) {
			t.Errorf("request %d is described as %q", i, what)
		}
		out, err := shell(t, s, curl)
		if err != nil {
			t.Fatalf("%s\n%v: %s", curl, err, out)
		}
		headers, err := os.ReadFile(regexp.MustCompile(`-D (\S+)`).FindStringSubmatch(curl)[1])
		if err != nil || !strings.Contains(string(headers), " "+want[i].status) {
			t.Errorf("%s: %v, headers\n%s", what, err, headers)
		}
		id := regexp.MustCompile(`(?i)x-keel-decision-id: (\S+)`).FindStringSubmatch(string(headers))
		if id == nil {
			t.Fatalf("%s: no decision id in\n%s", what, headers)
		}
		s.record(t, id[1]).want(t, record{"action": want[i].action})
		out, err = shell(t, s, explain)
		if err != nil || !strings.Contains(out, want[i].explained) {
			t.Errorf("%s\n%v: %s", explain, err, out)
		}
	}
	if !strings.Contains(s.output.String(), "ready after") {
		t.Error("keel dev does not say that it is ready")
	}
}

func shell(t *testing.T, s *stack, line string) (string, error) {
	command := exec.CommandContext(t.Context(), "bash", "-c", line)
	command.Env = append(os.Environ(), "KEEL_DATABASE_URL="+s.dsn)
	out, err := command.CombinedOutput()
	return string(out), err
}

// A port that is taken, and an upstream that makes no sense, are one sentence and no child.
func TestDevRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen", taken.Addr().String()}, "give another with --listen"},
		{[]string{"--admin", taken.Addr().String()}, "give another with --admin"},
		{[]string{"--grpc", taken.Addr().String()}, "give another with --grpc"},
		{[]string{"--upstream", "nobody=http://127.0.0.1:1"}, `no provider "nobody"; there are openai, anthropic`},
		{[]string{"--upstream", "openai"}, "want PROVIDER=URL"},
		{[]string{"--config", "/nonexistent.yaml"}, "/nonexistent.yaml"},
	} {
		dir := openDir(t)
		args := append([]string{"dev", "--dir", dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--grpc", "127.0.0.1:0"}, test.args...)
		out, err := exec.Command(keel, args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), test.want) {
			t.Errorf("%v: %v, want %q in\n%s", test.args, err, test.want, out)
		}
		if n := strings.Count(strings.TrimSpace(string(out)), "\n"); n > 0 {
			t.Errorf("%v: more than one line:\n%s", test.args, out)
		}
	}
}

// Everything that dev started is gone when it is, however it goes.
func TestDevLeavesNothingRunning(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t)
			process := exec.Command(keel, "dev", "--dir", dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
			output := new(buffer)
			process.Stdout, process.Stderr = output, output
			for _, v := range os.Environ() {
				if !strings.HasPrefix(v, "KEEL_DATABASE_URL=") {
					process.Env = append(process.Env, v)
				}
			}
			process.Env = append(process.Env, "KEEL_CACHE="+cacheDir(t))
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "ready.json")
			waitFor(t, "the ready file", func() bool { _, err := os.Stat(file); return err == nil })
			var ready struct{ Envoy, Admin, Database string }
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &ready); err != nil {
				t.Fatal(err)
			}
			if answer, err := client.Get(ready.Admin + "/readyz"); err != nil || answer.StatusCode != http.StatusOK {
				t.Errorf("/readyz: %v, %v", answer, err)
			}
			process.Process.Signal(signal)
			err = process.Wait()
			if signal != syscall.SIGKILL && err != nil {
				t.Errorf("keel dev: %v\n%s", err, output)
			}
			for _, address := range []string{ready.Envoy, ready.Admin, ready.Database} {
				host := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(address)
				if host == "" {
					continue // a socket
				}
				waitFor(t, address+" to be gone", func() bool {
					c, err := net.DialTimeout("tcp", host, time.Second)
					if err == nil {
						c.Close()
					}
					return err != nil
				})
			}
		})
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
