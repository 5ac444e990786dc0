//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keel/envoy"
)

const (
	burstCalls       = 500
	burstConcurrency = 64
	burstRoom        = 50 // calls that the budget has room for
)

// Of 500 calls at once over 4 replicas, a budget with room for 50 admits 50:
// none ends before all are decided, so that each holds its bound to the last.
func TestBurst(t *testing.T) {
	provider := startProvider(t)
	c := startCluster(t, keel, ownPostgres(t).DSN(), 4, false, "")
	gate := newGate(t, provider)
	envoys := startEnvoys(t, c, gate.url)

	capped := wish{team: "burst", user: "ada", limit: 50, work: work{Input: 10, Output: 20}}
	uncapped := capped
	uncapped.limit = 0
	streamed := capped
	streamed.stream = true
	for _, tt := range []struct {
		name    string
		wish    wish
		through func(ctx context.Context, n int, body []byte, headers []string) (int, error)
		others  []string // budgets that match, too, and have room
		rounds  int
	}{
		{"max_tokens", capped, gate.direct(c), nil, 3},
		{"no max_tokens", uncapped, gate.direct(c), nil, 2},
		{"streamed", streamed, gate.direct(c), nil, 1},
		{"six budgets", capped, gate.direct(c), sixBudgets, 2},
		{"six budgets, no max_tokens", uncapped, gate.direct(c), sixBudgets, 1},
		{"through Envoy", capped, throughEnvoy(envoys), nil, 2},
		{"through Envoy, six budgets, no max_tokens", uncapped, throughEnvoy(envoys), sixBudgets, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range tt.rounds {
				burst(t, c, gate, tt.wish, tt.others, tt.through)
			}
		})
	}
}

// sixBudgets match a burst beside the one that binds; %[1]s is the team of the
// round. Their names come after: where accounts are locked in order, the first
// one must be that which they race for.
var sixBudgets = []string{
	"{name: %[1]s-large, selector: {team: %[1]s}, limit: 100000 USD, window: lifetime}",
	"{name: %[1]s-hour, selector: {team: %[1]s}, limit: 100000 USD, window: hour}",
	"{name: %[1]s-user, selector: {team: %[1]s}, per: [user], limit: 100000 USD, window: day}",
	"{name: %[1]s-seen, selector: {team: %[1]s}, limit: 0.000001 USD, window: month, mode: observe}",
	"{name: %[1]s-year, selector: {team: %[1]s}, limit: 100000 USD, window: year}",
}

var burstRounds int

// burst is one round with a budget of its own.
func burst(t *testing.T, c *cluster, g *gate, w wish, others []string, send func(context.Context, int, []byte, []string) (int, error)) {
	t.Helper()
	burstRounds++
	w.team = fmt.Sprintf("burst-%d", burstRounds)
	bound := boundNano(t, c.replicas[0], w)
	limit := usd(burstRoom * bound)
	var documents []string
	for _, other := range others {
		documents = append(documents, fmt.Sprintf(other, w.team))
	}
	documents = append(documents, fmt.Sprintf("{name: %[1]s, selector: {team: %[1]s}, limit: %[2]s USD, window: lifetime}", w.team, limit))
	c.apply(t, budgets(documents...))
	c.followed(t, w, w.team, limit)

	g.begin()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	next := make(chan int)
	go func() {
		defer close(next)
		for n := range burstCalls {
			next <- n
		}
	}()
	body := w.body("burst")
	var mu sync.Mutex
	answers := map[string]int{}
	var running sync.WaitGroup
	for range burstConcurrency {
		running.Go(func() {
			for n := range next {
				status, err := send(ctx, n, body, w.headers())
				if status != http.StatusOK {
					g.decided() // those that pass are counted where they arrive
				}
				mu.Lock()
				if answers[fmt.Sprint(status)]++; err != nil {
					answers["error: "+err.Error()]++
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	got := g.end()
	if got != burstRoom || answers["200"] != burstRoom || answers["429"] != burstCalls-burstRoom {
		t.Errorf("%d calls reached the provider, %d were to; the answers: %v", got, burstRoom, answers)
	}

	// In the end nothing is held, and what they cost is settled, however many there were.
	want := int64(got) * served{Input: w.work.Input, Output: w.work.Output}.nano()
	var last []account
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		accounts, err := rows[account](c, `select budget, account_key, settled_n, held_n from keel.accounts where budget = $1`, w.team)
		if err != nil {
			t.Fatal(err)
		}
		if last = accounts; len(last) == 1 && last[0].Held == 0 && last[0].Settled == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the account of the budget is %+v; want %d settled and nothing held", last, want)
		}
	}
}

// gate stands before the provider: calls that reach it wait until as many are decided as there are.
type gate struct {
	url string

	mu       sync.Mutex
	admitted int
	left     int // to be decided
	open     chan struct{}
}

func newGate(t *testing.T, p *provider) *gate {
	g := &gate{}
	g.begin()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := readAll(t, r.Body)
		g.pass()
		answer, err := client.Post(p.url+r.URL.Path, "application/json", bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Body.Close()
		for _, name := range []string{"content-type", "content-length"} {
			if v := answer.Header.Get(name); v != "" {
				w.Header().Set(name, v)
			}
		}
		io.Copy(w, answer.Body)
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

func (g *gate) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.admitted, g.left, g.open = 0, burstCalls, make(chan struct{})
}

// pass waits as a call that was admitted. One too many opens the gate: the test has failed, and is not to hang.
func (g *gate) pass() {
	g.mu.Lock()
	g.admitted++
	tooMany := g.admitted == burstConcurrency
	open := g.open
	g.mu.Unlock()
	g.decided()
	if !tooMany {
		<-open
		return
	}
	for range burstCalls {
		g.decided()
	}
}

func (g *gate) decided() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left--; g.left == 0 {
		close(g.open)
	}
}

func (g *gate) end() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.admitted
}

// direct sends to the replicas in turn, as their Envoys would.
func (g *gate) direct(c *cluster) func(context.Context, int, []byte, []string) (int, error) {
	return func(ctx context.Context, n int, body []byte, headers []string) (int, error) {
		x, err := ask(ctx, c.replicas[n%len(c.replicas)].connection(), body, headers...)
		if err != nil {
			return 0, err
		}
		defer x.end()
		if x.denied != nil {
			return x.status(), nil
		}
		answer, err := client.Post(g.url+chatPath, "application/json", bytes.NewReader(x.body))
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		return answer.StatusCode, x.respond(answer)
	}
}

// startEnvoys starts one Envoy for each replica, with the gate for a provider.
func startEnvoys(t *testing.T, c *cluster, upstream string) []string {
	t.Helper()
	urls := make([]string, len(c.replicas))
	failed := make([]error, len(c.replicas))
	var starting sync.WaitGroup
	for i, r := range c.replicas {
		dir := filepath.Join(openDir(t), "envoy")
		starting.Go(func() {
			e, err := envoy.Start(t.Context(), envoy.Options{Dir: dir, Cache: cacheDir(t), Progress: os.Stderr, Concurrency: 1, Config: envoy.Config{
				Processor: r.connection().Target(),
				Providers: []envoy.Provider{{Name: "openai", Host: "api.openai.com", Address: upstream}},
			}})
			if failed[i] = err; err == nil {
				urls[i] = "http://" + e.Listen()
				t.Cleanup(func() { e.Stop() })
			}
		})
	}
	starting.Wait()
	for _, err := range failed {
		if err != nil {
			t.Fatal(err)
		}
	}
	return urls
}

func throughEnvoy(urls []string) func(context.Context, int, []byte, []string) (int, error) {
	return func(ctx context.Context, n int, body []byte, headers []string) (int, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, urls[n%len(urls)]+chatPath, strings.NewReader(string(body)))
		if err != nil {
			return 0, err
		}
		setHeaders(request, headers)
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, err
	}
}
