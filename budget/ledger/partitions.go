package ledger

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"keel/budget/ledger/escrow"
)

// ensureMonths makes the partitions that the decisions of a batch belong to,
// before its transaction, because making one waits for nobody only while it holds nothing.
func (b *Bank) ensureMonths(ctx context.Context, batch *escrow.Batch) error {
	for i := range batch.Records {
		var err error
		switch r := &batch.Records[i]; {
		case r.Decision != nil:
			err = b.ensureMonth(ctx, r.Decision.ID)
		case r.Closeout != nil:
			err = b.ensureMonth(ctx, r.Closeout.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Bank) ensureMonth(ctx context.Context, id uuid.UUID) error {
	at := instantOf(id)
	if at.Year() < 2020 || at.Year() >= 2100 {
		return nil // in the first or the last partition, which are always there
	}
	month := monthOf(id)
	if _, there := b.months.Load(month); there {
		return nil
	}
	if _, err := b.pool.Exec(ctx, "select keel.ensure_partitions($1, $1)", at); err != nil {
		return err
	}
	b.months.Store(month, true)
	return nil
}

// monthOf counts months from the year 0.
func monthOf(id uuid.UUID) int {
	year, month, _ := instantOf(id).Date()
	return year*12 + int(month)
}

// instantOf is when a UUIDv7 was made; of other UUIDs it is any time.
func instantOf(id uuid.UUID) time.Time {
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms).UTC()
}

// noPartition reports whether a row was refused because its month's partition is not there.
func noPartition(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23514" && strings.HasPrefix(pg.Message, "no partition of relation")
}
