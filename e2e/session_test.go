//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"keel/budget/ledger/pgserver"
)

// A template budget gives every session an account of its own when its first call comes: the
// first calls of one session may come to several replicas at once.
func TestSession(t *testing.T) {
	provider := startProvider(t)
	const subject = `
---
{kind: Subject, name: session, from: {header: x-keel-session}, label: session}
`
	c := startCluster(t, keel, pgserver.ForTest(t), 2, false, subject)
	gate := newGate(t, provider)
	send := gate.direct(c)
	w := wish{team: "agents", user: "ada", limit: 50, work: work{Input: 10, Output: 20}}
	bound := boundNano(t, c.replicas[0], w)
	limit := usd(3 * bound)
	c.apply(t, budgets(
		fmt.Sprintf("{name: run, per: [session], template: true, limit: %s USD}", limit),
		"{name: agents, selector: {team: agents}, limit: 1000 USD, window: month}",
	))
	c.followed(t, w, "agents", "1000")

	sessions := []string{"s-1", "s-2", ""}
	const calls = 20 // of each session
	gate.begin()
	gate.left = calls * len(sessions)
	admitted := make([]atomic.Int64, len(sessions))
	var running sync.WaitGroup
	for i, session := range sessions {
		for n := range calls {
			running.Go(func() {
				headers := w.headers()
				if session != "" {
					headers = append(headers, "x-keel-session: "+session)
				}
				status, err := send(t.Context(), n, w.body("session"), headers)
				switch {
				case err != nil:
					t.Error(err)
				case status == http.StatusOK:
					admitted[i].Add(1)
				case status == http.StatusTooManyRequests:
					gate.decided()
				default:
					t.Errorf("session %q: status %d", session, status)
				}
			})
		}
	}
	running.Wait()
	gate.end()
	for i, want := range []int64{3, 3, calls} {
		if got := admitted[i].Load(); got != want {
			t.Errorf("session %q: %d of %d calls were admitted, want %d", sessions[i], got, calls, want)
		}
	}
}
