package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/pricing"
)

// Loss is what giving up an epoch means, whose journal is gone for good or can't be settled: as far as the database knows. What the
// epoch wrote after the records that are settled, nobody knows; what it can have cost at most is what its slices have left.
type Loss struct {
	Epoch  uuid.UUID  `json:"epoch"`
	Host   string     `json:"host"`
	Heard  *time.Time `json:"heard_at"` // null: it never sent a heartbeat, or the backup is older than that
	Alive  bool       `json:"alive"`    // heard of a short while ago: it can't be given up
	Orgs   []OrgLoss  `json:"orgs"`
	Slices int        `json:"slices_written_off"` // 0 unless it was given up
}

// OrgLoss is the share of one organisation.
type OrgLoss struct {
	Org      string        `json:"org"`
	State    string        `json:"state"`           // live, fenced or finished
	Settled  int64         `json:"settled_records"` // of the epoch's journal; those after them are given up
	Open     int64         `json:"open_calls"`      // each is charged at its full hold
	Calls    []OpenCall    `json:"calls"`           // of them, the oldest hundred
	Accounts []AccountLoss `json:"accounts"`
}

// OpenCall is a decision whose end nobody told.
type OpenCall struct {
	Decision uuid.UUID       `json:"decision_id"`
	At       time.Time       `json:"decided_at"`
	Provider string          `json:"provider"`
	Model    string          `json:"model"`
	Held     pricing.NanoUSD `json:"held_usd"` // the most that any of its budgets holds
}

// AccountLoss is what will count as spent in one window of a budget, for one value of its labels.
type AccountLoss struct {
	Budget  string          `json:"budget"`
	Account string          `json:"account"`
	Start   *time.Time      `json:"window_start"` // null: it has none
	End     *time.Time      `json:"window_end"`
	Open    pricing.NanoUSD `json:"open_calls_usd"`
	Rest    pricing.NanoUSD `json:"rest_of_slice_usd"`
	Sum     pricing.NanoUSD `json:"counts_as_spent_usd"`
}

// openCallsShown bounds OrgLoss.Calls.
const openCallsShown = 100

// Losses says what giving up an epoch would mean, and changes nothing; without epochs, of each that is silent and keeps
// something set aside.
func (b *Bank) Losses(ctx context.Context, epochs ...uuid.UUID) (all []Loss, err error) {
	err = pgx.BeginTxFunc(ctx, b.pool, snapshot, func(tx pgx.Tx) error {
		all = nil
		if len(epochs) == 0 {
			if epochs, err = b.lost(ctx, tx); err != nil {
				return err
			}
		}
		for _, e := range epochs {
			loss, err := b.loss(ctx, tx, e)
			if err != nil {
				return err
			}
			all = append(all, loss)
		}
		return nil
	})
	if err != nil {
		return nil, explainError("look at what an epoch keeps set aside", err)
	}
	return all, nil
}

// lost lists the epochs that are not heard of and have something left, the oldest first.
func (b *Bank) lost(ctx context.Context, tx pgx.Tx) ([]uuid.UUID, error) {
	rows, err := tx.Query(ctx, `
select distinct e.epoch from keel.epochs e left join keel.replicas r on r.epoch = e.epoch
where e.state <> 'finished' and coalesce(r.heartbeat_at, e.changed_at) < now() - $1::interval
  and (exists (select from keel.leases l where l.org = e.org and l.epoch = e.epoch and l.granted_n > l.consumed_n + l.returned_n + l.forfeited_n)
    or exists (select from keel.open_decisions o where o.org = e.org and o.epoch = e.epoch and o.opened))
order by e.epoch`, b.o.SilentAfter)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

func (b *Bank) loss(ctx context.Context, tx pgx.Tx, epoch uuid.UUID) (l Loss, err error) {
	l.Epoch = epoch
	rows, err := tx.Query(ctx, `
select e.org, e.state, e.applied_seq, coalesce(r.host, ''), r.heartbeat_at, coalesce(coalesce(r.heartbeat_at, e.changed_at) > now() - $2::interval and r.finished_at is null, false),
  (select count(*) from keel.open_decisions o where o.org = e.org and o.epoch = e.epoch and o.opened)
from keel.epochs e left join keel.replicas r on r.epoch = e.epoch where e.epoch = $1 order by e.org`, epoch, b.o.SilentAfter)
	if err != nil {
		return l, err
	}
	l.Orgs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o OrgLoss, err error) {
		return o, row.Scan(&o.Org, &o.State, &o.Settled, &l.Host, &l.Heard, &l.Alive, &o.Open)
	})
	if err != nil {
		return l, err
	}
	if len(l.Orgs) == 0 {
		return l, fmt.Errorf("epoch %s: %w", epoch, ErrNotFound)
	}
	for i := range l.Orgs {
		if err := l.Orgs[i].read(ctx, tx, epoch); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (o *OrgLoss) read(ctx context.Context, tx pgx.Tx, epoch uuid.UUID) (err error) {
	batch := &pgx.Batch{}
	batch.Queue(`
select d.decision_id, d.decided_at, coalesce(nullif(d.routed_provider, ''), d.provider), coalesce(nullif(d.routed_model, ''), d.model),
  coalesce((select max(h.amount) from (`+heldRows+`) h where h.org = o.org and h.decision_id = o.decision_id), 0)::bigint
from keel.open_decisions o join keel.decisions d on d.org = o.org and d.decision_id = o.decision_id
where o.org = $1 and o.epoch = $2 and o.opened order by o.decision_id limit $3`, o.Org, epoch, openCallsShown).Query(func(rows pgx.Rows) error {
		o.Calls, err = pgx.CollectRows(rows, pgx.RowToStructByPos[OpenCall])
		return err
	})
	// A hold that was leased is charged to the slice; another one, of a budget that observes, to nobody's.
	batch.Queue(`
with held as (
  select budget, account_key, window_start, window_end, sum(amount) as n, coalesce(sum(amount) filter (where leased), 0) as leased
  from (`+heldRows+`) h where org = $1 and epoch = $2 group by budget, account_key, window_start, window_end),
slices as (
  select budget, account_key, window_start, window_end, granted_n - consumed_n - returned_n - forfeited_n as n from keel.leases where org = $1 and epoch = $2)
select * from (
  select budget, account_key, window_start, window_end, coalesce(h.n, 0)::bigint as open, greatest(coalesce(s.n, 0) - coalesce(h.leased, 0), 0)::bigint as rest
  from slices s full join held h using (budget, account_key, window_start, window_end)) x
where open > 0 or rest > 0 order by budget, account_key, window_start, window_end`, o.Org, epoch).Query(func(rows pgx.Rows) error {
		o.Accounts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a AccountLoss, err error) {
			var start, end pgtype.Timestamptz
			if err := row.Scan(&a.Budget, &a.Account, &start, &end, &a.Open, &a.Rest); err != nil {
				return a, err
			}
			a.Start, a.End = bounded(start), bounded(end)
			a.Sum, err = a.Open.Add(a.Rest)
			return a, err
		})
		return err
	})
	return tx.SendBatch(ctx, batch).Close()
}

func bounded(t pgtype.Timestamptz) *time.Time {
	if !t.Valid || t.InfinityModifier != pgtype.Finite {
		return nil
	}
	at := t.Time.UTC()
	return &at
}

// ErrAlive says that a processor is heard of, and can't be given up.
var ErrAlive = errors.New("its processor is alive")

// GiveUp is Bank.ForfeitEpoch on a connection of its own, and what it means; with dry only that.
func GiveUp(ctx context.Context, dsn string, o BankOptions, epoch uuid.UUID, who string, dry bool) (l Loss, err error) {
	err = withBank(ctx, dsn, o, func(b *Bank) error {
		all, err := b.Losses(ctx, epoch)
		if err != nil {
			return err
		}
		if l = all[0]; dry {
			return nil
		}
		l.Slices, err = b.ForfeitEpoch(ctx, epoch, who)
		return err
	})
	return l, err
}

// Losses is Bank.Losses of every lost epoch, on a connection of its own.
func Losses(ctx context.Context, dsn string, o BankOptions) (all []Loss, err error) {
	err = withBank(ctx, dsn, o, func(b *Bank) error {
		all, err = b.Losses(ctx)
		return err
	})
	return all, err
}

func withBank(ctx context.Context, dsn string, o BankOptions, do func(*Bank) error) error {
	pool, err := newPool(dsn, 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := checkSchema(ctx, pool); err != nil {
		return err
	}
	return do(NewBank(pool, o))
}
