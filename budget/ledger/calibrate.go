package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/pricing/tokens"
)

// calibrationLock is the key of the advisory lock under which one replica at a time learns.
const calibrationLock = migrationLock + 1

const (
	// learnBatch bounds the closeouts of one transaction.
	learnBatch = 5000
	// learnDelay is how long a transaction that stores closeouts may take and still
	// be learned from: stored_at is when it began. What is later is missed,
	// which costs a statistic nothing.
	learnDelay = 15 * time.Second
)

// Calibrate keeps e at what the closeouts of all replicas taught, until ctx
// ends: it looks every interval, and one replica at a time does the learning.
// fail is told what went wrong, and the next interval tries again; e stays as
// it was.
func (l *Ledger) Calibrate(ctx context.Context, e *tokens.Estimator, every time.Duration, fail func(error)) {
	c := calibrator{l: l, e: e, delay: learnDelay}
	for {
		if err := c.step(ctx); err != nil && ctx.Err() == nil {
			fail(explainError("calibrate", err))
		}
		if !sleep(ctx, every) {
			return
		}
	}
}

type calibrator struct {
	l      *Ledger
	e      *tokens.Estimator
	delay  time.Duration
	loaded int64 // id of the row that e has
}

// step learns from what is new, if no other replica does, and loads the last row.
func (c *calibrator) step(ctx context.Context) error {
	for {
		more, err := c.learn(ctx)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	var id int64
	var snapshot []byte
	err := c.l.pool.QueryRow(ctx, `
select id, snapshot::text from keel.calibrations where id > $1 order by id desc limit 1`, c.loaded).Scan(&id, &snapshot)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.e.Load(snapshot); err != nil {
		return fmt.Errorf("calibration %d: %w", id, err)
	}
	c.loaded = id
	return nil
}

// learn adds one row where there is something new. It reports whether there is more.
func (c *calibrator) learn(ctx context.Context) (more bool, err error) {
	err = pgx.BeginFunc(ctx, c.l.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "select pg_try_advisory_xact_lock($1)", calibrationLock).Scan(&mine); err != nil || !mine {
			return err
		}
		var through time.Time
		var snapshot []byte
		err := tx.QueryRow(ctx, "select through, snapshot::text from keel.calibrations order by id desc limit 1").Scan(&through, &snapshot)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		learner := tokens.New()
		if snapshot != nil {
			if err := learner.Load(snapshot); err != nil {
				return err
			}
		}
		seen, learned, err := lessons(ctx, tx, learner, &through, c.delay)
		if err != nil || learned == 0 {
			return err
		}
		more = seen == learnBatch
		version, data := learner.Snapshot()
		_, err = tx.Exec(ctx, `
insert into keel.calibrations (version, observations, through, snapshot) values ($1, $2, $3, $4)`, version, learned, through, string(data))
		return err
	})
	return more, err
}

// lessons teaches learner what closeouts behind through say and moves it on.
// Only what the provider counted of calls that ran to their end counts; a limit
// that Keel set says nothing of what a call would have used.
func lessons(ctx context.Context, tx pgx.Tx, learner *tokens.Estimator, through *time.Time, delay time.Duration) (seen, learned int, err error) {
	rows, err := tx.Query(ctx, `
select c.stored_at, d.estimate::text, d.output_cap, c.input_tokens, c.output_tokens
from keel.closeouts c join keel.decisions d on d.org = c.org and d.decision_id = c.decision_id
where c.stored_at > $1 and c.stored_at < now() - $2::interval
  and c.metered = 'provider' and c.outcome = 'complete' and not c.presumed and c.http_status < 300
  and (c.attempt_rows is null or not exists (
    select from jsonb_array_elements(c.attempt_rows) x where x ? 'usage' and x->>'ended' <> 'answered')) -- else the usage is of several attempts
order by c.stored_at, c.decision_id limit $3`, *through, delay, learnBatch)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			text      []byte
			outputCap int64
			in, out   *int64
		)
		if err := rows.Scan(through, &text, &outputCap, &in, &out); err != nil {
			return 0, 0, err
		}
		seen++
		var e estimate
		if json.Unmarshal(text, &e) != nil || in == nil || out == nil || e.Input.Uncorrected == 0 {
			continue // of an older binary
		}
		learned++
		learner.Learn(e.Input, *in)
		if outputCap == 0 {
			learner.LearnOutput(e.Output, *out)
		}
	}
	return seen, learned, rows.Err()
}

// estimate is a budget.Estimate's tokens as keel.decisions keeps them.
type estimate struct {
	Input  tokens.Input  `json:"input"`
	Output tokens.Output `json:"output"`
}
