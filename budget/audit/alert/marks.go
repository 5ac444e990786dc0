package alert

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// mark is how far a kind of alert was looked for: what was stored since is looked at, however long nobody did.
// It is a row of keel.alert_marks, and moves with the transaction that writes down what was found.
type mark struct {
	kind    Kind
	through time.Time // by the database's clock
}

const (
	// before is what a first look goes back to.
	before = 24 * time.Hour
	// overlap is how long a transaction that stores something may take: it says when it began.
	overlap = 10 * time.Minute
)

// markOf reads the mark of a kind, and makes one where there is none.
func markOf(ctx context.Context, tx pgx.Tx, kind Kind) (mark, error) {
	m := mark{kind: kind}
	err := tx.QueryRow(ctx, "select through from keel.alert_marks where kind = $1", string(kind)).Scan(&m.through)
	if errors.Is(err, pgx.ErrNoRows) {
		err = tx.QueryRow(ctx, "insert into keel.alert_marks (kind, through) values ($1, now() - $2::interval) returning through", string(kind), before).Scan(&m.through)
	}
	return m, err
}

// since is from when on what is stored may not have been seen.
func (m *mark) since() time.Time { return m.through.Add(-overlap) }

// move notes that all was looked at until now. Where more was found than could be told it stays, and
// the next look finds the rest.
func (m *mark) move(ctx context.Context, tx pgx.Tx, found int) error {
	if found >= mostFound {
		return nil
	}
	_, err := tx.Exec(ctx, "update keel.alert_marks set through = greatest(through, now()) where kind = $1", string(m.kind))
	return err
}
