//go:build linux

package e2e

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/filter/peers/peerstest"
)

const tortureConfig = `
---
{kind: Price, name: chaos, org: roomy, provider: openai, model: gpt-5-mini, effective_from: 2020-01-01, per_million: {input: 1, cached_input: 1, output: 10 USD}}
---
{kind: Settings, name: default, org: roomy, max_attempts: 8}
---
{kind: Budget, name: all, limit: 100000000 USD, window: month}
---
{kind: Budget, name: all, org: roomy, limit: 100000000 USD, window: month}
---
{kind: Policy, name: watched, when: 'subject.team == "watched"', do: {watch: {}}}
---
{kind: Policy, name: capped, when: 'subject.team == "capped"', do: {constrain: {max_output_tokens: 16}}}
---
{kind: Policy, name: denied, when: 'subject.team == "denied"', do: {deny: "not for them"}}
`

// tortured is an Envoy of TestTorture, as "keel envoy config" writes it.
type tortured struct {
	name string
	mode envoy.Mode
	*envoy.Envoy
	h1, h2 *http.Transport
	died   atomic.Bool

	mu   sync.Mutex
	open map[*torment]time.Time
}

// Whatever clients and providers do, and whatever becomes of Keel meanwhile: Envoy lives, every call ends for its client, nothing stays behind in
// Envoy or in Keel, and what came to a provider is on record.
//
// KEEL_TORTURE says how long it goes on ("5m"); without it each Envoy gets one round of calls. KEEL_TORTURE_SEED repeats calls and faults; its last bit is
// whether Envoy and Keel speak TLS, the one before it which Envoys have two workers. KEEL_TORTURE_MODES has only those Envoys that it names.
func TestTorture(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs for a while: -short")
	}
	seed := rand.Uint64()
	if text := os.Getenv("KEEL_TORTURE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("KEEL_TORTURE_SEED: %v", err)
		}
	}
	t.Logf("KEEL_TORTURE_SEED=%d repeats the calls and the faults", seed)
	lasts, brief := time.Duration(0), true
	if text := os.Getenv("KEEL_TORTURE"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatalf("KEEL_TORTURE: %v", err)
		}
		brief = false
	}
	p := &torturer{over: make(chan struct{}), reached: map[string]bool{}}
	plain, secure := httptest.NewServer(p), httptest.NewUnstartedServer(p)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(func() {
		close(p.over)
		for _, s := range []*httptest.Server{plain, secure} {
			s.CloseClientConnections()
			s.Close()
		}
	})
	s := &torture{cluster: startCluster(t, keel, pgserver.ForTest(t), 0, false, tortureConfig), provider: p, plain: plain, secure: secure}
	s.serve(t, 2, seed%2 == 1)
	for i, name := range []string{"full", "attempts", "attempts hedged", "attempts aggregate", "light", "authz", "fast", "observe"} {
		if only := os.Getenv("KEEL_TORTURE_MODES"); only == "" || strings.Contains(","+only+",", ","+name+",") {
			s.envoys = append(s.envoys, s.start(t, name, 1+(i+int(seed>>1))%2))
		}
	}
	for began, round := time.Now(), 0; round == 0 || time.Since(began) < lasts; round++ {
		if !s.round(t, seed+uint64(round), brief) {
			t.Fatalf("round %d, KEEL_TORTURE_SEED=%d, after %v", round, seed+uint64(round), time.Since(began).Round(time.Second))
		}
	}
}

// torture is what all Envoys of TestTorture stand between.
type torture struct {
	*cluster
	envoys        []*tortured
	provider      *torturer
	valves        []*valve
	plain, secure *httptest.Server
	tls           []string // flags of an Envoy that has to show Keel a certificate
}

// serve starts replicas, each behind a valve.
func (s *torture) serve(t *testing.T, replicas int, secured bool) {
	t.Helper()
	var args []string
	if secured {
		server, client := peerstest.NewCA(t, "server"), peerstest.NewCA(t, "mesh")
		args, _ = certifies(t, server, client, "keel.internal")
		s.tls, _ = certified(t, client, server, gatewayName, "keel.internal")
	}
	for i := range replicas {
		r := newReplica(t, i, keel, s.dsn, filepath.Join(openDir(t), strconv.Itoa(i)))
		r.args = append(r.args, args...)
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		s.replicas = append(s.replicas, r)
		s.valves = append(s.valves, startValve(t, func() string {
			if at := r.connection(); at != nil {
				return at.Target()
			}
			return ""
		}))
	}
}

func (s *torture) start(t *testing.T, name string, concurrency int) *tortured {
	t.Helper()
	mode, kind, _ := strings.Cut(name, " ")
	ca := filepath.Join(openDir(t), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.secure.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	silent := unanswered(t)
	args := []string{"--mode", mode, "--idle-timeout", "15s", "--ca-file", ca, "--provider", "openai=" + s.plain.URL, "--provider", "anthropic=" + s.secure.URL, "--provider", "google=http://" + silent}
	args = append(args, s.tls...)
	if mode == "attempts" {
		args = append(args, "--retry-on", "5xx,reset,connect-failure,retriable-status-codes", "--retries", "3")
	}
	written := bootstrapOf(t, envoyConfig(t, s.valves[0].addr(), args...), func(b *bootstrapv3.Bootstrap) {
		for _, name := range []string{"keel_processor", "keel_access_log"} {
			replicas := clusterOf(b, name).LoadAssignment.Endpoints[0]
			replicas.LbEndpoints = append(replicas.LbEndpoints, endpoint(s.valves[1].addr(), nil))
		}
		if mode != "attempts" {
			return
		}
		at, other := clusterOf(b, "openai").LoadAssignment.Endpoints[0], map[string]any{"provider": "openai", "model": "gpt-4.1"}
		at.LbEndpoints = append(at.LbEndpoints, endpoint(s.plain.URL, other), endpoint(silent, other), endpoint("127.0.0.1:1", other))
		if kind == "aggregate" {
			aggregateOf(b, endpoint(s.plain.URL, other))
		}
		routeOf(b, func(r *routev3.RouteAction) {
			r.RetryPolicy.PerTryTimeout = durationpb.New(400 * time.Millisecond)
			if kind == "hedged" {
				r.RetryPolicy.RetryOn = "reset,connect-failure" // see TestHedgeBesideAFailure
				r.HedgePolicy = &routev3.HedgePolicy{HedgeOnPerTryTimeout: true}
			}
		})
	})
	return &tortured{
		name: name, mode: envoy.Mode(mode), Envoy: startWorkers(t, written, concurrency),
		h1: tortureTransport(false), h2: tortureTransport(true), open: map[*torment]time.Time{},
	}
}

// round gives each Envoy its calls, and looks at what is left of them. It says whether another one makes sense.
func (s *torture) round(t *testing.T, seed uint64, brief bool) bool {
	t.Helper()
	const (
		together = 10               // calls of an Envoy
		ends     = 90 * time.Second // every call by then, or something of its answer comes
	)
	each, most := 60, 12*time.Second // calls of an Envoy, and the most of a fault
	if brief {
		each, most = 30, 2*time.Second
	}
	began := time.Now()
	var calls, disturbing sync.WaitGroup
	ctx, calm := context.WithCancel(t.Context())
	disturbing.Go(func() { disturb(ctx, t, rand.New(rand.NewPCG(seed, 1)), s.replicas, s.valves, most) })
	ids := make([][]string, len(s.envoys))
	for i, e := range s.envoys {
		r := rand.New(rand.NewPCG(seed, uint64(2+i)))
		queue := make(chan *torment, each)
		for n := range each {
			c := draw(r, fmt.Sprintf("%s-%d-%d", strings.ReplaceAll(e.name, " ", "-"), seed, n), brief)
			ids[i] = append(ids[i], c.id)
			queue <- c
		}
		close(queue)
		for range together {
			calls.Go(func() {
				for c := range queue {
					e.call(t, c, ends)
				}
			})
		}
	}
	calls.Wait()
	t.Logf("round %d: calls ended after %v", seed, time.Since(began).Round(100*time.Millisecond))
	calm()
	disturbing.Wait()
	for _, e := range s.envoys {
		if !e.lives(t) {
			return false
		}
		e.quiet(t)
	}
	s.settled(t, ids)
	t.Logf("round %d: all is settled after %v", seed, time.Since(began).Round(100*time.Millisecond))
	return !t.Failed()
}

// call makes a call, and notes whether its Envoy lives.
func (e *tortured) call(t *testing.T, c *torment, ends time.Duration) {
	if e.died.Load() {
		return
	}
	e.mu.Lock()
	e.open[c] = time.Now()
	e.mu.Unlock()
	shared := e.h1
	if c.h2 {
		shared = e.h2
	}
	if err := c.make(t.Context(), "http://"+e.Listen(), shared, ends); errors.Is(err, errEndless) {
		t.Errorf("no end within %v: %v\n%s", ends, c, e.stats(t, "flow_control|idle_timeout|_rq_active|resets"))
	}
	e.lives(t)
	e.mu.Lock()
	delete(e.open, c)
	e.mu.Unlock()
}
