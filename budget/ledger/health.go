package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
)

// healthKept is how long what a replica last said of a target is listened to: long past that, it is worth nothing.
const healthKept = 12 * time.Hour

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
		ages              []int64 // microseconds
		good, bad         []float64
		paces             []string // arrays of [recent, usual] of (answers, log2) of answers in one piece and of streamed ones
	}{}
	for _, t := range own {
		columns.providers, columns.models = append(columns.providers, text(t.Provider)), append(columns.models, text(t.Model))
		columns.ages = append(columns.ages, max(0, now.Sub(t.At).Microseconds()))
		columns.good, columns.bad = append(columns.good, t.Good), append(columns.bad, t.Bad)
		columns.paces = append(columns.paces, pacesText(&t.Paces))
	}
	epoch := l.Epoch()
	batch := &pgx.Batch{}
	batch.Queue("delete from keel.target_health where epoch = $1 or at < now() - $2::interval", epoch, healthKept)
	// The clock of the database counts, so that those of the replicas need not agree.
	batch.Queue(`
insert into keel.target_health (epoch, provider, model, at, good, bad, paces)
select $1, provider, model, now() - age * interval '1 microsecond', good, bad, paces::float8[]
from unnest($2::text[], $3::text[], $4::bigint[], $5::float8[], $6::float8[], $7::text[]) t (provider, model, age, good, bad, paces)`,
		epoch, columns.providers, columns.models, columns.ages, columns.good, columns.bad, columns.paces)
	var others []budget.TargetHealth
	batch.Queue(`
select provider, model, (extract(epoch from now() - at) * 1000000)::bigint, good, bad, paces
from keel.target_health where epoch <> $1`, epoch).Query(func(rows pgx.Rows) error {
		var t budget.TargetHealth
		var age int64
		var paces []float64
		_, err := pgx.ForEachRow(rows, []any{&t.Provider, &t.Model, &age, &t.Good, &t.Bad, &paces}, func() error {
			t.At, t.Paces = now.Add(-time.Duration(age)*time.Microsecond), pacesOf(paces)
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

// figures are those of p in the order of the column.
func figures(p *budget.Paces) (all []*float64) {
	for _, pair := range []*[2]budget.Pace{&p.Recent, &p.Usual} {
		for i := range pair {
			all = append(all, &pair[i].Answers, &pair[i].Log2)
		}
	}
	return all
}

// pacesText is an array literal.
func pacesText(p *budget.Paces) string {
	text := []byte{'{'}
	for i, f := range figures(p) {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendFloat(text, *f, 'g', -1, 64)
	}
	return string(append(text, '}'))
}

// pacesOf reads the column; nothing is known where a replica of before 008 wrote it.
func pacesOf(column []float64) (p budget.Paces) {
	into := figures(&p)
	if len(column) != len(into) {
		return p
	}
	for i, f := range column {
		*into[i] = f
	}
	return p
}
