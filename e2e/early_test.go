//go:build linux

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"keel/budget/ledger/pgserver"
)

// A provider may answer a request that still comes, where it passes as it comes: Envoy 1.40 died in mode attempts, where that answer, whole by
// then, waited for Keel.
func TestAnswerBeforeItsRequest(t *testing.T) {
	t.Parallel()
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("early ", 100))
	}))
	t.Cleanup(provider.Close)
	c := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
	e := runEnvoy(t, envoyConfig(t, c.replicas[0].connection().Target(), "--mode", "attempts", "--provider", "openai="+provider.URL))
	transport := tortureTransport(true)
	defer transport.CloseIdleConnections()
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 10 {
				body := &slowly{ctx: t.Context(), from: strings.NewReader(tortureFiller[:1<<20]), pieces: 10, size: 1 << 20, pause: 5 * time.Millisecond}
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.Listen()+"/away", body)
				if err != nil {
					t.Error(err)
					return
				}
				setHeaders(request, []string{"host: api.openai.com"})
				if response, err := transport.RoundTrip(request); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
			}
		})
	}
	running.Wait()
	select {
	case err := <-e.Died():
		t.Fatal(err)
	case <-time.After(time.Second):
	}
}
