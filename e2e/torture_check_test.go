//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keel/envoy"
)

// lives says whether Envoy does, and tells once of its end.
func (e *tortured) lives(t *testing.T) bool {
	t.Helper()
	select {
	case err := <-e.Died():
		e.died.Store(true)
		t.Errorf("Envoy %q died: %v; all of its log is in %s\n%s", e.name, err, e.keep(t), e.backtrace())
		e.mu.Lock()
		defer e.mu.Unlock()
		for c, since := range e.open {
			t.Logf("open for %v: %v", time.Since(since).Round(time.Millisecond), c)
		}
	default:
	}
	return !e.died.Load()
}

// keep copies the log of an Envoy that died to a file that outlives the test, and returns its name.
func (e *tortured) keep(t *testing.T) string {
	file, err := os.CreateTemp("", "keel-torture-*.log")
	if err == nil {
		defer file.Close()
		var log *os.File
		if log, err = os.Open(filepath.Join(e.Dir(), "envoy.log")); err == nil {
			defer log.Close()
			_, err = io.Copy(file, log)
		}
	}
	if err != nil {
		t.Error(err)
		return ""
	}
	return file.Name()
}

// backtrace is what Envoy's log says of its end.
func (e *tortured) backtrace() string {
	log, _ := os.ReadFile(filepath.Join(e.Dir(), "envoy.log"))
	var lines []string
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "][critical]") {
			lines = append(lines, line[:min(len(line), 300)])
		}
	}
	return strings.Join(lines, "")
}

// stats are those of Envoy that a pattern matches, and that were ever counted; "" where it does not answer, which is an error.
func (e *tortured) stats(t *testing.T, pattern string) string {
	t.Helper()
	response, err := client.Get("http://" + e.Admin() + "/stats?format=text&usedonly&filter=" + url.QueryEscape(pattern))
	if err != nil {
		time.Sleep(time.Second) // until it is known that it died
		e.lives(t)
		t.Errorf("Envoy %q does not answer: %v", e.name, err)
		return ""
	}
	defer response.Body.Close()
	return string(readAll(t, response.Body))
}

// quiet waits until nothing is open in Envoy but its access log's streams.
func (e *tortured) quiet(t *testing.T) {
	t.Helper()
	e.h1.CloseIdleConnections()
	e.h2.CloseIdleConnections()
	var left []string
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		text := e.stats(t, "_rq_active|_rq_pending_active")
		if text == "" {
			return
		}
		left = left[:0]
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if value != "0" && !strings.HasPrefix(name, "cluster.keel_access_log") && !strings.HasPrefix(name, "http.admin") {
				left = append(left, name+": "+value)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("Envoy %q, after its last call: %v", e.name, left)
			return
		}
	}
}

// settled waits until every call that came to a provider has a record which says how it ended, and replicas have nothing in flight.
func (s *torture) settled(t *testing.T, ids [][]string) {
	t.Helper()
	type row struct {
		User, Outcome string
		N             int
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		found, err := rows[row](s.cluster, `select subject->>'user', outcome, count(*)::int from keel.spend_records where subject->>'user' is not null group by 1, 2`)
		if err != nil {
			t.Fatal(err)
		}
		outcomes := map[string]row{}
		for _, r := range found {
			outcomes[r.User] = r
		}
		var wrong, tell []string
		s.provider.mu.Lock()
		for i, e := range s.envoys {
			reached, recorded, open := 0, 0, 0
			for _, id := range ids[i] {
				r := outcomes[id]
				if s.provider.reached[id] {
					reached++
				}
				if r.N > 0 {
					recorded++
				}
				if r.Outcome == "open" {
					open++
				}
				switch logged := e.mode.Logged(); {
				case e.mode == envoy.ModeObserve: // calls pass while Keel is away
				case r.N == 0 && s.provider.reached[id]:
					wrong = append(wrong, id+" came to its provider, and has no record")
				case r.N > 1:
					wrong = append(wrong, fmt.Sprintf("%s has %d records", id, r.N))
				case r.Outcome == "open" && !logged:
					wrong = append(wrong, id+" is open")
				}
			}
			tell = append(tell, fmt.Sprintf("%s: %d came to a provider, %d are on record, %d open", e.name, reached, recorded, open))
		}
		s.provider.mu.Unlock()
		for _, r := range s.replicas {
			if n := r.metric(t, "keel_calls_in_flight"); n != 0 {
				wrong = append(wrong, fmt.Sprintf("replica %d has %v calls in flight", r.n, n))
			}
		}
		if len(wrong) == 0 {
			t.Log(strings.Join(tell, "; "))
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s\n%s", strings.Join(wrong, "\n"), strings.Join(tell, "; "))
			return
		}
	}
}
