package ledger

import (
	"context"
	"math/rand/v2"
	"time"
)

// again reports whether to repeat a transaction at once: one that lost against
// another, or whose connection broke, as all of a pool do at their first use after
// Postgres was restarted. What runs under it does no harm when it is done twice.
func again(ctx context.Context, err error, attempt int) bool {
	if err == nil || ctx.Err() != nil {
		return false
	}
	if retryable(err) {
		return attempt < 10 && sleep(ctx, backoff(attempt))
	}
	return sqlState(err) == "" && Unavailable(err) && attempt < 2 && sleep(ctx, backoff(attempt))
}

// backoff doubles from 2 ms to 250 ms, with jitter, so that those who collided don't again.
func backoff(attempt int) time.Duration {
	full := 2 * time.Millisecond << min(attempt, 7)
	return full/2 + rand.N(full/2)
}

// sleep reports whether it slept the whole time.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
