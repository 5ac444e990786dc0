package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
)

// healthKept is how long what a replica last said of a target is listened to: long past that, it is worth nothing.
const healthKept = 5 * time.Minute

// ShareHealth tells the other replicas how targets do, and h what they say, every interval
// until ctx ends. fail is told what went wrong: h then goes on with what it sees itself and last heard.
func (l *Ledger) ShareHealth(ctx context.Context, h *budget.Health, every time.Duration, fail func(error)) {
	for sleep(ctx, every) {
		if err := l.shareHealth(ctx, h); err != nil && ctx.Err() == nil {
			fail(explainError("share the health of targets", err))
		}
	}
}

func (l *Ledger) shareHealth(ctx context.Context, h *budget.Health) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	now := time.Now()
	own := h.Own(now)
	columns := struct {
		providers, models []string
		ages, latencies   []int64 // microseconds
		good, bad         []float64
	}{}
	for _, t := range own {
		columns.providers, columns.models = append(columns.providers, text(t.Provider)), append(columns.models, text(t.Model))
		columns.ages, columns.latencies = append(columns.ages, max(0, now.Sub(t.At).Microseconds())), append(columns.latencies, t.Latency.Microseconds())
		columns.good, columns.bad = append(columns.good, t.Good), append(columns.bad, t.Bad)
	}
	epoch := l.Epoch()
	batch := &pgx.Batch{}
	batch.Queue("delete from keel.target_health where epoch = $1 or at < now() - $2::interval", epoch, healthKept)
	// The clock of the database counts, so that those of the replicas need not agree.
	batch.Queue(`
insert into keel.target_health (epoch, provider, model, at, good, bad, latency_us)
select $1, provider, model, now() - age * interval '1 microsecond', good, bad, latency
from unnest($2::text[], $3::text[], $4::bigint[], $5::float8[], $6::float8[], $7::bigint[]) t (provider, model, age, good, bad, latency)`,
		epoch, columns.providers, columns.models, columns.ages, columns.good, columns.bad, columns.latencies)
	var others []budget.TargetHealth
	batch.Queue(`
select provider, model, (extract(epoch from now() - at) * 1000000)::bigint, good, bad, latency_us
from keel.target_health where epoch <> $1`, epoch).Query(func(rows pgx.Rows) error {
		var t budget.TargetHealth
		var age, latency int64
		_, err := pgx.ForEachRow(rows, []any{&t.Provider, &t.Model, &age, &t.Good, &t.Bad, &latency}, func() error {
			t.At, t.Latency = now.Add(-time.Duration(age)*time.Microsecond), time.Duration(latency)*time.Microsecond
			others = append(others, t)
			return nil
		})
		return err
	})
	if err := l.pool.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	h.Heard(others, now)
	return nil
}
