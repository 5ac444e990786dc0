package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// The limit test must be part of the UPDATE of the row that it protects: two
// updates of one row wait for each other, and the second evaluates its condition
// anew on what the first committed. A test by sub-select reads the statement's
// snapshot instead, and overspends. Only the other buckets of a rolling window are
// read so: leases of a rolling budget have its limits row to themselves, and what
// else happens to a bucket moves what is counted already, or is forced.
const leaseSQL = `
with granted as (
  update keel.accounts a set
    last_grant_n = least($6::bigint, greatest($7::bigint, {room} / $8::bigint)),
    leased_n = a.leased_n + least($6::bigint, greatest($7::bigint, {room} / $8::bigint)),
    high_n = greatest(a.high_n, l.ceiling), grants = a.grants + 1
  from (select least(ceiling_n, pending_ceiling_n) as ceiling, coalesce(pending_limit_n, limit_n) as limit_n, coalesce(pending_version, version) as version from keel.limits where org = $1 and budget = $2) l
  cross join ({elsewhere}) o
  where a.org = $1 and a.budget = $2 and a.account_key = $3 and a.window_start = $4 and a.window_end = $5
    and {room} >= $7::bigint
    and exists (select from keel.epochs e where e.org = $1 and e.epoch = $10::uuid and e.state = 'live')
    and exists (select from keel.leases x where x.org = $1 and x.budget = $2 and x.account_key = $3 and x.window_start = $4 and x.window_end = $5 and x.epoch = $10::uuid)
    and exists (select from keel.db_state s where s.timeline = keel.timeline() and s.learn_until <= clock_timestamp() and $11::text in ('', s.timeline))
  returning a.last_grant_n, a.settled_n + o.settled as settled, a.leased_n + o.leased as leased, l.ceiling, l.limit_n, l.version)
update keel.leases x set granted_n = x.granted_n + g.last_grant_n, renewed_at = now()
from granted g
where x.org = $1 and x.budget = $2 and x.account_key = $3 and x.window_start = $4 and x.window_end = $5 and x.epoch = $10::uuid
returning x.granted_n, g.last_grant_n, g.settled, g.leased, g.ceiling, g.limit_n, g.version`

const (
	roomOfRow = `(l.ceiling - o.settled - o.leased - a.settled_n - a.leased_n - $9::bigint)`
	// A clock may be two seconds off, so a bucket is leased from, and counts, two seconds longer. A bucket is told by its length, which is added and
	// not subtracted: a budget that was once for its lifetime has an account whose bounds are infinite, and Postgres 16 can't subtract those.
	elsewhereRolling = `
    select coalesce(sum(r.settled_n), 0)::bigint as settled, coalesce(sum(r.leased_n), 0)::bigint as leased
    from keel.accounts r
    where r.org = $1 and r.budget = $2 and r.account_key = $3 and r.window_start <> $4
      and r.window_end > clock_timestamp() - $12::bigint * interval '1 microsecond' - interval '2 seconds'
      and r.window_end = r.window_start + $12::bigint / 60 * interval '1 microsecond'
    having clock_timestamp() between $4::timestamptz - interval '2 seconds' and $5::timestamptz + interval '2 seconds'`
)

func leaseStatement(room, elsewhere string) string {
	return strings.NewReplacer("{room}", room, "{elsewhere}", elsewhere).Replace(leaseSQL)
}

var (
	leaseOne     = leaseStatement(roomOfRow, `select 0::bigint as settled, 0::bigint as leased where $12::bigint = 0`)
	leaseRolling = leaseStatement(roomOfRow, elsewhereRolling)
	// The mutant: the same test, on the snapshot.
	leaseSubselect = leaseStatement(`((select l.ceiling - s.settled_n - s.leased_n from keel.accounts s
      where s.org = $1 and s.budget = $2 and s.account_key = $3 and s.window_start = $4 and s.window_end = $5) - $9::bigint)`,
		`select 0::bigint as settled, 0::bigint as leased where $12::bigint = 0`)
)

// Lease implements escrow.Bank. A lease that is given is one round trip.
//
// The limits row is locked in a statement of its own, before: then the update sees
// the last edit of the budget, and the next edit sees this lease. Settlement
// does not wait for leases of its epoch, nor they for it; finishing the epoch does.
func (b *Bank) Lease(ctx context.Context, r escrow.LeaseRequest) (answer escrow.Lease, err error) {
	if r.Min < 0 || r.Want < r.Min || r.Share < 1 || r.Owed < 0 {
		return answer, fmt.Errorf("ledger: lease from budget %s: want %d, at least %d, of 1/%d of the room: %w", r.Key.Budget, r.Want, r.Min, r.Share, errInvalid)
	}
	if r.Want == 0 {
		answer, _, err = b.refusal(ctx, r)
		return answer, explainError(fmt.Sprintf("read the lease of budget %s/%s", r.Key.Org, r.Key.Budget), err)
	}
	for attempt := 0; attempt < 20; attempt++ {
		answer, err = b.tryLease(ctx, r)
		if again(ctx, err, attempt) {
			continue
		}
		if err == nil && answer.Given == 0 {
			var once bool
			answer, once, err = b.refusal(ctx, r)
			if once || again(ctx, err, attempt) {
				continue
			}
		}
		if err != nil {
			return escrow.Lease{}, explainError(fmt.Sprintf("lease from budget %s/%s", r.Key.Org, r.Key.Budget), err)
		}
		return answer, nil
	}
	return escrow.Lease{}, fmt.Errorf("ledger: lease from budget %s/%s: %w: others were faster, time after time", r.Key.Org, r.Key.Budget, budget.ErrUnavailable)
}

func (b *Bank) tryLease(ctx context.Context, r escrow.LeaseRequest) (answer escrow.Lease, err error) {
	k := r.Key
	statement, lock := leaseOne, " for share"
	switch {
	case k.Rolling > 0:
		statement, lock = leaseRolling, " for update"
	case b.mutant.subselect:
		statement = leaseSubselect
	}
	// Without "begin" the statements up to Sync are one transaction (Postgres manual, 55.2.4 Pipelining).
	batch := &pgx.Batch{}
	batch.Queue("select from keel.limits where org = $1 and budget = $2"+lock, k.Org, k.Budget)
	batch.Queue("select from keel.epochs where org = $1 and epoch = $2 for key share", k.Org, r.Epoch)
	batch.Queue(statement, k.Org, k.Budget, k.Account, instant(k.Start), instant(k.End), int64(r.Want), int64(r.Min), r.Share, int64(r.Owed),
		r.Epoch, r.Timeline, k.Rolling.Microseconds()).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&answer.Granted, &answer.Given, &answer.Settled, &answer.Leased, &answer.Ceiling, &answer.Limit, &answer.Version)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return answer, b.pool.SendBatch(ctx, batch).Close()
}

const refusalSQL = `
select e.state, m.finished_at is not null,
  s.timeline <> keel.timeline() or s.learn_until > clock_timestamp() or $7::text not in ('', s.timeline),
  least(l.ceiling_n, l.pending_ceiling_n), coalesce(l.pending_limit_n, l.limit_n, 0), coalesce(l.pending_version, l.version, 0), t.settled, t.leased, t.known, x.granted_n,
  $8::bigint = 0 or clock_timestamp() between $4::timestamptz - interval '2 seconds' and $5::timestamptz + interval '2 seconds',
  case when l.ceiling_n is not null then (
    select coalesce(sum(greatest(y.granted_n - y.consumed_n - y.returned_n - y.forfeited_n - y.held_n, 0)), 0)::bigint
    from keel.leases y join keel.replicas q on q.epoch = y.epoch
    where y.org = $1 and y.budget = $2 and y.account_key = $3 and y.epoch <> $6
      and q.heartbeat_at > now() - $9::interval and q.finished_at is null
      and case when $8::bigint = 0 then y.window_start = $4 and y.window_end = $5
        else y.window_end > clock_timestamp() - $8::bigint * interval '1 microsecond' - interval '2 seconds'
          and y.window_end = y.window_start + $8::bigint / 60 * interval '1 microsecond' end) else 0 end
from keel.db_state s
left join keel.epochs e on e.org = $1 and e.epoch = $6
left join keel.replicas m on m.epoch = $6
left join keel.limits l on l.org = $1 and l.budget = $2
left join keel.leases x on x.org = $1 and x.budget = $2 and x.account_key = $3 and x.window_start = $4 and x.window_end = $5 and x.epoch = $6
cross join (
  select coalesce(sum(a.settled_n), 0)::bigint as settled, coalesce(sum(a.leased_n), 0)::bigint as leased,
    coalesce(bool_or(a.window_start = $4 and a.window_end = $5), false) as known
  from keel.accounts a
  where a.org = $1 and a.budget = $2 and a.account_key = $3
    and case when $8::bigint = 0 then a.window_start = $4 and a.window_end = $5
      else a.window_end > clock_timestamp() - $8::bigint * interval '1 microsecond' - interval '2 seconds'
        and a.window_end = a.window_start + $8::bigint / 60 * interval '1 microsecond' end) t`

// refusal says why nothing was given, from one snapshot, or that it is worth asking
// again: rows were missing and are made now, or there is room in the meantime.
func (b *Bank) refusal(ctx context.Context, r escrow.LeaseRequest) (answer escrow.Lease, again bool, err error) {
	k := r.Key
	var (
		state                         *string
		gone, learning, known, timely bool
		ceiling, granted              *int64
		idle                          pricing.NanoUSD
	)
	if err := b.pool.QueryRow(ctx, refusalSQL, k.Org, k.Budget, k.Account, instant(k.Start), instant(k.End), r.Epoch, r.Timeline, k.Rolling.Microseconds(), b.o.LiveFor).
		Scan(&state, &gone, &learning, &ceiling, &answer.Limit, &answer.Version, &answer.Settled, &answer.Leased, &known, &granted, &timely, &idle); err != nil {
		return answer, false, err
	}
	if granted != nil {
		answer.Granted = pricing.NanoUSD(*granted)
	}
	if ceiling != nil {
		answer.Ceiling = pricing.NanoUSD(*ceiling)
	}
	switch {
	case gone || state != nil && *state == "finished":
		answer.Refused = escrow.IsFinished
	case learning:
		answer.Refused = escrow.IsLearning
	case ceiling == nil:
		answer.Refused = escrow.NoBudget
	case !timely:
		answer.Refused = escrow.NotItsClock
	case answer.Ceiling-answer.Settled-answer.Leased-r.Owed < r.Min:
		answer.Refused, answer.Idle = escrow.NoRoom, idle
	default:
		if r.Want == 0 {
			return answer, false, nil
		}
		if state == nil || *state != "live" || !known || granted == nil {
			err = b.makeRows(ctx, r.Epoch, k)
		}
		return answer, true, err
	}
	return answer, false, nil
}

// makeRows makes what a lease needs: the account, the epoch and the lease.
func (b *Bank) makeRows(ctx context.Context, epoch uuid.UUID, k escrow.Key) error {
	return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		if err := enlist(ctx, tx, k.Org, epoch); err != nil {
			return err
		}
		c := columnsOf([]escrow.Key{k})
		if _, err := tx.Exec(ctx, createAccounts, k.Org, c.budgets, c.accounts, c.starts, c.ends); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, createLeases, k.Org, c.budgets, c.accounts, c.starts, c.ends, []uuid.UUID{epoch})
		return err
	})
}

const createAccounts = `
insert into keel.accounts (org, budget, account_key, window_start, window_end)
select $1, k.* from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) k
on conflict (org, budget, account_key, window_start, window_end) do nothing`

const createLeases = `
insert into keel.leases (org, budget, account_key, window_start, window_end, epoch)
select $1, k.* from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::uuid[]) k
on conflict (org, budget, account_key, window_start, window_end, epoch) do nothing`

// enlist makes an epoch known to an org, unless it is finished. Its replica is
// locked: Finish comes before or after.
func enlist(ctx context.Context, tx pgx.Tx, org string, epoch uuid.UUID) error {
	if _, err := tx.Exec(ctx, "insert into keel.replicas (epoch, host) values ($1, '') on conflict (epoch) do nothing", epoch); err != nil {
		return err
	}
	var finished bool
	if err := tx.QueryRow(ctx, "select finished_at is not null from keel.replicas where epoch = $1 for share", epoch).Scan(&finished); err != nil {
		return err
	}
	state := "live"
	if finished {
		state = "finished"
	}
	_, err := tx.Exec(ctx, `
insert into keel.epochs as e (org, epoch, state) values ($1, $2, $3)
on conflict (org, epoch) do update set state = 'live' where e.state = 'fenced' and excluded.state = 'live'`, org, epoch, state)
	return err
}
