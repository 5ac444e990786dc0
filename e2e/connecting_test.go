//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/filter/wire/sample"
)

// unanswered is an address that says neither yes nor no to whoever connects: its queue is full, and nobody takes from it.
func unanswered(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", at, 200*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill")
	return ""
}

// An attempt that waits for its connection is not touched by what goes to Keel meanwhile, however much it is, of other calls or of its own: Envoy
// 1.40 dies where a filter of attempts is told that its processor's connection or stream is full, and has no provider yet to hold back.
func TestAttemptAwaitsConnection(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"full", "attempts", "light", "authz", "fast"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			provider := httptest.NewServer(sample.New(sample.Options{Keep: 10}))
			t.Cleanup(provider.Close)
			c := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
			text := envoyConfig(t, c.replicas[0].connection().Target(), "--mode", mode, "--provider", "openai=http://"+unanswered(t), "--provider", "anthropic="+provider.URL)
			e := startWritten(t, bootstrapOf(t, text, func(b *bootstrapv3.Bootstrap) {
				openai := clusterOf(b, "openai")
				openai.ConnectTimeout = durationpb.New(patience)
				if mode == "attempts" { // whose filter then asks for the body of an attempt
					one := openai.LoadAssignment.Endpoints[0].LbEndpoints[0]
					one.Metadata = endpoint("", map[string]any{"provider": "openai", "model": "gpt-4.1"}).Metadata
				}
			}))
			s := &stack{dsn: c.dsn, url: "http://" + e.Listen()}
			lengthy := func(body string, bytes int) string {
				return strings.Replace(body, "Hello", strings.Repeat("Hello ", bytes/len("Hello ")), 1)
			}
			for n, body := range []string{helloChat, lengthy(helloChat, 20<<20)} {
				ctx, leave := context.WithCancel(t.Context())
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/chat/completions", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				setHeaders(request, nil)
				ended := make(chan error, 1)
				go func() {
					response, err := client.Do(request)
					if err == nil {
						response.Body.Close()
						err = fmt.Errorf("it was answered with %s", response.Status)
					}
					ended <- err
				}()
				connects(t, e, int64(n+1), ended)
				for range 4 {
					a := s.do(t, http.MethodPost, "/v1/messages", strings.NewReader(lengthy(`{"model":"claude-sonnet-4-5","max_tokens":16,"messages":[{"role":"user","content":"Hello"}]}`, 2<<20)), "anthropic-version: 2023-06-01")
					if a.status != http.StatusOK {
						t.Fatalf("%d %s, %v", a.status, a.body, a.header)
					}
				}
				leave()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("what waited for its connection: %v", err)
				}
			}
		})
	}
}

// connects returns when n calls have waited for a connection to the first provider, and the last one does.
func connects(t *testing.T, e *envoy.Envoy, n int64, ended <-chan error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		waited, err := e.Counter(t.Context(), "cluster.openai.upstream_rq_pending_total")
		if err == nil && waited >= n {
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("a call did not wait for its connection: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d calls waited for a connection, want %d: %v", waited, n, err)
		}
	}
}

// A processor that does not read holds back the answer that it should read: Envoy keeps about as much of it as a request may have, in mode
// attempts too, where it has no limit for all that is on a connection.
func TestStalledProcessorHoldsAnswer(t *testing.T) {
	t.Parallel()
	const (
		flood = 96 << 20
		most  = 64 << 20 // 32 MiB, and what sockets hold
	)
	for _, mode := range []string{"full", "attempts"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var written atomic.Int64
			stalled := make(chan struct{})
			provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("content-type", "text/event-stream")
				_, _ = io.WriteString(w, longChunk)
				w.(http.Flusher).Flush()
				<-stalled
				for written.Load() < flood {
					n, err := io.WriteString(w, longChunk)
					if err != nil {
						return
					}
					written.Add(int64(n))
				}
			}))
			t.Cleanup(provider.Close)
			c := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
			text := envoyConfig(t, c.replicas[0].connection().Target(), "--mode", mode, "--provider", "openai="+provider.URL)
			e := startWritten(t, bootstrapOf(t, text))
			response, err := client.Post("http://"+e.Listen()+"/v1/chat/completions", "application/json", strings.NewReader(helloChat))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err := response.Body.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			c.replicas[0].pause(t)
			close(stalled)
			n, err := io.Copy(io.Discard, response.Body)
			if err == nil {
				t.Error("the answer ended well: it did not pass Keel")
			}
			if taken := written.Load(); taken < 1<<20 || taken > most {
				t.Errorf("%d bytes were taken from the provider, want at most %d", taken, most)
			} else {
				t.Logf("%d bytes were taken from the provider, %d given to the client", taken, n)
			}
			c.replicas[0].resume()
		})
	}
}
