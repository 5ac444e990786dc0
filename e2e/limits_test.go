//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"keel/budget/ledger/pgserver"
	"keel/filter/wire/sample"
)

// encoders are of the encodings that the filter decodes.
var encoders = map[string]func(t *testing.T, w io.Writer) io.WriteCloser{
	"gzip": func(_ *testing.T, w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"br":   func(_ *testing.T, w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 5) },
	"zstd": func(t *testing.T, w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		if err != nil {
			t.Fatal(err)
		}
		return z
	},
}

func compressed(t *testing.T, encoding, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := encoders[encoding](t, &b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A body that comes compressed is decided by what is in it, and the provider gets it plain: what Keel read is what is asked for.
func TestCompressedRequest(t *testing.T) {
	s := shared(t)
	for encoding := range encoders {
		t.Run(encoding, func(t *testing.T) {
			got := s.post(t, "/v1/chat/completions", compressed(t, encoding, helloCall), "x-keel-team: roomy", "content-encoding: "+encoding)
			if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			served := s.served(t, got)
			if served.Header.Get("content-encoding") != "" || served.Model != "gpt-4o-mini" || !strings.Contains(served.RequestBody, "Hello") {
				t.Errorf("the provider got %v %s", served.Header, served.RequestBody)
			}
			s.record(t, got.decision()).want(t, record{"outcome": "complete", "model_requested": "gpt-4o-mini"})
		})
	}
	for name, c := range map[string]struct{ encoding, body string }{
		"an encoding that nobody knows":  {"compress", helloCall},
		"an encoding that it is not":     {"gzip", helloCall},
		"more encodings than anybody":    {"gzip, gzip, gzip, gzip", helloCall},
		"an encoding that is cut":        {"gzip", compressed(t, "gzip", helloCall)[:40]},
		"two bodies, one behind another": {"zstd", compressed(t, "zstd", helloCall) + compressed(t, "zstd", `{"model":"gpt-5"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.post(t, "/v1/chat/completions", c.body, "x-keel-team: roomy", "content-encoding: "+c.encoding)
			if got.status != http.StatusBadRequest {
				t.Errorf("status %d: %s", got.status, got.body)
			}
			s.notServed(t, got)
		})
	}
}

// A body that is small on the way and huge when it is read is refused while it is read.
func TestRequestBomb(t *testing.T) {
	s := shared(t)
	huge := strings.Replace(helloCall, "Hello", strings.Repeat("a", 48<<20), 1)
	for encoding := range encoders {
		t.Run(encoding, func(t *testing.T) {
			bomb := compressed(t, encoding, huge)
			if len(bomb) > 1<<20 {
				t.Fatalf("it is no bomb: %d bytes", len(bomb))
			}
			got := s.post(t, "/v1/chat/completions", bomb, "x-keel-team: roomy", "content-encoding: "+encoding)
			if got.status != http.StatusBadRequest || !strings.Contains(string(got.body), "too large") {
				t.Errorf("status %d: %.300s", got.status, got.body)
			}
			s.notServed(t, got)
			s.record(t, got.decision()).want(t, record{"action": "deny", "http_status": "400"})
		})
	}
}

func TestDeepBody(t *testing.T) {
	s := shared(t)
	for name, nested := range map[string]string{
		"lists":   strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20),
		"objects": strings.Repeat(`{"a":`, 1<<18) + "1" + strings.Repeat("}", 1<<18),
		"open":    strings.Repeat("[", 4<<20),
	} {
		got := s.post(t, "/v1/chat/completions", strings.Replace(helloCall, "{", `{"metadata":`+nested+`,`, 1), "x-keel-team: roomy")
		if got.status != http.StatusBadRequest {
			t.Errorf("%s: status %d: %.300s", name, got.status, got.body)
		}
		s.notServed(t, got)
	}
}

// Envoy takes 100 headers and 60 KiB of them; a flood reaches neither Keel nor a provider.
func TestHeaderFlood(t *testing.T) {
	s := shared(t)
	many := make([]string, 150)
	for i := range many {
		many[i] = fmt.Sprintf("x-flood-%d: 1", i)
	}
	for name, headers := range map[string][]string{"many": many, "big": {"x-flood: " + strings.Repeat("a", 100<<10)}} {
		request, err := http.NewRequest(http.MethodPost, s.url+"/v1/chat/completions", strings.NewReader(helloCall))
		if err != nil {
			t.Fatal(err)
		}
		setHeaders(request, append(headers, "x-keel-team: roomy", "x-keel-user: flood", "x-sample-key: flood"))
		response, err := client.Do(request)
		if err != nil {
			continue // Envoy hung up
		}
		response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
	}
	s.notServed(t, &answer{key: "flood"})
	if rows, err := s.query(t, "select to_jsonb(r) from keel.spend_records r where subject->>'user' = 'flood'"); err != nil || len(rows) > 0 {
		t.Errorf("%v, %v", rows, err)
	}
}

// raw writes a request byte by byte, in chunks of one, and reads the answer.
func (s *stack) raw(t *testing.T, body string, pause time.Duration) (*http.Response, error) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() {
		fmt.Fprint(conn, "POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\ncontent-type: application/json\r\nx-keel-team: roomy\r\nx-sample-key: raw-"+strconv.FormatInt(calls.Add(1), 10)+"\r\ntransfer-encoding: chunked\r\n\r\n")
		for i := range len(body) {
			if _, err := fmt.Fprintf(conn, "1\r\n%s\r\n", body[i:i+1]); err != nil {
				return
			}
			time.Sleep(pause)
		}
		fmt.Fprint(conn, "0\r\n\r\n")
	}()
	return http.ReadResponse(bufio.NewReader(conn), nil)
}

// However a body is cut into chunks, it is the same call: what it is charged and what the provider gets.
func TestChunkGames(t *testing.T) {
	s := shared(t)
	whole := s.post(t, "/v1/chat/completions", helloCall, "x-keel-team: roomy")
	want := s.record(t, whole.decision())
	response, err := s.raw(t, helloCall, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", response.StatusCode, readAll(t, response.Body))
	}
	s.record(t, response.Header.Get("x-keel-decision-id")).want(t, record{"outcome": "complete", "input_tokens": want["input_tokens"], "estimated_input_tokens": want["estimated_input_tokens"]})
	// An answer in chunks of one byte is read as any other: filter.TestWholeAndBytewise; here one that comes so from a provider.
	got := s.post(t, "/v1/chat/completions", strings.Replace(helloCall, "{", `{"stream":true,`, 1), "x-keel-team: roomy", "x-sample-chunk-delay: 1ms")
	s.record(t, got.decision()).want(t, record{"outcome": "complete", "metered": "provider"})
}

// A request that comes in drops is given up, however steadily it drops; nothing is held for it.
func TestSlowRequest(t *testing.T) {
	t.Parallel()
	provider := sample.New(sample.Options{Keep: 10})
	upstream := httptest.NewServer(provider)
	defer upstream.Close()
	c := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
	s := &stack{dsn: c.dsn, sample: provider, url: runAttached(t, envoyConfig(t, c.replicas[0].connection().Target(), "--provider", "openai="+upstream.URL, "--idle-timeout", "2s"))}
	s.refusesSlowRequests(t)
}

// refusesSlowRequests holds an Envoy to answer a body and headers that come in drops, by its limits, before anything is held or sent. Its
// idle timeout is some seconds.
func (s *stack) refusesSlowRequests(t *testing.T) {
	t.Helper()
	response, err := s.raw(t, helloCall, 200*time.Millisecond)
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode != http.StatusRequestTimeout {
			t.Errorf("a body in drops: status %d", response.StatusCode)
		}
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	dripped := make(chan struct{})
	go func() {
		defer close(dripped)
		fmt.Fprint(conn, "POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\n")
		for i := range 90 { // fewer than Envoy takes, in any case
			if _, err := fmt.Fprintf(conn, "x-drop-%d: 1\r\n", i); err != nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
		fmt.Fprint(conn, "content-length: "+strconv.Itoa(len(helloCall))+"\r\n\r\n"+helloCall)
	}()
	if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		defer response.Body.Close()
		if response.StatusCode != http.StatusRequestTimeout {
			t.Errorf("headers in drops: status %d", response.StatusCode)
		}
	}
	conn.Close()
	<-dripped
	if n := len(s.sample.Served()); n > 0 {
		t.Errorf("%d calls reached the provider", n)
	}
	if rows, err := s.query(t, "select to_jsonb(a) from keel.accounts a where held_n <> 0 or settled_n <> 0"); err != nil || len(rows) > 0 {
		t.Errorf("%v, %v", rows, err)
	}
}

// An answer that explodes is not read to its end: the call is closed out on what was seen, at no less than its bound, and the client, who
// asked for no such thing, gets what the provider sent.
func TestResponseBomb(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 300 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-encoding", "gzip")
		w.Header().Set("content-type", "application/json")
		_, _ = w.Write(bomb.Bytes())
	}))
	defer upstream.Close()
	c := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
	s := &stack{dsn: c.dsn, url: runAttached(t, envoyConfig(t, c.replicas[0].connection().Target(), "--provider", "openai="+upstream.URL))}
	before, err := c.replicas[0].resident()
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		got := s.post(t, "/v1/chat/completions", helloCall)
		r := s.record(t, got.decision())
		if r["metered"] != "estimated" || r["actual_cost_usd"] == "" || r["actual_cost_usd"] == "0" {
			t.Errorf("%v", r)
		}
	}
	after, err := c.replicas[0].resident()
	if err != nil {
		t.Fatal(err)
	}
	if after-before > 256<<20 {
		t.Errorf("8 bombs of 300 MiB grew the processor from %d to %d MiB", before>>20, after>>20)
	}
}

// A key by which clients mark a call that they send again is the provider's business: to Keel each is a call, with a decision and a
// charge of its own, so that a key used twice gets nobody a call for nothing.
func TestReplayedIdempotencyKey(t *testing.T) {
	s := shared(t)
	ids := map[string]bool{}
	for range 3 {
		got := s.post(t, "/v1/chat/completions", helloCall, "x-keel-team: roomy", "idempotency-key: 1", "x-request-id: 01988a3e-5f0c-7c31-9d5e-1b2a3c4d5e6f")
		r := s.record(t, got.decision())
		r.want(t, record{"outcome": "complete", "metered": "provider"})
		if r["actual_cost_usd"] == "0" || r["actual_cost_usd"] == "" {
			t.Errorf("it cost %q", r["actual_cost_usd"])
		}
		ids[got.decision()] = true
	}
	if len(ids) != 3 {
		t.Errorf("%d decisions for 3 calls", len(ids))
	}
}

// Beyond its limit a processor takes no call, and Envoy lets none through.
func TestMaxCalls(t *testing.T) {
	t.Parallel()
	hold, arrived := make(chan struct{}), make(chan struct{}, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-hold
		sample.New(sample.Options{}).ServeHTTP(w, r)
	}))
	defer upstream.Close()
	c := startCluster(t, keel, pgserver.ForTest(t), 0, false, "")
	r := newReplica(t, 0, keel, c.dsn, filepath.Join(openDir(t), "0"))
	r.args = append(r.args, "--max-calls", "1")
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	s := &stack{dsn: c.dsn, url: runAttached(t, envoyConfig(t, r.connection().Target(), "--provider", "openai="+upstream.URL))}
	first := make(chan int)
	go func() {
		response, err := client.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(helloCall))
		if err != nil {
			first <- 0
			return
		}
		response.Body.Close()
		first <- response.StatusCode
	}()
	<-arrived
	for range 3 {
		if got := s.post(t, "/v1/chat/completions", helloCall); got.status != http.StatusServiceUnavailable {
			t.Errorf("status %d: %s", got.status, got.body)
		}
	}
	close(hold)
	if status := <-first; status != http.StatusOK {
		t.Errorf("the first call: %d", status)
	}
}
