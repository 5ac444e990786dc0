//go:build linux

package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/filter/wire/sample"
)

// Why keel envoy lint refuses mirrors, and hedges where no filter stands in the clusters: what a provider bills twice is on
// record once. A call costs the same whatever Envoy does with it, so what was billed is told by the calls that the provider had.
func TestFailureCopies(t *testing.T) {
	t.Parallel()
	mirror := func(a *routev3.RouteAction) {
		a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "openai"}}
	}
	hedge := func(a *routev3.RouteAction) {
		a.HedgePolicy = &routev3.HedgePolicy{HedgeOnPerTryTimeout: true}
		a.RetryPolicy.PerTryTimeout = durationpb.New(500 * time.Millisecond)
	}
	for _, tt := range []struct {
		name     string
		mode     envoy.Mode
		change   func(*routev3.RouteAction)
		delay    string
		served   int
		attempts int // that are known one by one
	}{
		{"mirrored, mode full", envoy.ModeFull, mirror, "0s", 2, 0},
		{"mirrored, mode attempts", envoy.ModeAttempts, mirror, "0s", 2, 1},
		{"hedged, mode full", envoy.ModeFull, hedge, "900ms", 2, 0},
		{"hedged, mode attempts", envoy.ModeAttempts, hedge, "900ms", 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			provider := sample.New(sample.Options{Keep: 10})
			server := httptest.NewServer(provider)
			defer server.Close()
			c := startCluster(t, keel, pgserver.ForTest(t), 1, false, failingConfig+"---\n{kind: Settings, name: default, max_attempts: 2}\n")
			e, err := envoy.Start(t.Context(), envoy.Options{
				Dir: filepath.Join(openDir(t), "envoy"), Cache: cacheDir(t), Progress: os.Stderr, Concurrency: 1,
				Config: envoy.Config{Mode: tt.mode, Processor: c.replicas[0].connection().Target(),
					Providers: []envoy.Provider{{Name: "openai", Host: "api.openai.com", Address: server.URL}}},
				Amend: func(b *bootstrapv3.Bootstrap) { routeOf(b, tt.change) },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Stop()
			s := &stack{url: "http://" + e.Listen(), dsn: c.dsn}
			got := s.post(t, chatPath, `{"model":"gpt-5-mini","max_completion_tokens":20,"messages":[{"role":"user","content":"Hello there."}]}`, "x-keel-team: strict", "x-sample-delay: "+tt.delay)
			if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			r := s.record(t, got.decision())
			waitFor(t, "the provider's calls", func() bool { return len(provider.Served()) >= tt.served })
			if n := len(provider.Served()); n != tt.served {
				t.Errorf("the provider had %d calls, want %d", n, tt.served)
			}
			known, err := rows[struct{ N int }](c, "select count(*) as n from keel.attempts where decision_id = $1", got.decision())
			if err != nil || known[0].N != tt.attempts {
				t.Errorf("%v attempts on record, %v; want %d", known, err, tt.attempts)
			}
			t.Logf("the provider had %d calls; on record: %s attempts, %d of them known, %s USD, metered %s", len(provider.Served()), r["attempts"], known[0].N, r["actual_cost_usd"], r["metered"])
			all, err := rows[struct{ N int }](c, "select count(*) as n from keel.spend_records")
			if err != nil || all[0].N != 1 {
				t.Errorf("%v records, %v", all, err)
			}
		})
	}
}
