package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget"
	"keel/pricing"
)

// The limit test must be part of the UPDATE of the row that it protects: two
// updates of one row wait for each other, and the second evaluates its
// condition anew on what the first committed. A test by a sub-select reads the
// statement's snapshot instead, and overspends. The subtraction can't overflow.
const takeHold = `
update keel.accounts set held_n = held_n + $6::bigint
where org = $1 and budget = $2 and account_key = $3 and window_start = $4 and window_end = $5
  and ($7::bigint < 0 or $6::bigint <= $7::bigint - settled_n - held_n)
returning settled_n, held_n`

const createAccounts = `
insert into keel.accounts (org, budget, account_key, window_start, window_end)
select $1, a.* from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) a
on conflict do nothing`

const readAccount = `
select settled_n, held_n from keel.accounts
where org = $1 and budget = $2 and account_key = $3 and window_start = $4 and window_end = $5`

// Permit implements budget.Ledger. It also returns an error that does not wrap
// budget.ErrUnavailable, for decisions that can't be kept and for a database
// without the schema.
//
// When the answer to COMMIT was lost, Permit asks again and finds its own row
// by decision id. When ctx ends before it knows, it leaves a note in the
// outbox that takes the decision back once the database answers, ahead of
// whatever Record is told of the same decision later.
func (l *Ledger) Permit(ctx context.Context, d *budget.Decision) error {
	if err := checkDecision(d); err != nil {
		return fmt.Errorf("ledger: permit decision %s: %w", d.ID, err)
	}
	if l.outbox.isClosed() {
		return fmt.Errorf("ledger: permit decision %s: %w: closed", d.ID, budget.ErrUnavailable)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.opts.PermitLimit)
		defer cancel()
	}
	p := &permit{l: l, d: d}
	for attempt := 0; ; attempt++ {
		err := p.try(ctx)
		if err == nil {
			return nil
		}
		var refused *budget.Refused
		if errors.As(err, &refused) {
			p.takeBack()
			return err
		}
		// A connection that the pool believed alive fails at its first use after a restart of Postgres.
		again := retryable(err) || attempt < 3 && Unavailable(err)
		if !again || ctx.Err() != nil || !sleep(ctx, backoff(attempt)) {
			p.takeBack()
			if l.outbox.isClosed() {
				err = errors.Join(budget.ErrUnavailable, err) // Close came in between
			}
			err = explainError(fmt.Sprintf("permit decision %s", d.ID), err)
			if errors.Is(err, budget.ErrUnavailable) && ctx.Err() == nil {
				l.setState(err)
			}
			return err
		}
	}
}

func checkDecision(d *budget.Decision) error {
	if d.Org == "" {
		return invalidf("no org")
	}
	for _, h := range d.Holds {
		if h.Amount < 0 {
			return invalidf("negative hold of %d in budget %s", h.Amount, h.Budget)
		}
		if h.Org != d.Org {
			return invalidf("hold in budget %s of org %q in a decision of org %q", h.Budget, h.Org, d.Org)
		}
	}
	return nil
}

// permit is one call of Permit, over its attempts.
type permit struct {
	l    *Ledger
	d    *budget.Decision
	sent bool // a COMMIT was sent whose answer is not known
}

// takeBack undoes a COMMIT that may have happened although Permit says otherwise.
func (p *permit) takeBack() {
	if p.sent {
		p.l.enqueue(item{kind: takenBack, org: text(p.d.Org), id: p.d.ID, size: itemSize})
	}
}

func (p *permit) try(ctx context.Context) error {
	conn, err := p.l.hot.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // a connection in a transaction, or broken, is closed by the pool

	// Locks are taken in key order by everybody, so that permits over the same budgets don't deadlock.
	order := make([]int, len(p.d.Holds))
	keys := make([]accountKey, len(p.d.Holds))
	for i, h := range p.d.Holds {
		order[i], keys[i] = i, keyOf(h.Account)
	}
	slices.SortStableFunc(order, func(a, b int) int { return keys[a].compare(keys[b]) })

	first := &pgx.Batch{}
	first.Queue("begin")
	if len(order) > 0 {
		sorted := make([]accountKey, len(order))
		for i, n := range order {
			sorted[i] = keys[n]
		}
		c := columnsOf(sorted)
		first.Queue(createAccounts, text(p.d.Org), c.budgets, c.keys, c.starts, c.ends)
	}
	standing := make([]budget.Standing, len(keys))
	fits := make([]bool, len(keys))
	for _, n := range order {
		k, h := keys[n], p.d.Holds[n]
		first.Queue(takeHold, k.org, k.budget, k.key, k.windowStart(), k.windowEnd(), int64(h.Amount), int64(h.Ceiling)).
			QueryRow(func(row pgx.Row) error {
				err := row.Scan(&standing[n].Settled, &standing[n].Held)
				fits[n] = err == nil
				if errors.Is(err, pgx.ErrNoRows) {
					return nil
				}
				return err
			})
	}
	var committed bool
	if p.sent {
		// After the updates: they waited for an attempt that still held these rows.
		first.Queue("select exists (select from keel.decisions where org = $1 and decision_id = $2)", text(p.d.Org), p.d.ID).
			QueryRow(func(row pgx.Row) error { return row.Scan(&committed) })
	}
	if err := conn.SendBatch(ctx, first).Close(); err != nil {
		return err
	}
	if committed {
		rollback(ctx, conn.Conn())
		return nil
	}
	if n := slices.Index(fits, false); n >= 0 {
		return p.refuse(ctx, conn.Conn(), n, keys[n])
	}

	second := &pgx.Batch{}
	second.Queue(insertDecision, decisionArgs(p.d, p.l.epoch)...)
	queueHolds(second, p.d, keys)
	if isOpen(p.d) {
		second.Queue(insertOpen, text(p.d.Org), p.d.ID, p.l.epoch)
	}
	second.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return fmt.Errorf("commit: %s", tag)
		}
		return nil
	})
	before := p.sent
	p.sent = true
	if err := conn.SendBatch(ctx, second).Close(); err != nil {
		if sqlState(err) == codeUniqueViolation && before {
			return nil // the earlier attempt was committed after all
		}
		if !before && (retryable(err) || sqlState(err) != "" && !Unavailable(err)) {
			p.sent = false // the server said that it did not commit
		}
		return err
	}
	for n, k := range keys {
		p.l.standings.put(k, standing[n], time.Now())
	}
	return nil
}

// refuse reads the standing that refused hold n, and gives everything back.
func (p *permit) refuse(ctx context.Context, conn *pgx.Conn, n int, k accountKey) error {
	r := &budget.Refused{Hold: p.d.Holds[n]}
	batch := &pgx.Batch{}
	batch.Queue(readAccount, k.org, k.budget, k.key, k.windowStart(), k.windowEnd()).
		QueryRow(func(row pgx.Row) error { return row.Scan(&r.Standing.Settled, &r.Standing.Held) })
	batch.Queue("rollback")
	if err := conn.SendBatch(ctx, batch).Close(); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	// The rollback takes back accounts that this permit created, so zero is what is there then.
	p.l.standings.put(k, r.Standing, time.Now())
	return r
}

func rollback(ctx context.Context, conn *pgx.Conn) {
	if _, err := conn.Exec(ctx, "rollback"); err != nil {
		_ = conn.Close(ctx) // the server rolls back
	}
}

func isOpen(d *budget.Decision) bool {
	return d.Action != budget.Deny && !(d.Unmetered && len(d.Holds) == 0)
}

const insertOpen = `
insert into keel.open_decisions (org, decision_id, epoch) values ($1, $2, $3) on conflict do nothing`

const insertHold = `
insert into keel.holds (org, decision_id, n, budget, account_key, window_start, window_end, amount_n, ceiling_n, limit_n, mode, budget_version)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

func queueHolds(b *pgx.Batch, d *budget.Decision, keys []accountKey) {
	for n, h := range d.Holds {
		b.Queue(insertHold, holdArgs(d, n, h, keys[n])...)
	}
}

func holdArgs(d *budget.Decision, n int, h budget.Hold, k accountKey) []any {
	return []any{k.org, d.ID, int16(n), k.budget, k.key, k.windowStart(), k.windowEnd(),
		int64(h.Amount), int64(h.Ceiling), int64(h.Limit), string(h.Mode), h.Version}
}

// largestHold is what spend_records shows as held; null without holds.
func largestHold(d *budget.Decision) pgtype.Int8 {
	var most pricing.NanoUSD
	for _, h := range d.Holds {
		most = max(most, h.Amount)
	}
	return pgtype.Int8{Int64: int64(most), Valid: len(d.Holds) > 0 && d.Action != budget.Deny}
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
