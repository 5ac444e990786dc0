package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
)

// beat tells the database that this replica lives.
func (l *Ledger) beat(ctx context.Context) {
	every(ctx, l.opts.HeartbeatEvery, func(ctx context.Context) {
		err := l.heartbeat(ctx)
		if ctx.Err() == nil {
			l.setState(err)
		}
	})
}

func (l *Ledger) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := l.back.Exec(ctx, `
insert into keel.replicas as r (epoch, host) values ($1, $2)
on conflict (epoch) do update set heartbeat_at = excluded.heartbeat_at`, l.epoch, l.host)
	if err != nil {
		l.beatSince.Store(0)
		return explainError("heartbeat", err)
	}
	l.beatSince.CompareAndSwap(0, time.Now().UnixNano())
	return nil
}

// sweepLoop closes what nobody will close. Right after an outage every
// replica's heartbeat is old, so a replica that saw one waits until the others
// had time to be heard. A wrong guess would be corrected by the real closeout.
func (l *Ledger) sweepLoop(ctx context.Context) {
	started := l.beatSince.Load()
	every(ctx, l.opts.SweepEvery, func(ctx context.Context) {
		since := l.beatSince.Load()
		if since == 0 || since != started && time.Since(time.Unix(0, since)) < l.opts.StaleAfter {
			return
		}
		if _, err := l.Sweep(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("ledger: sweep failed, will go on trying", "error", err)
		}
	})
}

// abandoned is an open decision that nobody will close.
type abandoned struct {
	org     string
	id      uuid.UUID
	logged  bool // the access log told of its end
	replica bool // its replica is dead
}

// Sweep closes, at their full hold, the open decisions of replicas that died,
// those older than Options.MaxAge, and those that the access log saw end
// longer than Options.Grace ago. It returns how many. Sweeps of several
// replicas at once do no harm.
func (l *Ledger) Sweep(ctx context.Context) (int, error) {
	total := 0
	for {
		found, err := l.abandoned(ctx)
		if err != nil {
			return total, explainError("sweep", err)
		}
		last := len(found) < batchSize
		for len(found) > 0 {
			org := found[0].org
			batch := []item{}
			for len(found) > 0 && found[0].org == org {
				batch = append(batch, l.presume(found[0]))
				found = found[1:]
			}
			err := l.writeWithin(ctx, batch)
			for attempt := 0; attempt < 5 && retryable(err); attempt++ {
				sleep(ctx, backoff(attempt))
				err = l.writeWithin(ctx, batch)
			}
			if err != nil {
				return total, explainError("sweep", err)
			}
			total += len(batch)
			l.log.Warn("ledger: closed abandoned decisions at their full hold", "org", org, "decisions", len(batch))
		}
		if last {
			return total, nil
		}
	}
}

func (l *Ledger) abandoned(ctx context.Context) ([]abandoned, error) {
	rows, err := l.back.Query(ctx, `
select o.org, o.decision_id, a.stored_at is not null,
  r.closed_at is not null or coalesce(r.heartbeat_at, o.opened_at) < now() - $1::interval as dead
from keel.open_decisions o
left join keel.replicas r on r.epoch = o.epoch
left join keel.annotations a on a.org = o.org and a.decision_id = o.decision_id
where r.closed_at is not null or coalesce(r.heartbeat_at, o.opened_at) < now() - $1::interval
  or o.opened_at < now() - $2::interval or a.stored_at < now() - $3::interval
order by o.org, o.decision_id limit $4`, l.opts.StaleAfter, l.opts.MaxAge, l.opts.Grace, batchSize)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (a abandoned, err error) {
		return a, row.Scan(&a.org, &a.id, &a.logged, &a.replica)
	})
}

// presume makes up the closeout of an abandoned decision.
func (l *Ledger) presume(a abandoned) item {
	c := &budget.Closeout{ID: a.id, Org: a.org, At: time.Now(), Outcome: budget.Orphaned, Metered: budget.ByEstimate}
	switch {
	case a.logged:
		c.Outcome = budget.Aborted
		c.Detail = "the access log saw the call end, but nobody metered it: charged at the full hold"
	case a.replica:
		c.Detail = "the replica that permitted the call died: charged at the full hold"
	default:
		c.Detail = fmt.Sprintf("not closed for %s: charged at the full hold", l.opts.MaxAge)
	}
	return item{kind: closed, presumed: true, org: a.org, id: a.id, closeout: c}
}
