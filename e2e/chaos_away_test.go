//go:build linux

package e2e

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Postgres is away for long while calls go on: those of an org that may owe
// pass, the others go as far as they have leases. All are on record once it is
// back, and nothing had to be restarted.
func TestPostgresAwayForLong(t *testing.T) {
	t.Parallel()
	away := chaosTime(t, 20*time.Second, 0.5)
	s := seed(t)
	provider := startProvider(t)
	postgres := ownPostgres(t)
	c := startCluster(t, keel, postgres.DSN(), 2, false, `
---
kind: Settings
org: debtors
name: default
offline: allow_debt
---
kind: Price
org: debtors
name: chaos
provider: openai
model: gpt-5-mini
effective_from: 2020-01-01
per_million: {input: 1, cached_input: 1, output: 10 USD}
---
kind: Budget
name: strict
selector: {team: strict}
limit: 1000 USD
window: lifetime
---
kind: Budget
org: debtors
name: owing
selector: {team: owing}
limit: 1000 USD
window: lifetime
`)
	l := newLoad(provider, c.replicas, s)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() {
		l.run(ctx, 8, 80*time.Millisecond, func(r *rand.Rand) wish {
			w := wish{team: "strict", user: "ada", limit: 50, stream: r.IntN(4) == 0, work: work{Input: 10, Output: 1 + r.Int64N(50), DelayMS: r.Int64N(20)}}
			if r.IntN(2) == 0 {
				w.team, w.org = "owing", "debtors"
			}
			return w
		})
	})
	time.Sleep(3 * time.Second)
	var pids []int
	var before []int64
	for _, r := range c.replicas {
		n, err := r.resident()
		if err != nil {
			t.Fatal(err)
		}
		pids, before = append(pids, r.pid()), append(before, n)
	}
	owing := func(k *call) bool { return k.team == "owing" && k.acked }
	if err := stopImmediately(postgres); err != nil {
		t.Fatal(err)
	}
	acked := l.count(owing)
	time.Sleep(away)
	if n := l.count(owing) - acked; n < 10 {
		t.Errorf("%d calls that may owe were answered while Postgres was away", n)
	}
	const growth = 256 << 20
	for i, r := range c.replicas {
		n, err := r.resident()
		if err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
		t.Logf("replica %d: %d MiB before, %d MiB after %v without Postgres", i, before[i]>>20, n>>20, away)
		if n > before[i]+growth {
			t.Errorf("replica %d grew from %d to %d bytes", i, before[i], n)
		}
	}
	if err := postgres.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	cancel()
	running.Wait()
	v := &verdict{}
	if err := c.drain(l, longStill); err != nil {
		v.add("not drained", "after Postgres came back: %v", err)
	}
	// They decide again, too, without having been restarted.
	for i, r := range c.replicas {
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			k := l.do(t.Context(), r, wish{team: "strict", user: "ada", limit: 50, work: work{Input: 10, Output: 50}})
			if k != nil && k.acked {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("replica %d does not let calls out again: %+v", i, k)
				break
			}
		}
		if r.pid() != pids[i] {
			t.Errorf("replica %d was restarted", i)
		}
		select {
		case <-r.exited:
			t.Errorf("replica %d ended", i)
		default:
		}
	}
	if err := c.drain(l, longStill); err != nil {
		v.add("not drained", "at the end: %v", err)
	}
	t.Logf("%d calls: %d acknowledged, %d denied", len(l.calls), l.count(func(k *call) bool { return k.acked }), l.count(func(k *call) bool { return !k.released }))
	v.checkCalls(t, c, l)
	v.checkBudget(t, c, l, bounds{"strict", "strict", false, 1000e9})
	v.checkBudget(t, c, l, bounds{"owing", "owing", false, 1000e9})
	v.checkLedger(c, keel)
	v.report(t)
}
