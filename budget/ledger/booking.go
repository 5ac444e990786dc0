package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// booking is what one transaction changes in the accounts of an org.
type booking struct {
	accounts map[escrow.Key]*accountChange
	leases   map[leaseKey]*leaseChange
}

type accountChange struct{ settled, forced, held pricing.NanoUSD }

type leaseKey struct {
	escrow.Key
	epoch uuid.UUID
}

func (k leaseKey) compare(o leaseKey) int {
	return cmp.Or(k.Key.Compare(o.Key), bytes.Compare(k.epoch[:], o.epoch[:]))
}

// leaseChange moves money of a lease. Charges and what is written off are settled
// in the account; more than the lease has left is forced.
type leaseChange struct{ charged, returned, forfeited, held pricing.NanoUSD }

func newBooking() booking {
	return booking{make(map[escrow.Key]*accountChange), make(map[leaseKey]*leaseChange)}
}

func (b *booking) account(k escrow.Key) *accountChange {
	k = stored(k)
	a := b.accounts[k]
	if a == nil {
		a = &accountChange{}
		b.accounts[k] = a
	}
	return a
}

func (b *booking) lease(k escrow.Key, epoch uuid.UUID) *leaseChange {
	b.account(k)
	lk := leaseKey{stored(k), epoch}
	l := b.leases[lk]
	if l == nil {
		l = &leaseChange{}
		b.leases[lk] = l
	}
	return l
}

// charge settles an amount that nobody had leased. A lower one than before gives nothing back to forced.
func (b *booking) charge(k escrow.Key, amount pricing.NanoUSD) {
	a := b.account(k)
	a.settled += amount
	a.forced += max(0, amount)
}

// hold takes an open hold, or ends one where amount is below zero.
func (b *booking) hold(k escrow.Key, epoch uuid.UUID, amount pricing.NanoUSD, leased bool) {
	b.account(k).held += amount
	if leased {
		b.lease(k, epoch).held += amount
	}
}

// lockAccounts takes the row locks in key order, as everybody does.
const lockAccounts = `
select from keel.accounts a
where a.org = $1 and (a.budget, a.account_key, a.window_start, a.window_end) in (
  select k.* from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) k)
order by a.budget, a.account_key, a.window_start, a.window_end
for update`

// With the accounts locked their leases stand still: what is left of one can be read. A charge
// that is lowered by more than was taken from the slice only lowers what is settled.
const bookChanges = `
with o as materialized (
  select d.*, greatest(d.charged, -l.consumed_n) as taken,
    greatest(0, greatest(d.charged, -l.consumed_n) + d.returned + d.forfeited - (l.granted_n - l.consumed_n - l.returned_n - l.forfeited_n)) as over
  from unnest($9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::uuid[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[])
    d (budget, account_key, window_start, window_end, epoch, charged, returned, forfeited, held)
  join keel.leases l on l.org = $1 and l.budget = d.budget and l.account_key = d.account_key
    and l.window_start = d.window_start and l.window_end = d.window_end and l.epoch = d.epoch),
moved as (
  update keel.leases l set granted_n = l.granted_n + o.over, consumed_n = l.consumed_n + o.taken, returned_n = l.returned_n + o.returned,
    forfeited_n = l.forfeited_n + o.forfeited, held_n = l.held_n + o.held
  from o
  where l.org = $1 and l.budget = o.budget and l.account_key = o.account_key
    and l.window_start = o.window_start and l.window_end = o.window_end and l.epoch = o.epoch
  returning 1),
x as materialized (
  select k.budget, k.account_key, k.window_start, k.window_end, k.held,
    k.settled + coalesce(sum(o.charged + o.forfeited), 0)::bigint as settled,
    coalesce(sum(o.taken + o.returned + o.forfeited - o.over), 0)::bigint as leased,
    k.forced + coalesce(sum(o.over), 0)::bigint as forced
  from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], $7::bigint[], $8::bigint[])
    k (budget, account_key, window_start, window_end, settled, forced, held)
  left join o on o.budget = k.budget and o.account_key = k.account_key and o.window_start = k.window_start and o.window_end = k.window_end
  group by k.budget, k.account_key, k.window_start, k.window_end, k.held, k.settled, k.forced)
update keel.accounts a set settled_n = a.settled_n + x.settled, leased_n = a.leased_n - x.leased, forced_n = a.forced_n + x.forced, held_n = a.held_n + x.held
from x
where a.org = $1 and a.budget = x.budget and a.account_key = x.account_key and a.window_start = x.window_start and a.window_end = x.window_end
returning a.budget, a.account_key, a.window_start, a.window_end, a.settled_n, a.held_n, a.leased_n, (select count(*) from moved)`

// write books what changed and returns the accounts as they are then.
func (b *booking) write(ctx context.Context, tx pgx.Tx, org string) ([]escrow.Standing, error) {
	if len(b.accounts) == 0 {
		return nil, nil
	}
	keys := slices.SortedFunc(maps.Keys(b.accounts), escrow.Key.Compare)
	accounts := columnsOf(keys)
	var settled, forced, held []int64
	for _, k := range keys {
		a := b.accounts[k]
		settled, forced, held = append(settled, int64(a.settled)), append(forced, int64(a.forced)), append(held, int64(a.held))
	}
	var leases keyColumns
	var epochs []uuid.UUID
	var charged, returned, forfeited, leaseHeld []int64
	for _, k := range slices.SortedFunc(maps.Keys(b.leases), leaseKey.compare) {
		l := b.leases[k]
		leases.add(k.Key)
		epochs = append(epochs, k.epoch)
		charged, returned = append(charged, int64(l.charged)), append(returned, int64(l.returned))
		forfeited, leaseHeld = append(forfeited, int64(l.forfeited)), append(leaseHeld, int64(l.held))
	}
	batch := &pgx.Batch{}
	batch.Queue(createAccounts, org, accounts.budgets, accounts.accounts, accounts.starts, accounts.ends)
	if len(epochs) > 0 {
		batch.Queue(createLeases, org, leases.budgets, leases.accounts, leases.starts, leases.ends, idList(epochs))
	}
	batch.Queue(lockAccounts, org, accounts.budgets, accounts.accounts, accounts.starts, accounts.ends)
	var standings []escrow.Standing
	moved := 0
	batch.Queue(bookChanges, org, accounts.budgets, accounts.accounts, accounts.starts, accounts.ends, settled, forced, held,
		leases.budgets, leases.accounts, leases.starts, leases.ends, idList(epochs), charged, returned, forfeited, leaseHeld).Query(func(rows pgx.Rows) error {
		s := escrow.Standing{Key: escrow.Key{Org: org}}
		var start, end pgtype.Timestamptz
		_, err := pgx.ForEachRow(rows, []any{&s.Budget, &s.Account, &start, &end, &s.Settled, &s.Held, &s.Leased, &moved}, func() error {
			s.Start, s.End = microsOf(start), microsOf(end)
			standings = append(standings, s)
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, err
	}
	if len(standings) != len(keys) || moved != len(epochs) {
		return nil, fmt.Errorf("%w: %d of %d accounts and %d of %d leases", errNotAll, len(standings), len(keys), moved, len(epochs))
	}
	return standings, nil
}

// errNotAll says that rows were gone between two statements of a transaction that had them locked.
var errNotAll = errors.New("not every account could be booked")
