package ledger

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget/ledger/escrow"
)

// BankOptions tune a Bank. The zero value is ready for use.
type BankOptions struct {
	Logger *slog.Logger // slog.Default() when nil

	LiveFor      time.Duration // a replica counts as live so long after its heartbeat, 10 s when 0
	LearnFor     time.Duration // after a failover nothing is leased so long, 10 s when 0; more than two heartbeats
	SilentAfter  time.Duration // silence after which Sweep closes what an epoch left open, 30 s when 0
	MaxAge       time.Duration // a decision still open after this is closed as orphaned, 24 h when 0
	Grace        time.Duration // from an access log line until Sweep closes what nobody closed, 10 s when 0
	ForfeitAfter time.Duration // after its window, slices of silent epochs are written off, 24 h when 0
}

func (o BankOptions) withDefaults() BankOptions {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.LiveFor = cmp.Or(o.LiveFor, 10*time.Second)
	o.LearnFor = cmp.Or(o.LearnFor, 10*time.Second)
	o.SilentAfter = cmp.Or(o.SilentAfter, 30*time.Second)
	o.MaxAge = cmp.Or(o.MaxAge, 24*time.Hour)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.ForfeitAfter = cmp.Or(o.ForfeitAfter, 24*time.Hour)
	return o
}

// Bank is the escrow.Bank in Postgres. Its transactions concern one org each and
// lock in one order: limits, epochs, rows of decisions and closeouts by id, accounts by key.
// Leases are changed only by who has their account locked.
type Bank struct {
	pool *pgxpool.Pool
	o    BankOptions

	months     sync.Map // of decision ids, whose partitions are there: month as "2026-11" → true
	ensured    sync.Mutex
	ensuredFor time.Time

	mutant mutant
}

// mutant breaks a Bank on purpose, so that tests can show that they would see it.
type mutant struct {
	noDedupe  bool // settles what is settled already
	noOrphans bool // nobody closes what is left open
	subselect bool // tests the limit on the statement's snapshot
}

var _ escrow.Bank = (*Bank)(nil)

// NewBank returns the bank of the database that pool is connected to, which keel
// migrate must have prepared.
func NewBank(pool *pgxpool.Pool, o BankOptions) *Bank {
	return &Bank{pool: pool, o: o.withDefaults()}
}

// Beat implements escrow.Bank. It also brings cuts into force that were pending,
// and makes the partitions of the next months.
func (b *Bank) Beat(ctx context.Context, m escrow.Member) (fleet escrow.Fleet, err error) {
	for attempt := 0; ; attempt++ {
		if fleet, err = b.beat(ctx, m); !again(ctx, err, attempt) {
			break
		}
	}
	if err != nil {
		return escrow.Fleet{}, explainError("heartbeat", err)
	}
	if err := b.maintain(ctx, fleet.Now); err != nil && ctx.Err() == nil {
		b.o.Logger.Warn("ledger: maintenance failed, will go on trying", "error", explainError("maintain", err))
	}
	return fleet, nil
}

func (b *Bank) beat(ctx context.Context, m escrow.Member) (fleet escrow.Fleet, err error) {
	batch := &pgx.Batch{}
	batch.Queue(`
insert into keel.replicas as r (epoch, host, clock_offset_us) values ($1, $2, keel.micros($3) - keel.micros(clock_timestamp()))
on conflict (epoch) do update set heartbeat_at = excluded.heartbeat_at, clock_offset_us = excluded.clock_offset_us, host = excluded.host`,
		m.Epoch, text(m.Host), m.Now)
	batch.Queue(`
update keel.db_state set timeline = keel.timeline(), learn_until = now() + $1::interval where timeline <> keel.timeline()`, b.o.LearnFor)
	batch.Queue(`
select clock_timestamp(), s.timeline, s.learn_until > clock_timestamp(),
  (select count(*) from keel.replicas r where r.heartbeat_at > now() - $1::interval and r.finished_at is null and r.closed_at is null)
from keel.db_state s`, b.o.LiveFor).QueryRow(func(row pgx.Row) error {
		return row.Scan(&fleet.Now, &fleet.Timeline, &fleet.Learning, &fleet.Live)
	})
	err = b.pool.SendBatch(ctx, batch).Close()
	fleet.Live = max(fleet.Live, 1)
	return fleet, err
}

// maintain does what is due with a heartbeat.
func (b *Bank) maintain(ctx context.Context, now time.Time) error {
	if _, err := b.pool.Exec(ctx, "select keel.settle_pending_cuts() where exists (select from keel.limits where pending_version is not null)"); err != nil {
		return err
	}
	b.ensured.Lock()
	defer b.ensured.Unlock()
	if now.Sub(b.ensuredFor).Abs() < time.Hour {
		return nil
	}
	if _, err := b.pool.Exec(ctx, "select keel.ensure_partitions($1::timestamptz, $1::timestamptz + interval '2 months')", now); err != nil {
		return err
	}
	b.ensuredFor = now
	return nil
}

// Applied implements escrow.Bank.
func (b *Bank) Applied(ctx context.Context, epoch uuid.UUID) (map[string]uint64, error) {
	applied := make(map[string]uint64)
	rows, err := b.pool.Query(ctx, "select org, applied_seq from keel.epochs where epoch = $1", epoch)
	if err == nil {
		var org string
		var seq int64
		_, err = pgx.ForEachRow(rows, []any{&org, &seq}, func() error {
			applied[org] = uint64(seq)
			return nil
		})
	}
	if err != nil {
		return nil, explainError(fmt.Sprintf("read what is settled of epoch %s", epoch), err)
	}
	return applied, nil
}

// transact runs work in a transaction, and again when that may help. work must begin from nothing each time. What it reads behind a lock is
// what was committed when it got that, whatever a server's default is.
func (b *Bank) transact(ctx context.Context, work func(pgx.Tx) error) (err error) {
	for attempt := 0; ; attempt++ {
		if err = pgx.BeginTxFunc(ctx, b.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, work); !again(ctx, err, attempt) {
			return err
		}
	}
}
