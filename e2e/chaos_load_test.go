//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The prices of the model, as chaosConfig has them, in nano-dollars a token.
const (
	inputNano  = 1_000
	outputNano = 10_000
)

func (s served) nano() int64 { return s.Input*inputNano + s.Output*outputNano }

// call is what the client knows of a call.
type call struct {
	id, decision, team, user string
	replica                  int
	status                   int  // of the denial, 0 without
	released                 bool // the processor let it out
	provider                 bool // the provider answered
	acked                    bool // the processor answered the end of the response
	left                     bool // the client left after the provider had answered
	onFull                   bool // its replica had a full disk at some time of the call
	overrun                  bool // the provider bills more than was held
	cost                     string
}

// load sends calls and remembers how each one went.
type load struct {
	provider *provider
	replicas []*replica
	seed     uint64
	http     *http.Client

	number atomic.Int64
	failed atomic.Int64 // streams that ended before a decision
	mu     sync.Mutex
	calls  []*call
}

func newLoad(p *provider, replicas []*replica, seed uint64) *load {
	return &load{provider: p, replicas: replicas, seed: seed, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}}
}

// wish is a call to be made.
type wish struct {
	team, user string
	limit      int64 // max_completion_tokens
	work       work
	stream     bool
	leave      bool
	org        string
}

func (w wish) body(id string) []byte {
	do, _ := json.Marshal(w.work) // cannot fail: numbers
	body := map[string]any{
		"model": "gpt-5-mini", "user": id,
		"messages": []map[string]string{{"role": "user", "content": string(do)}},
	}
	if w.limit > 0 {
		body["max_completion_tokens"] = w.limit
	}
	if w.stream {
		body["stream"] = true
	}
	text, _ := json.Marshal(body)
	return text
}

func (w wish) headers() []string {
	h := []string{"x-keel-team: " + w.team, "x-keel-user: " + w.user}
	if w.org != "" {
		h = append(h, "x-keel-org: "+w.org)
	}
	return h
}

// do makes one call at one replica. It returns nil when that could not decide.
func (l *load) do(ctx context.Context, r *replica, w wish) *call {
	conn := r.connection()
	if conn == nil {
		l.failed.Add(1)
		return nil
	}
	c := &call{id: fmt.Sprintf("call-%08d", l.number.Add(1)), team: w.team, user: w.user, replica: r.n, onFull: r.full.Load(), overrun: w.limit > 0 && w.work.Output > w.limit}
	x, err := ask(ctx, conn, w.body(c.id), w.headers()...)
	if err != nil {
		l.failed.Add(1) // whatever it took for this call is an orphan now
		return nil
	}
	defer x.end()
	c.decision, c.status, c.released = x.decision, x.status(), x.denied == nil
	defer func() {
		c.onFull = c.onFull || r.full.Load()
		l.mu.Lock()
		l.calls = append(l.calls, c)
		l.mu.Unlock()
	}()
	if !c.released {
		return c
	}
	response, err := l.http.Post(l.provider.url+chatPath, "application/json", bytes.NewReader(x.body))
	if err != nil {
		return c
	}
	defer response.Body.Close()
	if c.provider = response.StatusCode == http.StatusOK; w.leave {
		c.left = true
		io.Copy(io.Discard, response.Body)
		return c
	}
	err = x.respond(response)
	c.acked, c.cost = err == nil, x.cost
	return c
}

// run keeps workers calling until ctx ends. next makes the wishes of one worker.
func (l *load) run(ctx context.Context, workers int, pause time.Duration, next func(r *rand.Rand) wish) {
	var running sync.WaitGroup
	for n := range workers {
		running.Go(func() {
			r := rand.New(rand.NewPCG(l.seed, 1000+uint64(n)))
			for ctx.Err() == nil {
				// Not under ctx: a call that began ends.
				if l.do(context.WithoutCancel(ctx), l.replicas[r.IntN(len(l.replicas))], next(r)) == nil {
					time.Sleep(10 * time.Millisecond) // as a client backs off that got a 503
				}
				time.Sleep(time.Duration(r.Int64N(int64(pause))))
			}
		})
	}
	running.Wait()
}

// volleys sends size calls at once, over all replicas, again and again, each
// volley with a wish of its own: a budget with room for fewer meets its edge every time.
func (l *load) volleys(ctx context.Context, size int, pause time.Duration, next func(n int) wish) {
	for n := 0; ctx.Err() == nil; n++ {
		var running sync.WaitGroup
		for i := range size {
			running.Go(func() { l.do(context.WithoutCancel(ctx), l.replicas[i%len(l.replicas)], next(n)) })
		}
		running.Wait()
		time.Sleep(pause)
	}
}

// each gives every finished call to f, in the order in which they ended.
func (l *load) each(f func(*call)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		f(c)
	}
}

// count counts the calls that f holds for.
func (l *load) count(f func(*call) bool) (n int) {
	l.each(func(c *call) {
		if f(c) {
			n++
		}
	})
	return n
}

// dearest is a call that costs all of what it holds.
func dearest(t *testing.T, r *replica, team string) (w wish, hold int64) {
	t.Helper()
	w = wish{team: team, user: "ada", limit: 50, work: work{Input: 99, Output: 50}}
	hold = boundNano(t, r, w)
	w.work.Input = (hold - w.work.Output*outputNano) / inputNano
	if again := boundNano(t, r, w); w.work.Input < 10 || again != hold {
		t.Fatalf("a call holds %d, and %d when it asks for %d input tokens: its prompt has to be as long", hold, again, w.work.Input)
	}
	return w, hold
}

// boundNano is what a call of this kind holds: a dry run tells.
func boundNano(t *testing.T, r *replica, w wish) int64 {
	t.Helper()
	preview := dryRunOf(t, r, w)
	return nano(t, preview.Estimate.Bound)
}

type preview struct {
	Estimate struct {
		Bound string `json:"bound_usd"`
	} `json:"estimate"`
	Budgets []struct {
		Budget string `json:"budget"`
		Limit  string `json:"limit_usd"`
	} `json:"budgets"`
}

func dryRunOf(t *testing.T, r *replica, w wish) preview {
	t.Helper()
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		conn := r.connection()
		if conn == nil {
			continue
		}
		x, err := ask(t.Context(), conn, w.body("call-00000000"), append(w.headers(), "x-keel-dry-run: true")...)
		if err != nil {
			if last = err; status.Code(err) == codes.Unavailable {
				continue
			}
			t.Fatalf("dry run: %v", err)
		}
		x.end()
		var p preview
		if x.status() != http.StatusOK {
			t.Fatalf("dry run: status %d: %s", x.status(), x.denied.GetBody())
		}
		if err := json.Unmarshal(x.denied.GetBody(), &p); err != nil {
			t.Fatalf("dry run: %v: %s", err, x.denied.GetBody())
		}
		return p
	}
	t.Fatalf("no dry run: %v", last)
	return preview{}
}
