package ledger

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget"
)

// standings is what this replica last knew of the accounts that it uses.
type standings struct {
	mu    sync.RWMutex
	known map[accountKey]*knownStanding
	limit int
	kick  chan struct{} // an account was asked for that nobody has read yet
}

type knownStanding struct {
	budget.Standing
	read time.Time // when it was asked for; zero: never
	used time.Time
}

type standingRow struct {
	accountKey
	budget.Standing
}

func (s *standings) init(limit int) {
	s.known = make(map[accountKey]*knownStanding)
	s.limit = limit
	s.kick = make(chan struct{}, 1)
}

// put notes a standing that the database was asked for at a time. An answer
// older than what is known is dropped.
func (s *standings) put(k accountKey, value budget.Standing, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known[k]
	if known == nil {
		if len(s.known) >= s.limit {
			return
		}
		known = &knownStanding{used: asked}
		s.known[k] = known
	}
	if !asked.Before(known.read) {
		known.Standing, known.read = value, asked
	}
}

// Standing implements budget.Ledger. Of an account that this replica never
// met it reads zero, and the account is read at once in the background.
func (l *Ledger) Standing(a budget.Account) budget.Standing {
	k, s := keyOf(a), &l.standings
	now := time.Now()
	s.mu.RLock()
	known := s.known[k]
	if known != nil && now.Sub(known.used) < 10*time.Second {
		value := known.Standing
		s.mu.RUnlock()
		return value
	}
	s.mu.RUnlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if known = s.known[k]; known != nil {
		known.used = now
		return known.Standing
	}
	if len(s.known) < s.limit {
		s.known[k] = &knownStanding{used: now}
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
	return budget.Standing{}
}

// keys returns the accounts to read, after forgetting windows that ended over
// an hour ago and, when it gets tight, accounts that nobody used for a minute.
func (s *standings) keys(now time.Time) []accountKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := now.Add(-time.Hour).UnixMicro()
	tight := len(s.known) > s.limit/4*3
	keys := make([]accountKey, 0, len(s.known))
	for k, known := range s.known {
		if k.end < ended || tight && now.Sub(known.used) > time.Minute {
			delete(s.known, k)
			continue
		}
		keys = append(keys, k)
	}
	return keys
}

func (l *Ledger) refreshLoop(ctx context.Context) {
	ticker := time.NewTicker(l.opts.RefreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-l.standings.kick:
		}
		asked, err := l.refresh(ctx)
		if asked && ctx.Err() == nil {
			l.setState(err)
		}
		if err != nil {
			sleep(ctx, l.opts.RefreshEvery)
		}
	}
}

// refresh reads every known account, in one query. It reports whether there were any.
func (l *Ledger) refresh(ctx context.Context) (asked bool, err error) {
	keys := l.standings.keys(time.Now())
	if len(keys) == 0 {
		return false, nil
	}
	orgs := make([]string, len(keys))
	for i, k := range keys {
		orgs[i] = k.org
	}
	c := columnsOf(keys)
	return true, l.readStandings(ctx, `
select a.org, a.budget, a.account_key, a.window_start, a.window_end, a.settled_n, a.held_n
from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) k (org, budget, account_key, window_start, window_end)
join keel.accounts a on a.org = k.org collate "C" and a.budget = k.budget collate "C" and a.account_key = k.account_key collate "C"
  and a.window_start = k.window_start and a.window_end = k.window_end`, orgs, c.budgets, c.keys, c.starts, c.ends)
}

// preload reads running windows, so that the first calls of a new replica meet what is spent already.
func (l *Ledger) preload(ctx context.Context) error {
	return l.readStandings(ctx, `
select org, budget, account_key, window_start, window_end, settled_n, held_n from keel.accounts
where window_end > now() and window_start <= now() limit $1`, l.opts.MaxAccounts/2)
}

func (l *Ledger) readStandings(ctx context.Context, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	asked := time.Now()
	rows, err := l.back.Query(ctx, sql, args...)
	if err != nil {
		return explainError("read standings", err)
	}
	read, err := collectStandings(rows, "")
	if err != nil {
		return explainError("read standings", err)
	}
	for _, s := range read {
		l.standings.put(s.accountKey, s.Standing, asked)
	}
	return nil
}

// collectStandings reads rows of an org, or, with org "", rows that begin with theirs.
func collectStandings(rows pgx.Rows, org string) ([]standingRow, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (standingRow, error) {
		s := standingRow{accountKey: accountKey{org: org}}
		var start, end pgtype.Timestamptz
		into := []any{&s.budget, &s.key, &start, &end, &s.Settled, &s.Held}
		if org == "" {
			into = append([]any{&s.org}, into...)
		}
		err := row.Scan(into...)
		s.start, s.end = micros(start), micros(end)
		return s, err
	})
}
