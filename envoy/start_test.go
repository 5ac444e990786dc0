package envoy

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keel/envoy/program"
)

// started is an Envoy for one test, in a folder that its user can't enter.
func started(t *testing.T, c Config) *Envoy {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // the first one downloads
	defer cancel()
	e, err := Start(ctx, Options{Dir: filepath.Join(t.TempDir(), "envoy"), Progress: os.Stderr, Config: c, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil && !strings.Contains(err.Error(), "killed") {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(e.Dir(), "envoy.log"))
			t.Logf("envoy.log:\n%s", log)
		}
		os.RemoveAll(e.Dir()) // may lie outside the test's own folder
	})
	return e
}

// echoed is what a provider was asked, which echo answers with.
type echoed struct {
	Host, Path string
	Header     http.Header
	Bytes      int
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("content-type", "application/json")
	json.NewEncoder(w).Encode(echoed{r.Host, r.URL.Path, r.Header, len(body)})
}

func call(t *testing.T, e *Envoy, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+e.Listen()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func TestCallGoesWhereTheProcessorSays(t *testing.T) {
	p := startProcessor(t)
	upstream := httptest.NewServer(http.HandlerFunc(echo))
	defer upstream.Close()
	e := started(t, Config{Processor: p.addr, RequestLimit: 4 << 20, Providers: []Provider{
		{Name: "openai", Host: "api.openai.com", Address: upstream.URL},
		{Name: "google", Host: "generativelanguage.googleapis.com", Address: upstream.URL},
	}})

	big := strings.Repeat("x", 3<<20) // over Envoy's own 1 MiB
	for _, c := range []struct {
		name, path, body  string
		spoof             bool // the client sets a target of its own
		status            int
		wantHost, wantURL string
	}{
		{"by body", "/v1/chat/completions", `{"to":"openai/gpt-5"}`, false, 200, "api.openai.com", "/v1/chat/completions"},
		{"by body, spoofed", "/v1/chat/completions", `{"to":"openai/gpt-5"}`, true, 200, "api.openai.com", "/v1/chat/completions"},
		{"path rewritten", "/v1beta/models/a:generateContent", `{"to":"google/b","path":"/v1beta/models/b:generateContent"}`, false, 200, "generativelanguage.googleapis.com", "/v1beta/models/b:generateContent"},
		{"slashes merged", "/v1//chat/completions", `{"to":"openai/gpt-5"}`, false, 200, "api.openai.com", "/v1/chat/completions"},
		{"big body", "/v1/chat/completions", `{"to":"openai/gpt-5"}` + big, false, 200, "api.openai.com", "/v1/chat/completions"},
		{"no target", "/v1/nothing", `{}`, false, 404, "", ""},
		{"no target, spoofed", "/v1/nothing", `{}`, true, 404, "", ""},
		{"target of nobody", "/v1/nothing", `{"to":"openaix/gpt-5"}`, false, 404, "", ""},
		{"too big", "/v1/chat/completions", big + big, false, 413, "", ""},
		{"too big, spoofed", "/v1/chat/completions", big + big, true, 413, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := []string{"x-forwarded-for", "10.9.8.7"}
			if c.spoof {
				headers = append(headers, TargetHeader, "google/made-up-by-the-client")
			}
			response, text := call(t, e, c.path, c.body, headers...)
			if response.StatusCode != c.status {
				t.Fatalf("status %d, want %d: %s", response.StatusCode, c.status, text)
			}
			if c.status == 404 {
				if !json.Valid([]byte(text)) || response.Header.Get("content-type") != "application/json" {
					t.Errorf("not JSON: %s: %s", response.Header.Get("content-type"), text)
				}
				return
			}
			if c.status != 200 {
				return
			}
			var got echoed
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			if got.Host != c.wantHost || got.Path != c.wantURL || got.Bytes != len(c.body) {
				t.Errorf("provider got host %s, path %s, %d bytes", got.Host, got.Path, got.Bytes)
			}
			for name, values := range got.Header {
				if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-keel") || lower == "x-forwarded-for" || lower == "x-envoy-upstream-rq-timeout-ms" || lower == "x-envoy-internal" {
					t.Errorf("provider got header %s: %s", name, values)
				}
			}
		})
	}

	t.Run("a body over the limit never reaches the processor", func(t *testing.T) {
		bodies, _ := p.seen()
		for _, n := range bodies {
			if n > 4<<20 {
				t.Errorf("a body of %d bytes", n)
			}
		}
	})
	t.Run("access log", func(t *testing.T) {
		want := []string{"keel openai 200 via_upstream d-1 failed_open=0 shown=true", "keel unrouted 404 cluster_not_found d-1 failed_open=0 shown=true", "413 request_payload_too_large"}
		deadline := time.Now().Add(5 * time.Second)
		for {
			_, logs := p.seen()
			all, missing := strings.Join(logs, "\n"), ""
			for _, w := range want {
				if !strings.Contains(all, w) {
					missing = w
				}
			}
			if missing == "" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no entry %q in:\n%s", missing, all)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	t.Run("attributes", func(t *testing.T) {
		p.mu.Lock()
		defer p.mu.Unlock()
		first := p.results[0].GetFields()
		if first["upstream.request_attempt_count"].GetNumberValue() != 1 || first["response.code_details"].GetStringValue() != "via_upstream" {
			t.Errorf("response attributes %v", first)
		}
	})
	t.Run("counters of doc.go", func(t *testing.T) {
		p.mu.Lock()
		p.halfEnd = true
		p.mu.Unlock()
		call(t, e, "/v1/x", `{}`)
		ctx := context.Background()
		for name, want := range map[string]int64{
			"http.keel.ext_proc.keel.server_half_closed":         1,
			"http.keel.ext_proc.keel.failure_mode_allowed":       0,
			"http.keel.ext_proc.keel.streams_failed":             0,
			"http.keel.ext_proc.keel.message_timeouts":           0,
			"cluster.keel_processor.upstream_rq_active_overflow": 0,
		} {
			if got, err := e.Counter(ctx, name); err != nil || got != want {
				t.Errorf("%s is %d, %v; want %d", name, got, err, want)
			}
		}
	})
}

func TestWithoutProcessorNothingPasses(t *testing.T) {
	port, err := program.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	reached := false
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer upstream.Close()
	e := started(t, Config{Processor: address{host: "127.0.0.1", port: uint32(port)}.String(), Providers: []Provider{{Name: "openai", Host: "api.openai.com", Address: upstream.URL}}})
	response, text := call(t, e, "/v1/chat/completions", `{}`, TargetHeader, "openai/gpt-5")
	if response.StatusCode != 503 || reached {
		t.Errorf("status %d, provider reached: %t: %s", response.StatusCode, reached, text)
	}
}

func TestRetries(t *testing.T) {
	p := startProcessor(t)
	tries := 0
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries < 3 {
			w.WriteHeader(map[int]int{1: 503, 2: 429}[tries])
			return
		}
		echo(w, r)
	}))
	defer upstream.Close()
	providers := []Provider{{Name: "openai", Host: "api.openai.com", Address: upstream.URL}}
	t.Run("not by default, where a try may have been billed", func(t *testing.T) {
		e := started(t, Config{Processor: p.addr, Providers: providers})
		if response, _ := call(t, e, "/v1/x", `{"to":"openai/m"}`); response.StatusCode != 503 || tries != 1 {
			t.Errorf("status %d after %d tries", response.StatusCode, tries)
		}
	})
	t.Run("as asked for", func(t *testing.T) {
		tries = 0
		e := started(t, Config{Processor: p.addr, Providers: providers, Retry: &Retry{On: []string{"5xx"}, Statuses: []uint32{429}, Times: 2}})
		if response, _ := call(t, e, "/v1/x", `{"to":"openai/m"}`); response.StatusCode != 200 || tries != 3 {
			t.Errorf("status %d after %d tries", response.StatusCode, tries)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if n := p.results[len(p.results)-1].GetFields()["upstream.request_attempt_count"].GetNumberValue(); n != 3 {
			t.Errorf("the processor was told of %v attempts", n)
		}
	})
}

func TestTLSIsChecked(t *testing.T) {
	p := startProcessor(t)
	upstream := httptest.NewTLSServer(http.HandlerFunc(echo)) // its certificate is for 127.0.0.1 and example.com
	defer upstream.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem") // which Envoy's user can't read
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: upstream.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(upstream.Listener.Addr().String())
	e := started(t, Config{Processor: p.addr, CAFile: ca, Providers: []Provider{
		{Name: "good", Host: "api.openai.com", Address: upstream.URL},
		{Name: "wrong", Host: "api.openai.com", Address: "https://localhost:" + port},
	}})
	if response, text := call(t, e, "/v1/x", `{"to":"good/m"}`); response.StatusCode != 200 || !strings.Contains(text, `"api.openai.com"`) {
		t.Errorf("certificate of 127.0.0.1: %d %s", response.StatusCode, text)
	}
	if response, text := call(t, e, "/v1/x", `{"to":"wrong/m"}`); response.StatusCode != 503 || strings.Contains(text, "api.openai.com") {
		t.Errorf("certificate of another host: %d %s", response.StatusCode, text)
	}
}

func TestDrainWaitsForCallsInFlight(t *testing.T) {
	p := startProcessor(t)
	arrived, release := make(chan bool), make(chan bool)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		<-release
		echo(w, r)
	}))
	defer upstream.Close()
	e := started(t, Config{Processor: p.addr, Providers: []Provider{{Name: "openai", Host: "api.openai.com", Address: upstream.URL}}})
	status := make(chan int)
	go func() {
		response, _ := call(t, e, "/v1/x", `{"to":"openai/m"}`)
		status <- response.StatusCode
	}()
	<-arrived
	short, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := e.Drain(short); err == nil || !strings.Contains(err.Error(), "cut: 1") {
		t.Errorf("drain with a call in flight: %v", err)
	}
	if _, err := net.DialTimeout("tcp", e.Listen(), time.Second); err == nil {
		t.Error("a new connection was taken")
	}
	close(release)
	if got := <-status; got != 200 {
		t.Errorf("the call in flight got %d", got)
	}
	if err := e.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestStartRefuses(t *testing.T) {
	ctx := context.Background()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := Config{Processor: "127.0.0.1:1", Providers: []Provider{{Name: "openai", Host: "api.openai.com"}}}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"port taken":      {func(c *Config) { c.Listen = taken.Addr().String() }, taken.Addr().String() + " is already in use"},
		"no certificates": {func(c *Config) { c.CAFile = "/nowhere/ca.pem" }, "/nowhere/ca.pem"},
		"envoy says no":   {func(c *Config) { c.Retry = &Retry{Times: 1, Statuses: []uint32{429}}; c.CAFile = "/etc/passwd" }, "envoy refuses its configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			c.change(&config)
			base, err := os.MkdirTemp("", "keel-envoy-test-") // what Start makes in it goes with it
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(base)
			if err := os.Chmod(base, 0o711); err != nil {
				t.Fatal(err)
			}
			e, err := Start(ctx, Options{Dir: filepath.Join(base, "envoy"), Config: config})
			if err == nil {
				e.Stop()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			t.Log(err)
		})
	}
}

func TestDeathIsTold(t *testing.T) {
	e := started(t, Config{Processor: "127.0.0.1:1", Providers: []Provider{{Name: "openai", Host: "api.openai.com"}}})
	process, err := os.FindProcess(e.PID())
	if err != nil {
		t.Fatal(err)
	}
	process.Kill()
	select {
	case err := <-e.Died():
		if err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("died of %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was told")
	}
	if e.Stop() == nil {
		t.Error("Stop of a dead Envoy says nothing")
	}
}

func TestRunsUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this process is not root")
	}
	e := started(t, Config{Processor: "127.0.0.1:1", Providers: []Provider{{Name: "openai", Host: "api.openai.com"}}})
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.PID()))
	if err != nil {
		t.Skip(err)
	}
	if bytes.Contains(text, []byte("\nUid:\t0\t")) {
		t.Errorf("Envoy runs as root:\n%s", text)
	}
}
