package ledger

import (
	"sync"
	"testing"
)

// Connections break all the time, also while COMMIT is under way: whoever repeats what has no answer loses and doubles nothing.
func TestSettleWhileConnectionsBreak(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1_000_000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 5000)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = execute(t, l.dsn, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
			}
		}
	})
	for range 60 {
		var batch = j.batch()
		for range 5 {
			d := admitted(enforced(thisMonth("a"), 10))
			batch.Records = append(batch.Records, j.batch(decided(d), j.closed(d, ended(d, 9))).Records...)
		}
		for {
			settled, err := l.Settle(t.Context(), batch)
			if err == nil && settled.Applied == j.seq {
				break
			}
			if err == nil || !Unavailable(err) {
				t.Fatalf("applied %d, %v", settled.Applied, err)
			}
		}
	}
	close(stop)
	wg.Wait()
	l.pool.Reset() // its idle connections are broken
	l.want("a", sums{settled: 2700, leased: 2300})
}
