package pages

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/forecast"
)

// budgetRow is a budget in its current window.
type budgetRow struct {
	Name, Window, Timezone, Mode, Hold string
	Selector                           string
	Per                                []string
	Version                            int64
	UpdatedAt                          time.Time
	UpdatedBy                          string
	Pending                            *int64 // a version whose limit takes effect once what is out has come down to it
	Start, End                         *time.Time
	Limit, Spent, Held, Leased, Left   usd
	Tiers                              []tier
	Forecast                           made
	Accounts                           []accountRow // of a budget with per: the fullest ones
	More                               int64        // accounts that are not listed
	Bar                                bar
}

type tier struct {
	At string `json:"at"`
	Do string `json:"do"`
}

// accountRow is one account of a budget with per: the limit is for each of them.
type accountRow struct {
	Key               string
	Spent, Held, Left usd
	Permille          int64
}

// accountsListed is how many accounts of a budget a page shows.
const accountsListed = 10

const budgetsSQL = `
select b.name, b."window", b.timezone, b.mode, b.hold, coalesce((select string_agg(key || ': ' || value, ', ' order by key) from jsonb_each_text(b.selector)), ''), b.per,
  b.version, b.updated_at, b.updated_by, l.pending_version, s.window_start, s.window_end,
  keel.nanos(s.limit_usd)::text, (s.settled_usd * 1000000000)::numeric(38)::text, (s.held_usd * 1000000000)::numeric(38)::text,
  (s.leased_usd * 1000000000)::numeric(38)::text, (s.remaining_usd * 1000000000)::numeric(38)::text, b.tiers
from keel.budgets b join keel.budget_status s on s.org = b.org and s.budget = b.name
left join keel.limits l on l.org = b.org and l.budget = b.name
where b.org = $1 order by b.name`

func readBudgets(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	rows, err := tx.Query(ctx, budgetsSQL, q.org)
	if err != nil {
		return nil, err
	}
	budgets, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*budgetRow, error) {
		b := &budgetRow{}
		return b, row.Scan(&b.Name, &b.Window, &b.Timezone, &b.Mode, &b.Hold, &b.Selector, &b.Per, &b.Version, &b.UpdatedAt, &b.UpdatedBy, &b.Pending,
			&b.Start, &b.End, &b.Limit, &b.Spent, &b.Held, &b.Leased, &b.Left, &b.Tiers)
	})
	if err != nil {
		return nil, err
	}
	for _, b := range budgets {
		b.Forecast.Amount.n, b.Forecast.How = forecast.Of(b.Spent.n, b.Held.n, b.Start, b.End, q.now)
		if len(b.Per) > 0 {
			if err := b.readAccounts(ctx, tx, q.org); err != nil {
				return nil, err
			}
			continue
		}
		b.Bar = newBar(b)
	}
	return budgets, nil
}

// readAccounts fills in the fullest accounts of the current window.
func (b *budgetRow) readAccounts(ctx context.Context, tx pgx.Tx, org string) error {
	rows, err := tx.Query(ctx, `
select a.account_key, sum(a.settled_n)::numeric(38)::text, sum(a.held_n)::numeric(38)::text, (count(*) over ())::bigint
from keel.accounts a
where a.org = $1 and a.budget = $2 and case when $5 then a.window_end > $3 and a.window_end <= now() + interval '1 day'
  else a.window_start = coalesce($3, '-infinity'::timestamptz) and a.window_end = coalesce($4, 'infinity'::timestamptz) end
group by a.account_key order by sum(a.settled_n) + sum(a.held_n) desc, a.account_key limit $6`,
		org, b.Name, b.Start, b.End, b.Start != nil && b.End == nil, accountsListed)
	if err != nil {
		return err
	}
	var all int64
	b.Accounts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a accountRow, err error) {
		if err := row.Scan(&a.Key, &a.Spent, &a.Held, &all); err != nil {
			return a, err
		}
		a.Left = usd{new(big.Int).Sub(b.Limit.n, a.Spent.plus(a.Held).n)}
		a.Permille = a.Spent.plus(a.Held).permille(b.Limit)
		return a, nil
	})
	b.More = all - int64(len(b.Accounts))
	return err
}

// made is a forecast; the amount is unknown where none is made.
type made struct {
	Amount usd
	How    string
}

// Over says that the forecast is beyond the limit.
func (b *budgetRow) Over() bool { return b.Forecast.Amount.above(b.Limit) }

// Percent is the share of the limit that is spent and held, rounded down.
func (b *budgetRow) Percent() int64 {
	if !b.Limit.Positive() {
		return 0
	}
	share := new(big.Int).Mul(b.Spent.plus(b.Held).n, big.NewInt(100))
	return share.Div(share, b.Limit.n).Int64()
}

// Reached is the last tier that what is spent and held has reached, or "".
func (b *budgetRow) Reached() string {
	for _, t := range slices.Backward(b.Tiers) {
		var at int64
		if _, err := fmt.Sscanf(t.At, "%d%%", &at); err == nil && b.Percent() >= at {
			return t.At + ": " + t.Do
		}
	}
	return ""
}
