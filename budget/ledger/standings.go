package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// Two questions, because the whole key of an account is an index lookup, and all
// buckets of a rolling window are a range.
const (
	readAccounts = `
select k.n, a.settled_n, a.held_n, a.leased_n
from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) with ordinality k (org, budget, account_key, window_start, window_end, n)
join keel.accounts a on a.org = k.org and a.budget = k.budget and a.account_key = k.account_key
  and a.window_start = k.window_start and a.window_end = k.window_end`
	readRolling = `
select k.n, sum(a.settled_n)::bigint, sum(a.held_n)::bigint, sum(a.leased_n)::bigint
from unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) with ordinality k (org, budget, account_key, rolling, n)
join keel.accounts a on a.org = k.org and a.budget = k.budget and a.account_key = k.account_key
  and a.window_end > clock_timestamp() - k.rolling * interval '1 microsecond' - interval '2 seconds'
  and a.window_end = a.window_start + k.rolling / 60 * interval '1 microsecond'
group by k.n`
)

// Standings implements escrow.Bank.
func (b *Bank) Standings(ctx context.Context, keys []escrow.Key) (standings []escrow.Standing, err error) {
	for attempt := 0; ; attempt++ {
		if standings, err = b.standings(ctx, keys); !again(ctx, err, attempt) {
			return standings, explainError("read standings", err)
		}
	}
}

func (b *Bank) standings(ctx context.Context, keys []escrow.Key) (standings []escrow.Standing, err error) {
	var one, rolling []escrow.Key
	var oneOrgs, rollingOrgs []string
	var lengths []int64
	for _, k := range keys {
		if k.Rolling > 0 {
			rolling, rollingOrgs, lengths = append(rolling, k), append(rollingOrgs, k.Org), append(lengths, k.Rolling.Microseconds())
		} else {
			one, oneOrgs = append(one, k), append(oneOrgs, k.Org)
		}
	}
	batch := &pgx.Batch{}
	collect := func(asked []escrow.Key) func(pgx.Rows) error {
		return func(rows pgx.Rows) error {
			var n int
			var settled, held, leased pricing.NanoUSD
			_, err := pgx.ForEachRow(rows, []any{&n, &settled, &held, &leased}, func() error {
				standings = append(standings, escrow.Standing{Key: asked[n-1], Settled: settled, Held: held, Leased: leased})
				return nil
			})
			return err
		}
	}
	if len(one) > 0 {
		c := columnsOf(one)
		batch.Queue(readAccounts, oneOrgs, c.budgets, c.accounts, c.starts, c.ends).Query(collect(one))
	}
	if len(rolling) > 0 {
		c := columnsOf(rolling)
		batch.Queue(readRolling, rollingOrgs, c.budgets, c.accounts, lengths).Query(collect(rolling))
	}
	err = b.pool.SendBatch(ctx, batch).Close()
	return standings, err
}
