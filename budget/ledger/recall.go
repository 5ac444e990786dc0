package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/escrow"
)

// recallChannel carries [org, budget, account, window start, window end, rolling]:
// times in Unix microseconds as an escrow.Key has them, rolling in microseconds. The
// trigger of keel.budgets writes to it, too.
const recallChannel = "keel_recall"

// longestPayload is what Postgres lets NOTIFY carry.
const longestPayload = 7999

// Recall implements escrow.Bank. An account whose labels are too long for a
// notification is left out: its slices come back when they fall idle.
func (b *Bank) Recall(ctx context.Context, keys []escrow.Key) error {
	payloads := make([]string, 0, len(keys))
	for _, k := range keys {
		payload, err := json.Marshal([]any{k.Org, k.Budget, k.Account, k.Start, k.End, k.Rolling.Microseconds()})
		if err == nil && len(payload) <= longestPayload {
			payloads = append(payloads, string(payload))
		}
	}
	_, err := b.pool.Exec(ctx, "select pg_notify($1, p) from unnest($2::text[]) p", recallChannel, payloads)
	return explainError("recall slices", err)
}

// Recalls implements escrow.Bank. It takes a connection of its own, which must be a
// session of the server's (no transaction pooling).
func (b *Bank) Recalls(ctx context.Context, recalled func(escrow.Key)) error {
	conn, err := pgx.ConnectConfig(ctx, b.pool.Config().ConnConfig)
	if err != nil {
		return explainError("listen for recalls", err)
	}
	defer func() {
		gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(gone)
	}()
	if _, err := conn.Exec(ctx, "listen "+recallChannel); err != nil {
		return explainError("listen for recalls", err)
	}
	for {
		// A server that went silent is found out by the question after each quiet time.
		quiet, cancel := context.WithTimeout(ctx, 10*time.Second)
		n, err := conn.WaitForNotification(quiet)
		cancel()
		switch {
		case err == nil:
			if k, err := parseRecall(n.Payload); err != nil {
				b.o.Logger.Warn("ledger: a recall can't be read; is a newer keel at work?", "error", err)
			} else {
				recalled(k)
			}
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case !conn.IsClosed():
			ask, cancel := context.WithTimeout(ctx, 5*time.Second)
			err = conn.Ping(ask)
			cancel()
		}
		if err != nil {
			return explainError("listen for recalls", err)
		}
	}
}

func parseRecall(payload string) (k escrow.Key, err error) {
	var rolling int64
	fields := []any{&k.Org, &k.Budget, &k.Account, &k.Start, &k.End, &rolling}
	n := len(fields)
	if err := json.Unmarshal([]byte(payload), &fields); err != nil {
		return k, err
	}
	if len(fields) != n {
		return k, fmt.Errorf("a recall of %d fields, want %d", len(fields), n)
	}
	if rolling < 0 || rolling > int64(1<<63-1)/1000 {
		return k, fmt.Errorf("a rolling window of %d µs", rolling)
	}
	k.Rolling = time.Duration(rolling) * time.Microsecond
	return k, nil
}
