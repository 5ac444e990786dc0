//go:build linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// The disk of a replica is gone, with what it had not yet settled: that is
// lost, and stays counted as spent, so that nobody can spend it again.
func TestChaosDeletedJournal(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs for a while: -short")
	}
	s := seed(t)
	provider := startProvider(t)
	postgres := ownPostgres(t)
	c := startCluster(t, keel, postgres.DSN(), 3, true, "")
	l := newLoad(provider, c.replicas, s)
	w, hold := dearest(t, c.replicas[0], "main")
	limit := 600 * hold
	c.apply(t, budgets(fmt.Sprintf("{name: main, selector: {team: main}, limit: %s USD, window: lifetime}", usd(limit))))
	c.followed(t, w, "main", usd(limit))

	v := &verdict{}
	load := func(d time.Duration) {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		l.run(ctx, 6, 60*time.Millisecond, func(*rand.Rand) wish { return w })
	}
	load(2 * time.Second)
	victim := c.replicas[1]
	for range 2 {
		victim.proxy.leave(true) // from here on its journal is all there is
		load(1500 * time.Millisecond)
		v.fault(victim.end(syscall.SIGKILL))
		if err := os.RemoveAll(victim.journal); err != nil {
			t.Fatal(err)
		}
		victim.proxy.leave(false)
		v.fault(victim.start())
		load(time.Second)
	}
	// Use up what can still be used.
	deadline := time.Now().Add(2 * patience)
	for denied := 0; denied < len(c.replicas) && time.Now().Before(deadline); {
		if k := l.do(t.Context(), c.replicas[denied], w); k != nil && k.status == http.StatusTooManyRequests {
			denied++
		} else {
			denied = 0
		}
	}
	if err := c.drain(l, longStill/4); err != nil {
		t.Logf("as it must be: %v", err)
	}
	spends, err := c.spends()
	if err != nil {
		t.Fatal(err)
	}
	var truth int64
	lost := 0
	billed := provider.truth(t)
	l.each(func(k *call) {
		truth += billed[k.id].nano()
		switch r, ok := spends[k.decision]; {
		case k.acked && (!ok || r.Outcome != "complete"):
			if lost++; k.replica != victim.n {
				v.add("acknowledged closeout lost", "call %s of replica %d, which kept its journal, has %v on record", k.id, k.replica, r)
			}
		case ok && r.Rows != 1:
			v.add("more than one record", "call %s has %d", k.id, r.Rows)
		}
	})
	if truth > limit {
		v.add("overspent", "the provider bills %d, the limit is %d", truth, limit)
	}
	type left struct{ Remaining string }
	remaining, err := rows[left](c, `select (limit_usd - settled_usd - leased_usd)::text from keel.budget_status where budget = 'main'`)
	if err != nil || len(remaining) != 1 {
		t.Fatalf("keel.budget_status: %v, %v", remaining, err)
	}
	if n := nano(t, remaining[0].Remaining); limit-n < truth {
		v.add("escrow", "%d of %d is said to remain, and the provider bills %d", n, limit, truth)
	}
	t.Logf("%d acknowledged closeouts were lost with the journal; the provider bills %d of %d", lost, truth, limit)
	if lost == 0 {
		t.Error("nothing was lost with the journal: the test proves nothing")
	}
	v.checkLedger(c, keel) // says what was lost: see docs/ledger.md
	v.report(t)
}
