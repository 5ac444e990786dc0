package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a test waits for is a moment of the call that it is about, and never a time that should be long enough for it: that is not, on a machine that is busy.

// arrived has the x-sample-key of every call that reached a provider.
var arrived sync.Map

// noting tells arrived of every call before h has it.
func noting(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		h.ServeHTTP(w, r)
	})
}

func note(r *http.Request) {
	if key := r.Header.Get("x-sample-key"); key != "" {
		arrived.Store(key, true)
	}
}

// leaveOn sends a request whose client leaves when its call has come to a provider. It returns the client's error.
func leaveOn(t *testing.T, request *http.Request, key string) error {
	t.Helper()
	ctx, leave := context.WithTimeout(request.Context(), patience)
	defer leave()
	request = request.WithContext(ctx)
	request.Header.Set("x-sample-key", key)
	left := make(chan error, 1)
	go func() {
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		left <- err
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, there := arrived.Load(key); there {
			leave()
			return <-left
		}
		select {
		case err := <-left:
			t.Fatalf("the call ended before it came to a provider: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the call did not come to a provider")
		}
	}
}

// begin sends a call and returns when its answer has begun; rest waits for the rest of it.
func (s *stack) begin(t *testing.T, path, body string, headers ...string) (rest func() *answer) {
	t.Helper()
	response := func() *http.Response {
		for deadline := time.Now().Add(patience); ; {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			setHeaders(request, headers)
			lost := lateness.total()
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if lost = lateness.total() - lost; response.StatusCode == http.StatusOK || !s.there || time.Now().After(deadline) {
				return response
			}
			a := &answer{status: response.StatusCode, body: readAll(t, response.Body)}
			if response.Body.Close(); !a.late(lost) {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			t.Logf("the machine was %v late: calling again, as a client does", lost)
		}
	}()
	first := make([]byte, 1)
	if _, err := io.ReadFull(response.Body, first); err != nil {
		t.Fatal(err)
	}
	ended := make(chan *answer, 1)
	go func() {
		defer response.Body.Close()
		a := &answer{status: response.StatusCode, header: response.Header}
		a.body, a.err = io.ReadAll(response.Body)
		a.body = append(first, a.body...)
		ended <- a
	}()
	return func() *answer { return <-ended }
}

// lateness is how late the machine was with what this process asked of it at a time, all in all: what has a bound in time has it beside that.
var lateness stall

type stall struct{ lost atomic.Int64 }

func (s *stall) total() time.Duration { return time.Duration(s.lost.Load()) }

// watch goes on for as long as the process.
func (s *stall) watch() {
	const every = 10 * time.Millisecond
	for {
		asked := time.Now()
		time.Sleep(every)
		s.lost.Add(int64(max(0, time.Since(asked)-every-time.Millisecond)))
	}
}

// late reports whether an answer says only that the database was not asked in time, and the machine is to blame: the test is about something else. Where the
// machine was on time it is the answer.
func (a *answer) late(lost time.Duration) bool {
	return a.status == http.StatusServiceUnavailable && lost > 200*time.Millisecond && strings.Contains(string(a.body), "ledger_unavailable")
}
