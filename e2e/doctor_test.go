//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/filter/wire/sample"
)

const chatCall = `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"Hello"}]}`

// patient is an attachment, as "keel envoy config" and "keel serve" make it, for keel doctor to look at.
type patient struct {
	*stack
	t       *testing.T
	cluster *cluster
	replica *replica
	envoy   *envoy.Envoy
	slow    chan struct{} // closed: the provider answers
}

// admit starts one. edit breaks Envoy's configuration.
func admit(t *testing.T, edit func(string) string) *patient {
	t.Helper()
	p := &patient{t: t, slow: make(chan struct{})}
	answers := sample.New(sample.Options{Keep: 10})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-slow") != "" {
			<-p.slow
		}
		answers.ServeHTTP(w, r)
	}))
	t.Cleanup(provider.Close)
	p.cluster = startCluster(t, keel, pgserver.ForTest(t), 0, false, "")
	p.replica = newReplica(t, 0, keel, p.cluster.dsn, openDir(t)).behind(t)
	if err := p.replica.start(); err != nil {
		t.Fatal(err)
	}
	text := string(envoyConfig(t, p.replica.connection().Target(), "--provider", "openai="+provider.URL))
	if edit != nil {
		broken := edit(text)
		if broken == text {
			t.Fatal("the edit changes nothing")
		}
		text = broken
	}
	p.envoy = runEnvoy(t, []byte(text))
	p.stack = &stack{url: "http://" + p.envoy.Listen(), dsn: p.cluster.dsn}
	return p
}

// finding is as keel doctor --json has it.
type finding struct{ Check, Status, At, Saw, Danger, Fix string }

// look runs keel doctor over all of it and returns what is not well, "check: saw" by line, and the exit status.
func (p *patient) look(more ...string) (found []finding, status int) {
	p.t.Helper()
	args := []string{"doctor", "--json", "--envoy-admin", p.envoy.Admin(), "--envoy", p.url, "--admin", p.replica.admin}
	if !slices.Contains(more, "--database") {
		args = append(args, "--database", p.dsn)
	}
	command := exec.Command(keel, append(args, more...)...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Run()
	var report struct{ Findings []finding }
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		p.t.Fatalf("%v: %s%s", err, &stdout, &stderr)
	}
	for _, f := range report.Findings {
		if f.Status != "ok" && f.Status != "unseen" {
			found = append(found, f)
		}
	}
	return found, command.ProcessState.ExitCode()
}

// finds waits until doctor names everything in want, "check: a part of what it saw or of its fix", and nothing that is not. What begins with
// a question mark may come with time.
func (p *patient) finds(status int, want []string, more ...string) {
	p.t.Helper()
	var told string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		found, code := p.look(more...)
		told = fmt.Sprintf("exit status %d", code)
		named := make([]bool, len(want))
		strange := code != status
		for _, f := range found {
			told += fmt.Sprintf("\n%s %s: %s: %s\n  then %s\n  fix %s", f.Status, f.Check, f.At, f.Saw, f.Danger, f.Fix)
			known := false
			for i, w := range want {
				w, later := strings.CutPrefix(w, "?")
				named[i] = named[i] || later
				check, part, _ := strings.Cut(w, ": ")
				if f.Check == check && strings.Contains(f.Saw+"\n"+f.Fix, part) && f.Danger != "" && f.Fix != "" {
					named[i], known = true, true
				}
			}
			strange = strange || !known
		}
		if !strange && !slices.Contains(named, false) {
			return
		}
	}
	p.t.Fatalf("want exit status %d and %q, and nothing else; keel doctor says\n%s", status, want, told)
}

// call makes a call and wants a status.
func (p *patient) call(status int, headers ...string) {
	p.t.Helper()
	if a := p.post(p.t, "/v1/chat/completions", chatCall, headers...); a.status != status {
		p.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
}

// What is wrong with an attachment is named, with its fix, and nothing else is.
func TestDoctor(t *testing.T) {
	replace := func(old, with string, n int) func(string) string {
		return func(text string) string { return strings.Replace(text, old, with, n) }
	}
	for name, c := range map[string]struct {
		edit func(text string) string
		ail  func(p *patient)
	}{
		"nothing": {nil, func(p *patient) {
			p.call(http.StatusOK)
			p.finds(0, nil)
		}},
		"fails open, and its processor is gone": {replace("failure_mode_allow: false", "failure_mode_allow: true", 1), func(p *patient) {
			p.call(http.StatusOK)
			if err := p.replica.end(syscall.SIGKILL); err != nil {
				p.t.Error(err)
			}
			p.call(http.StatusNotFound) // nobody says where it goes, and nobody stops it
			p.finds(2, []string{
				"envoy-config: [ext-proc-fails-open]", "fails-open: failure_mode_allow: false", "processor-healthy: 0 of", "processor-streams: failed",
				"route: answered by somebody else", "keel: connection refused", "?processors: ", "?access-log: ",
			})
		}},
		"a breaker": {func(text string) string {
			return strings.Replace(text, "max_requests: 4294967295", "max_requests: 2", 1)
		}, func(p *patient) {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { p.post(p.t, "/v1/chat/completions", chatCall, "x-slow: yes") })
			}
			time.Sleep(time.Second) // until each of them was answered or waits
			close(p.slow)
			wg.Wait()
			p.finds(1, []string{"breakers: Raise circuit_breakers", "envoy-config: [breaker-default]", "processor-streams: failed"})
		}},
		"bodies are too large": {func(text string) string {
			return regexp.MustCompile(`\n +request_body_buffer_limit: .*`).ReplaceAllString(text, "")
		}, func(p *patient) {
			body := strings.Replace(chatCall, "Hello", strings.Repeat("Hello ", 300_000), 1)
			if a := p.post(p.t, "/v1/chat/completions", body); a.status != http.StatusRequestEntityTooLarge {
				p.t.Fatalf("%d %s", a.status, a.body)
			}
			p.finds(1, []string{"bodies: Raise request_body_buffer_limit", "envoy-config: [buffer-limit-small]"})
		}},
		"usage is not seen": {func(text string) string {
			text = strings.Replace(text, "response_body_mode: STREAMED", "response_body_mode: NONE", 1)
			return strings.Replace(text, "allow_mode_override: true", "allow_mode_override: false", 1)
		}, func(p *patient) {
			p.call(http.StatusOK)
			p.finds(1, []string{"usage: ", "envoy-config: [response-body-mode]", "envoy-config: [mode-override-missing]"})
		}},
		"a route goes by": {replace("              routes:\n", `              routes:
              - name: by
                match: {prefix: /v1/chat/}
                route: {cluster: openai}
                typed_per_filter_config:
                  keel.ext_proc:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute
                    disabled: true
`, 1), func(p *patient) {
			p.call(http.StatusOK)
			p.finds(1, []string{"route: answered by somebody else", "bypassed: seen in the access log only", "unmetered: unknown: deny", "envoy-config: [route-not-covered]", "envoy-config: "})
		}},
		"the database": {nil, func(p *patient) {
			p.call(http.StatusOK)
			if err := p.cluster.sql(`insert into keel.policies (org, name, "when", "do") values ('default', 'slip', 'subject.team = ', '{"deny": "no"}')`); err != nil {
				p.t.Fatal(err)
			}
			p.finds(1, []string{"configuration: keel apply refuses"})
			if err := p.cluster.sql("delete from keel.policies where name = 'slip'"); err != nil {
				p.t.Fatal(err)
			}
			if err := p.cluster.sql("insert into keel.migrations (id, name, hash) values (999, '999_next.sql', '')"); err != nil {
				p.t.Fatal(err)
			}
			p.finds(2, []string{"database: use a newer keel"})
			if err := p.cluster.sql("delete from keel.migrations where id = 999"); err != nil {
				p.t.Fatal(err)
			}
			p.replica.proxy.leave(true)
			p.finds(1, []string{"keel-database: Bring Postgres back", "?processors: "})
			p.replica.proxy.leave(false)
			p.finds(0, nil)
			u, err := url.Parse(p.dsn)
			if err != nil {
				p.t.Fatal(err)
			}
			u.Host = "127.0.0.1:1"
			p.finds(2, []string{"database: connection refused"}, "--database", u.String())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.ail(admit(t, c.edit))
		})
	}
}
