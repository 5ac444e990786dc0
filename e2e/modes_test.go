//go:build linux

package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"keel/budget/ledger/pgserver"
	"keel/filter/wire/sample"
)

// attached is the real Envoy with what "keel envoy config" prints for a mode, before one replica of "keel serve".
type attached struct {
	*stack
	*cluster
}

func attach(t *testing.T, mode string, provider http.Handler, config string, args ...string) *attached {
	t.Helper()
	upstream := httptest.NewServer(noting(provider))
	t.Cleanup(func() {
		upstream.CloseClientConnections()
		upstream.Close()
	})
	c := startCluster(t, keel, pgserver.ForTest(t), 1, false, config)
	t.Cleanup(func() { c.replicas[0].end(syscall.SIGTERM) }) // a kill may leave a query behind that holds the database
	return &attached{&stack{url: c.envoy(t, mode, upstream.URL, args...), dsn: c.dsn, there: true}, c}
}

// envoy starts another Envoy of a mode before the first replica.
func (c *cluster) envoy(t *testing.T, mode, upstream string, args ...string) string {
	t.Helper()
	args = append([]string{"--mode", mode, "--provider", "openai=" + upstream, "--provider", "anthropic=" + upstream, "--provider", "google=" + upstream}, args...)
	return runAttached(t, envoyConfig(t, c.replicas[0].connection().Target(), args...))
}

const (
	helloChat    = `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"Hello"}]}`
	helloStream  = `{"model":"gpt-4o-mini","max_tokens":20,"stream":true,"messages":[{"role":"user","content":"Hello"}]}`
	helloCounted = `{"model":"gpt-4o-mini","max_tokens":20,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hello"}]}`
	helloMessage = `{"model":"claude-haiku-4-5","max_tokens":20,"stream":true,"messages":[{"role":"user","content":"Hello"}]}`
)

var loggedModes = []string{"light", "authz", "fast"}

// What a mode whose answers do not pass Keel can do, by the record that each call leaves.
func TestLoggedModes(t *testing.T) {
	t.Parallel()
	for _, mode := range loggedModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := attach(t, mode, sample.New(sample.Options{Keep: 100}), `
---
kind: Budget
name: tiny
selector: {team: poor}
limit: 0.000001 USD
window: month
mode: enforce
---
kind: Policy
name: short
when: subject.team == "short"
do: {constrain: {max_output_tokens: 5}}
`)
			for _, c := range []struct {
				name, path, body string
				want             record
			}{
				{"a chat", "/v1/chat/completions", helloChat, record{"action": "allow", "outcome": "complete", "metered": "provider", "provider": "openai", "attempts": "1"}},
				{"a stream that tells its usage", "/v1/chat/completions", helloCounted, record{"outcome": "complete", "metered": "provider"}},
				{"a stream that does not", "/v1/chat/completions", helloStream, record{"outcome": "complete", "metered": "estimated"}},
				{"a stream of messages", "/v1/messages", helloMessage, record{"outcome": "complete", "metered": "provider", "provider": "anthropic"}},
			} {
				answer := s.post(t, c.path, c.body)
				if answer.status != http.StatusOK || answer.header.Get("x-keel-model") == "" || answer.header.Get("x-keel-estimated-cost-usd") == "" {
					t.Fatalf("%s: status %d, headers %v: %s", c.name, answer.status, answer.header, answer.body)
				}
				if strings.Contains(string(answer.body), `"choices":[]`) != strings.Contains(c.body, "include_usage") {
					t.Errorf("%s: the client got or missed the event of usage: %s", c.name, answer.body)
				}
				s.record(t, answer.decision()).want(t, c.want)
			}

			denied := s.post(t, "/v1/chat/completions", helloChat, "x-keel-team: poor")
			if denied.status != http.StatusTooManyRequests || !strings.Contains(string(denied.body), `"budget_exceeded"`) || !strings.Contains(string(denied.body), "tiny") {
				t.Errorf("denied: %d %s", denied.status, denied.body)
			}
			s.record(t, denied.decision()).want(t, record{"action": "deny", "outcome": "denied"})

			short := s.post(t, "/v1/chat/completions", helloChat, "x-keel-team: short")
			if s.record(t, short.decision()).want(t, record{"action": map[string]string{"light": "constrain", "authz": "deny", "fast": "constrain"}[mode]}); mode == "authz" &&
				(short.status != http.StatusForbidden || !strings.Contains(string(short.body), "policy short") || !strings.Contains(string(short.body), "can't be written into the request")) {
				t.Errorf("a call that would have to be changed: %d %s", short.status, short.body)
			}

			spoofed := s.post(t, "/v1/chat/completions", helloChat, "x-keel-target: anthropic/claude", "x-keel-decision-id: 01a20b43-ca9f-7cee-a0a8-57e6149c693d")
			if spoofed.status != http.StatusOK || spoofed.decision() == "01a20b43-ca9f-7cee-a0a8-57e6149c693d" {
				t.Errorf("spoofed headers: %d %v", spoofed.status, spoofed.header)
			}
			s.record(t, spoofed.decision()).want(t, record{"provider": "openai", "outcome": "complete", "metered": "provider"})

			if answer := s.post(t, "/nothing", "{}"); answer.status != http.StatusNotFound {
				t.Errorf("an unknown call: %d", answer.status)
			}
			if err := s.replicas[0].end(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			if answer := s.post(t, "/v1/chat/completions", helloChat); answer.status != http.StatusServiceUnavailable {
				t.Errorf("without a processor: %d %s", answer.status, answer.body)
			}
		})
	}
}

// faulty is a provider that ends its answers as the header x-test-end says.
var faulty = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	switch r.Header.Get("x-test-end") {
	case "error":
		w.Header().Set("content-type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, `{"error":{"type":"server_error","message":"overloaded"}}`)
		return
	case "gone":
		panic(http.ErrAbortHandler)
	case "silent":
		<-r.Context().Done()
		return
	}
	w.Header().Set("content-type", "text/event-stream")
	io.WriteString(w, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-haiku-4-5\",\"usage\":{\"input_tokens\":321,\"output_tokens\":1}}}\n\n")
	for range 10 {
		io.WriteString(w, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}}\n\n")
	}
	w.(http.Flusher).Flush()
	if r.Header.Get("x-test-end") == "cut" {
		panic(http.ErrAbortHandler)
	}
	<-r.Context().Done()
})

// However a call ends, the access log ends its record.
func TestLoggedModesEnds(t *testing.T) {
	t.Parallel()
	for _, mode := range loggedModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := attach(t, mode, faulty, "", "--request-limit", "2097152")
			failed := s.post(t, "/v1/messages", helloMessage, "x-test-end: error")
			if failed.status != http.StatusInternalServerError || !strings.Contains(string(failed.body), "overloaded") {
				t.Errorf("a provider's error: %d %s", failed.status, failed.body)
			}
			s.record(t, failed.decision()).want(t, record{"outcome": "failed", "metered": "none", "actual_cost_usd": "0.000000000", "http_status": "500"})

			gone := s.post(t, "/v1/messages", helloMessage, "x-test-end: gone")
			if gone.status != http.StatusServiceUnavailable {
				t.Errorf("a provider that hangs up: %d %s", gone.status, gone.body)
			}
			s.record(t, gone.decision()).want(t, record{"outcome": "failed", "metered": "estimated", "http_status": "503"})

			cut := s.leave(t, "cut")
			s.record(t, cut).want(t, record{"outcome": "aborted", "metered": "estimated", "input_tokens": "321", "output_tokens": "20"})
			left := s.leave(t, "never")
			s.record(t, left).want(t, record{"outcome": "aborted", "metered": "estimated", "input_tokens": "321", "output_tokens": "20", "response_flags": "downstream_connection_termination"})

			s.leave(t, "silent")
			s.recordWhere(t, "outcome = 'aborted' and detail like '%before a response%'").want(t, record{"metered": "estimated", "attempts": "1"})

			long := strings.Replace(helloMessage, "Hello", strings.Repeat("x", 3<<20), 1)
			large := s.post(t, "/v1/messages", long)
			if large.status != http.StatusRequestEntityTooLarge {
				t.Errorf("a body over the limit: %d %s", large.status, large.body)
			}
			denied := record{"action": "deny", "outcome": "denied", "metered": "none", "http_status": "413", "api": "anthropic.messages"}
			s.recordWhere(t, "outcome = 'denied'").want(t, denied)
			if mode != "light" {
				return // it is Keel that refuses the call there
			}
			// Refused before Keel could answer for the headers: the access log alone tells of it.
			s.replicas[0].pause(t)
			large = s.post(t, "/v1/chat/completions", long)
			s.replicas[0].resume()
			if large.status != http.StatusRequestEntityTooLarge {
				t.Errorf("a body over the limit, while Keel does not answer: %d %s", large.status, large.body)
			}
			denied["api"] = "openai.chat"
			s.recordWhere(t, "outcome = 'denied' and api = 'openai.chat'").want(t, denied)
			if n := s.replicas[0].metric(t, `keel_refusals_total{code="body_too_large"}`); n != 2 {
				t.Errorf("%v refusals are counted", n)
			}
		})
	}
}

// leave makes a streamed call that ends one way or another, and returns its decision, "" if no answer came: the provider cuts it, or never ends it
// and the client leaves when it has what there is, or is silent and the client leaves when it was asked.
func (s *stack) leave(t *testing.T, end string) string {
	t.Helper()
	ctx, leave := context.WithTimeout(t.Context(), patience)
	defer leave()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/messages", strings.NewReader(helloMessage))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("x-test-end", end)
	if end == "silent" {
		if err := leaveOn(t, request, t.Name()); err == nil {
			t.Fatal("answered")
		}
		return ""
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for words := 0; words < 10; { // as many as the provider says
		line, err := lines.ReadString('\n')
		if err != nil {
			break // cut
		}
		if strings.HasPrefix(line, "data: ") && strings.Contains(line, "content_block_delta") {
			words++
		}
	}
	if end == "cut" {
		io.Copy(io.Discard, lines)
	}
	leave()
	return response.Header.Get("x-keel-decision-id")
}
