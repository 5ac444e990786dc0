//go:build linux

package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Why keel envoy lint refuses to try again after an answer on a route that hedges, in mode attempts: the router drops an attempt that failed while
// another one goes on, the filter in the cluster still hands it the body, and Envoy 1.40 dies (Filter::onUpstreamData looks only whether there is
// another attempt). What is tried again after resets alone is safe.
func TestHedgeBesideAFailure(t *testing.T) {
	t.Parallel()
	s := startAttempts(t)
	for _, tt := range []struct {
		name, conditions, asked string
		hedged, dies            bool
	}{
		{"after answers", "5xx,reset", "", true, true},
		{"after resets", "reset,connect-failure", "", true, false},
		{"not because a client asks for it", "5xx,reset", "true", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := s.start(t, func(b *bootstrapv3.Bootstrap) {
				if tt.hedged {
					hedge(b)
				}
				routeOf(b, func(r *routev3.RouteAction) { r.RetryPolicy.RetryOn = tt.conditions })
			})
			most, lives := patience, time.Second
			if !tt.hedged {
				most = 2 * time.Second // nothing ends it
			}
			if tt.dies {
				lives = patience
			}
			ctx, leave := context.WithTimeout(t.Context(), most)
			defer leave()
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.Listen()+chatPath, strings.NewReader(`{"model":"gpt-5-mini","max_completion_tokens":20,"messages":[{"role":"user","content":"Hello there."}]}`))
			if err != nil {
				t.Fatal(err)
			}
			setHeaders(request, []string{"x-keel-org: roomy", "x-script: hang 503 ok", "x-envoy-hedge-on-per-try-timeout: " + tt.asked, "x-envoy-upstream-rq-per-try-timeout-ms: 200"})
			response, err := client.Do(request)
			if err == nil {
				response.Body.Close()
			}
			var died error
			select {
			case died = <-e.Died():
			case <-time.After(lives):
			}
			switch {
			case tt.dies && died == nil:
				t.Error("Envoy lives: the rule hedge-after-answer may go")
			case !tt.dies && died != nil:
				t.Error(died)
			case tt.hedged && !tt.dies && (err != nil || response.StatusCode != http.StatusServiceUnavailable):
				t.Errorf("%v, %v; want the answer of the second attempt", response, err)
			}
		})
	}
}
