package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// longChunk is 14 kB of a streamed answer.
var longChunk = fmt.Sprintf("data: {\"id\":\"x\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", strings.Repeat("Hello. ", 2000))

// A slow client holds back its own provider, and a slow provider its own client. All share one connection between Envoy and
// Keel, so what they leave unread must not fill it: others get whole answers while all of these wait. What waited for its provider
// ends well when that goes on, and what nobody read is closed out when its client leaves.
func TestSlowCallsSlowNobodyElse(t *testing.T) {
	t.Parallel()
	const (
		hangs  = 20
		floods = 4
		others = 60       // calls meanwhile
		flood  = 96 << 20 // bytes of an answer that nobody reads: more than Envoy and the kernel's sockets take
	)
	const end = "data: {\"id\":\"x\",\"model\":\"gpt-4o-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12}}\n\ndata: [DONE]\n\n"
	goOn := make(chan struct{})
	var written atomic.Int64 // of floods
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-type", "text/event-stream")
		io.WriteString(w, longChunk)
		w.(http.Flusher).Flush()
		switch r.Header.Get("x-ask") {
		case "hang":
			select {
			case <-goOn:
			case <-r.Context().Done():
			}
		case "flood":
			for sent := 0; sent < flood; {
				n, err := io.WriteString(w, longChunk)
				if err != nil {
					return
				}
				sent += n
				written.Add(int64(n))
			}
		}
		io.WriteString(w, end)
	})
	s := start(t, stackOptions{upstream: upstream, config: sharedConfig})

	narrow := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(16 << 10) // or the kernel takes megabytes
		}
		return conn, err
	}}
	var waiting []*bufio.Reader // for their provider
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	for i := range hangs + floods {
		ask, of := "hang", t.Context()
		if i%6 == 5 {
			ask, of = "flood", ctx
		}
		request, err := http.NewRequestWithContext(of, http.MethodPost, s.url+chatPath, strings.NewReader(failingBody))
		if err != nil {
			t.Fatal(err)
		}
		setHeaders(request, []string{"x-keel-team: roomy", "x-keel-user: " + ask, "x-ask: " + ask})
		response, err := (&http.Client{Transport: narrow}).Do(request)
		if err != nil {
			t.Fatalf("slow call %d: %v", i, err)
		}
		defer response.Body.Close()
		body := bufio.NewReaderSize(response.Body, 16)
		if _, err := body.ReadByte(); err != nil { // its answer has begun
			t.Fatalf("slow call %d: %v", i, err)
		}
		if ask == "hang" {
			waiting = append(waiting, body)
		}
	}
	// The floods stop by themselves where nobody reads them.
	for last, since := int64(-1), time.Now(); time.Since(since) < time.Second; time.Sleep(50 * time.Millisecond) {
		if now := written.Load(); now != last {
			last, since = now, time.Now()
		}
	}
	if n := written.Load(); n >= floods*flood {
		t.Fatalf("all %d bytes of answers that nobody reads were taken: somebody keeps them in memory", n)
	} else {
		t.Logf("%d bytes were taken of each of %d answers that nobody reads", n/floods, floods)
	}

	var meanwhile sync.WaitGroup
	for range 6 {
		meanwhile.Go(func() {
			for range others / 6 {
				a := s.post(t, chatPath, failingBody, "x-keel-team: roomy", "x-keel-user: quick")
				if a.status != http.StatusOK || a.err != nil || !strings.HasSuffix(string(a.body), "data: [DONE]\n\n") {
					t.Errorf("a call beside slow ones: %d, %v", a.status, a.err)
				}
			}
		})
	}
	meanwhile.Wait()
	if n := s.recordsWhere(t, "subject->>'user' = 'quick' and outcome = 'complete' and metered = 'provider'", others); n != others {
		t.Errorf("%d of %d calls beside slow ones are recorded as complete", n, others)
	}
	if n := s.recordsWhere(t, "subject->>'user' in ('hang', 'flood') and outcome = 'open'", hangs+floods); n != hangs+floods {
		t.Errorf("%d of %d slow calls were open until now", n, hangs+floods)
	}

	close(goOn)
	leave()
	for i, body := range waiting {
		if rest, err := io.ReadAll(body); err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
			t.Errorf("slow call %d ended after %d bytes: %v", i, len(rest), err)
		}
	}
	if n := s.recordsWhere(t, "subject->>'user' = 'hang' and outcome = 'complete' and metered = 'provider'", hangs); n != hangs {
		t.Errorf("%d of %d calls of a slow provider are recorded as complete", n, hangs)
	}
	if n := s.recordsWhere(t, "subject->>'user' = 'flood' and outcome = 'aborted' and metered = 'estimated'", floods); n != floods {
		t.Errorf("%d of %d calls of slow clients are recorded as aborted", n, floods)
	}
}

// recordsWhere counts rows that condition holds for, and waits a while until there are so many.
func (s *stack) recordsWhere(t *testing.T, condition string, enough int) (n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if rows, err := s.query(t, "select jsonb_build_object('n', count(*)) from keel.spend_records where "+condition); err == nil {
			n, _ = strconv.Atoi(rows[0]["n"])
		}
		if n >= enough || time.Now().After(deadline) {
			return n
		}
	}
}
