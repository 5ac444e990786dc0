//go:build linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type chaosRun struct {
	binary, skewed string
	env            []string
	duration       time.Duration
	seed           uint64
}

const tightHolds = 8 // calls that a budget of one user has room for

// do runs load and faults, drains, checks, and uses the main budget up.
func (o chaosRun) do(t *testing.T) (*verdict, *faults) {
	t.Helper()
	v := &verdict{}
	provider := startProvider(t)
	postgres := ownPostgres(t)
	c := startCluster(t, o.binary, postgres.DSN(), 4, true, "", o.env...)
	l := newLoad(provider, c.replicas, o.seed)

	whole, hold := dearest(t, c.replicas[0], "main")
	mainLimit := hold * int64(25*max(o.duration.Seconds(), 40))
	f := &faults{c: c, verdict: v, without: os.Getenv("KEEL_CHAOS_WITHOUT"), postgres: postgres, skewed: o.skewed, honest: o.binary, began: time.Now(), count: map[string]int{}}
	f.highest.Store(200 * hold)
	c.apply(t, budgets(
		fmt.Sprintf("{name: main, selector: {team: main}, limit: %s USD, window: lifetime}", usd(mainLimit)),
		"{name: main-hour, selector: {team: main}, limit: 1000000 USD, window: hour}",
		fmt.Sprintf("{name: tight, selector: {team: tight}, per: [user], limit: %s USD, window: lifetime}", usd(tightHolds*hold+hold/2)),
		fmt.Sprintf("{name: edited, selector: {team: edited}, limit: %s USD, window: lifetime}", usd(f.highest.Load())),
		fmt.Sprintf("{name: moded, selector: {team: edited}, limit: %s USD, window: lifetime}", usd(300*hold)),
		"{name: flip, selector: {team: edited}, limit: 1000 USD, window: lifetime}",
		"{name: loose, selector: {team: loose}, limit: 1000 USD, window: lifetime}",
		// Last by its name: where accounts are locked in order, it must not queue up those who race for another.
		"{name: z-everything, limit: 1000000 USD, window: lifetime, mode: observe}",
	))
	c.followed(t, whole, "main", usd(mainLimit))
	defer func() {
		if t.Failed() || len(v.kinds) > 0 {
			t.Logf("the faults:\n%s", strings.Join(f.log, "\n"))
		}
	}()

	ctx, cancel := context.WithTimeout(context.Background(), o.duration)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx, o.seed) })
	var promised atomic.Int64 // of the main budget: 60 % of it is for this phase
	running.Go(func() {
		l.run(ctx, 16, 100*time.Millisecond, func(r *rand.Rand) wish {
			w := wish{
				user: "ada", limit: 50, stream: r.IntN(10) < 3, leave: r.IntN(50) == 0,
				work: work{Input: 1 + r.Int64N(10), Output: 1 + r.Int64N(50), DelayMS: 1 + r.Int64N(60)},
			}
			switch n := r.IntN(100); {
			case n < 35 && promised.Add(hold) < mainLimit*6/10:
				w.team = "main"
			case n < 70:
				w.team = "edited"
			default:
				if w.team = "loose"; r.IntN(4) == 0 {
					w.work.Output, w.leave = 80, false
				}
			}
			return w
		})
	})
	running.Go(func() {
		l.volleys(ctx, 2*tightHolds, 150*time.Millisecond, func(n int) wish {
			return wish{team: "tight", user: fmt.Sprintf("u%d", n), limit: whole.limit, work: work{Input: whole.work.Input, Output: whole.work.Output, DelayMS: 30}}
		})
	})
	running.Wait()
	t.Logf("%d calls: %d acknowledged, %d denied, %d streams broke before a decision; faults: %v", len(l.calls), l.count(func(k *call) bool { return k.acked }),
		l.count(func(k *call) bool { return !k.released }), l.failed.Load(), f.count)

	if err := c.drain(l, longStill); err != nil {
		v.add("not drained", "after the faults: %v", err)
	}
	if len(v.kinds) == 0 { // else it may have to wait for what never comes
		v.checkUsable(t, c, l, whole, mainLimit, hold)
	}
	v.checkCalls(t, c, l)
	for _, b := range []bounds{
		{"main", "main", false, mainLimit}, {"main-hour", "main", false, -1}, {"tight", "tight", true, tightHolds*hold + hold/2},
		{"edited", "edited", false, f.highest.Load()}, {"moded", "edited", false, -1}, {"loose", "loose", false, 1000e9},
	} {
		v.checkBudget(t, c, l, b)
	}
	v.checkLedger(c, o.binary)
	for team, least := range map[string]int{"main": 50, "tight": 50, "edited": 20, "loose": 20} {
		if n := l.count(func(k *call) bool { return k.team == team && k.acked }); n < least {
			v.add("proves nothing", "only %d calls of team %s were acknowledged", n, team)
		}
	}
	if l.count(func(k *call) bool { return k.team == "tight" && k.status == http.StatusTooManyRequests }) == 0 {
		v.add("proves nothing", "no budget of a user was used up")
	}
	return v, f
}

// budgets makes documents of budgets that are written in one line each.
func budgets(list ...string) string {
	var text strings.Builder
	for _, fields := range list {
		text.WriteString("---\n{kind: Budget, " + strings.TrimPrefix(fields, "{") + "\n")
	}
	return text.String()
}

// checkUsable calls until the budget denies, with no faults left, and wants 99.9 % of it settled then.
func (v *verdict) checkUsable(t *testing.T, c *cluster, l *load, w wish, limit, hold int64) {
	t.Helper()
	var running sync.WaitGroup
	deadline := time.Now().Add(2 * patience)
	for n := range 8 {
		running.Go(func() {
			for i := n; time.Now().Before(deadline); i++ {
				if k := l.do(t.Context(), c.replicas[i%len(c.replicas)], w); k != nil && k.status == http.StatusTooManyRequests {
					return // by what others hold, perhaps: the next loop has none beside it
				}
			}
		})
	}
	running.Wait()
	for denied := 0; denied < len(c.replicas) && time.Now().Before(deadline); { // every one of them, in a row
		if k := l.do(t.Context(), c.replicas[denied], w); k != nil && k.status == http.StatusTooManyRequests {
			denied++
		} else {
			denied = 0
		}
	}
	if err := c.drain(l, longStill); err != nil {
		v.add("not drained", "after the budget was used up: %v", err)
	}
	accounts, err := c.accounts()
	if err != nil {
		v.fault(err)
	}
	for _, a := range accounts {
		if a.Budget == "main" {
			t.Logf("used %d of %d nano-dollars of the main budget, where a call holds %d", a.Settled, limit, hold)
			if (a.Settled+hold)*1000 <= limit*999 {
				v.add("not usable", "the main budget denies at %d of %d: less than 99.9 %% of it can be used, where a call holds %d", a.Settled, limit, hold)
			}
		}
	}
}
