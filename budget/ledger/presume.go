package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/ledger/record"
)

// abandoned is an open decision that nobody will close.
type abandoned struct {
	org   string
	id    uuid.UUID
	epoch uuid.UUID
	why   reason
}

type reason int

const (
	bySilence reason = iota // its epoch is
	byLog                   // the access log told of its end
	byAge                   // it is open for too long
	byEnd                   // its epoch is
)

// Sweep closes, at their full hold, the open decisions of epochs that are silent,
// those older than BankOptions.MaxAge, and those that the access log saw end
// longer than BankOptions.Grace ago; and it fences the silent epochs. A real closeout
// that comes later replaces what was presumed. It returns how many it closed. Sweeps
// of several replicas at once do no harm.
//
// Right after an outage every heartbeat is old: whoever calls it waits until the others had time to be heard.
func (b *Bank) Sweep(ctx context.Context) (closed int, err error) {
	if b.mutant.noOrphans {
		return 0, nil
	}
	for {
		found, err := b.abandoned(ctx)
		if err != nil {
			return closed, explainError("sweep", err)
		}
		done := 0
		for rest := found; len(rest) > 0; {
			n := slices.IndexFunc(rest, func(a abandoned) bool { return a.org != rest[0].org })
			if n < 0 {
				n = len(rest)
			}
			some, err := b.presume(ctx, rest[:n])
			if err != nil {
				return closed, explainError("sweep", err)
			}
			done += some
			rest = rest[n:]
		}
		if closed += done; done > 0 {
			b.o.Logger.Warn("ledger: closed abandoned decisions at their full hold", "decisions", done)
		}
		if len(found) < settleRecords || done == 0 {
			break
		}
	}
	return closed, explainError("fence silent epochs", b.fence(ctx))
}

func (b *Bank) abandoned(ctx context.Context) ([]abandoned, error) {
	rows, err := b.pool.Query(ctx, `
select o.org, o.decision_id, o.epoch, case when a.stored_at is not null then 1 when r.gone then 0 else 2 end
from keel.open_decisions o
left join lateral (select coalesce(max(r.heartbeat_at), o.opened_at) < now() - $1::interval or bool_or(r.closed_at is not null or r.finished_at is not null) as gone
  from keel.replicas r where r.epoch = o.epoch) r on true
left join keel.annotations a on a.org = o.org and a.decision_id = o.decision_id
where o.opened and (r.gone or o.opened_at < now() - $2::interval or a.stored_at < now() - $3::interval)
order by o.org, o.decision_id limit $4`, b.o.SilentAfter, b.o.MaxAge, b.o.Grace, settleRecords)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (a abandoned, err error) {
		return a, row.Scan(&a.org, &a.id, &a.epoch, &a.why)
	})
}

// presume closes open decisions of one org, sorted by id, and returns how many still were open.
func (b *Bank) presume(ctx context.Context, all []abandoned) (closed int, err error) {
	err = b.transact(ctx, func(tx pgx.Tx) error {
		s := settlement{ctx: ctx, tx: tx, org: all[0].org, money: newBooking(), states: make(map[uuid.UUID]string)}
		closed, err = s.presume(all, b.o.MaxAge)
		if err != nil {
			return err
		}
		if _, err = s.money.write(ctx, tx, s.org); err != nil {
			return err
		}
		batch := &pgx.Batch{}
		s.evidence.queue(batch, s.org)
		return tx.SendBatch(ctx, batch).Close()
	})
	return closed, err
}

func (s *settlement) presume(all []abandoned, maxAge time.Duration) (closed int, err error) {
	var epochs, ids []uuid.UUID
	why := make(map[uuid.UUID]reason)
	for _, a := range all {
		ids = append(ids, a.id)
		why[a.id] = a.why
		if !slices.Contains(epochs, a.epoch) {
			epochs = append(epochs, a.epoch)
		}
	}
	slices.SortFunc(epochs, compareIDs)
	for _, e := range epochs {
		if err := s.lockEpoch(e); err != nil {
			return 0, err
		}
	}
	// Whoever deletes the row closes the decision.
	open := make(map[uuid.UUID]uuid.UUID)
	rows, err := s.tx.Query(s.ctx, deleteOpen, s.org, ids)
	if err == nil {
		err = eachOpen(rows, open)
	}
	if err != nil || len(open) == 0 {
		return 0, err
	}
	ids = slices.DeleteFunc(ids, func(id uuid.UUID) bool { _, is := open[id]; return !is })
	holds := make(map[uuid.UUID][]holdColumns)
	rows, err = s.tx.Query(s.ctx, `
select d.decision_id, d.holds::text, e.more_n from keel.decisions d
left join (select * from keel.extended where org = $1 and decision_id = any($2)) e on e.decision_id = d.decision_id
where d.org = $1 and d.decision_id = any($2)`, s.org, ids)
	if err == nil {
		var id uuid.UUID
		var raw []byte
		var more []int64
		_, err = pgx.ForEachRow(rows, []any{&id, &raw, &more}, func() (err error) {
			holds[id], err = readHolds(raw, more)
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	var columns closeoutColumns
	for _, id := range ids {
		c := record.Closeout{Known: true, Lease: open[id], Closeout: presumedCloseout(why[id], maxAge)}
		c.ID, c.Org = id, s.org
		if c.Charges, err = chargesFor(s.org, &c.Closeout, holds[id]); err != nil {
			return 0, fmt.Errorf("holds of decision %s: %w", id, err)
		}
		columns.add(0, nil, &c, true)
		s.evidence.closeout(id, 1)
		s.touched.closeouts = append(s.touched.closeouts, id)
		s.close(&c, true)
	}
	batch := &pgx.Batch{}
	batch.Queue(insertCloseouts, columns.args(s.org, uuid.Nil)...)
	s.touched.queue(batch, s.org)
	return len(ids), s.tx.SendBatch(s.ctx, batch).Close()
}

// lockEpoch locks an epoch; one of before 005 has no row.
func (s *settlement) lockEpoch(epoch uuid.UUID) error {
	if _, locked := s.states[epoch]; locked {
		return nil
	}
	state := "live"
	err := s.tx.QueryRow(s.ctx, "select state from keel.epochs where org = $1 and epoch = $2 for no key update", s.org, epoch).Scan(&state)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	s.states[epoch] = state
	return nil
}

// presumedCloseout is what the ledger makes up.
func presumedCloseout(why reason, maxAge time.Duration) budget.Closeout {
	c := budget.Closeout{At: time.Now(), Outcome: budget.Orphaned, Metered: budget.ByEstimate}
	switch why {
	case byLog:
		c.Outcome = budget.Aborted
		c.Detail = "the access log saw the call end, but nobody metered it: charged at the full hold"
	case bySilence:
		c.Detail = "the replica that permitted the call is not heard of: charged at the full hold"
	case byEnd:
		c.Detail = "the replica that permitted the call ended without closing it: charged at the full hold"
	default:
		c.Detail = fmt.Sprintf("not closed for %s: charged at the full hold", maxAge)
	}
	return c
}

// fence marks the epochs that are silent: nothing is leased to them until they are heard of.
func (b *Bank) fence(ctx context.Context) error {
	rows, err := b.pool.Query(ctx, `
select r.epoch from keel.replicas r
where r.finished_at is null and r.heartbeat_at < now() - $1::interval and exists (select from keel.epochs e where e.epoch = r.epoch and e.state = 'live')`, b.o.SilentAfter)
	if err != nil {
		return err
	}
	epochs, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil || len(epochs) == 0 {
		return err
	}
	_, err = b.pool.Exec(ctx, "update keel.epochs set state = 'fenced', changed_at = now() where epoch = any($1) and state = 'live'", epochs)
	return err
}
