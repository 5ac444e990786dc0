//go:build linux

package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"keel/budget/ledger/pgserver"
	"keel/filter/wire/sample"
)

// slowAnswers stands between Envoy and a processor: what the processor says can be held back for a while.
type slowAnswers struct {
	net.Listener
	mu   sync.Mutex
	gate chan struct{} // closed while it may pass
}

func startSlowAnswers(t *testing.T, to string) *slowAnswers {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &slowAnswers{Listener: l, gate: make(chan struct{})}
	close(s.gate)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			envoy, err := l.Accept()
			if err != nil {
				return
			}
			keel, err := net.Dial("tcp", to)
			if err != nil {
				envoy.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(keel, envoy)
				keel.Close()
			}()
			go func() {
				defer envoy.Close()
				defer keel.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := keel.Read(b)
					s.mu.Lock()
					gate := s.gate
					s.mu.Unlock()
					<-gate
					if _, failed := envoy.Write(b[:n]); err != nil || failed != nil {
						return
					}
				}
			}()
		}
	}()
	return s
}

// hold keeps back what the processor says, until pass is called.
func (s *slowAnswers) hold() (pass func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// Mode authz: a client leaves while Keel's answer is on its way, so Envoy never reads it, and its access log has no decision. Keel finds the call that it
// let out by what the log tells of the request, and gives back what it held, at once and not after a day.
func TestClientLeavesBeforeTheAnswerToACheck(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	answers := sample.New(sample.Options{Keep: 10})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		answers.ServeHTTP(w, r)
	}))
	t.Cleanup(provider.Close)
	c := startCluster(t, keel, pgserver.ForTest(t), 1, false, "---\nkind: Budget\nname: left\nselector: {team: leaver}\nlimit: 5 USD\nwindow: lifetime\nmode: enforce\n")
	between := startSlowAnswers(t, c.replicas[0].connection().Target())
	s := &stack{dsn: c.dsn, url: runAttached(t, envoyConfig(t, between.Addr().String(), "--mode", "authz", "--provider", "openai="+provider.URL))}
	first := s.post(t, "/v1/chat/completions", helloChat, "x-keel-team: leaver")
	s.record(t, first.decision()).want(t, record{"outcome": "complete", "attempts": "1"})

	pass := between.hold()
	t.Cleanup(pass)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/chat/completions", strings.NewReader(helloChat))
	if err != nil {
		t.Fatal(err)
	}
	setHeaders(request, []string{"x-keel-team: leaver"})
	left := make(chan error, 1)
	go func() {
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		left <- err
	}()
	id := s.recordWhere(t, "subject->>'team' = 'leaver' and outcome = 'open'")["decision_id"]
	leave()
	if err := <-left; err == nil {
		t.Fatal("the client got an answer")
	}
	s.record(t, id).want(t, record{"outcome": "aborted", "metered": "none", "attempts": "0", "actual_cost_usd": "0.000000000"})
	if r := s.recordWhere(t, "decision_id = '"+id+"' and response_flags like '%downstream_connection_termination%'"); !strings.Contains(r["detail"], "before the call was let out") {
		t.Errorf("detail: %s", r["detail"])
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
	pass()
	waitFor(t, "an end of the hold", func() bool {
		held, err := rows[struct{ Held string }](c, "select held_usd::text as held from keel.budget_status where budget = 'left'")
		return err == nil && len(held) == 1 && nano(t, held[0].Held) == 0
	})
	again := s.post(t, "/v1/chat/completions", helloChat, "x-keel-team: leaver")
	s.record(t, again.decision()).want(t, record{"outcome": "complete", "attempts": "1"})
}
