package ledger

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget/ledger/escrow"
)

// instant is a bound of a window as Postgres keeps it. Unbounded: -infinity, infinity.
func instant(micros int64) pgtype.Timestamptz {
	switch micros {
	case -escrow.Unbounded:
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	case escrow.Unbounded:
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	}
	return pgtype.Timestamptz{Time: time.UnixMicro(micros).UTC(), Valid: true}
}

// microsOf is the inverse of instant.
func microsOf(t pgtype.Timestamptz) int64 {
	switch t.InfinityModifier {
	case pgtype.NegativeInfinity:
		return -escrow.Unbounded
	case pgtype.Infinity:
		return escrow.Unbounded
	}
	return t.Time.UnixMicro()
}

// stored is a key as a row has it: whether the account is a bucket of a rolling window is no part of it.
func stored(k escrow.Key) escrow.Key {
	k.Rolling = 0
	return k
}

// keyColumns are accounts of one org as arrays, for unnest.
type keyColumns struct {
	budgets, accounts []string
	starts, ends      []pgtype.Timestamptz
}

func (c *keyColumns) add(k escrow.Key) {
	c.budgets = append(c.budgets, k.Budget)
	c.accounts = append(c.accounts, k.Account)
	c.starts = append(c.starts, instant(k.Start))
	c.ends = append(c.ends, instant(k.End))
}

func columnsOf(keys []escrow.Key) (c keyColumns) {
	for _, k := range keys {
		c.add(k)
	}
	return c
}

// windowText is a bound of a window in JSON, which Postgres reads back as timestamptz.
func windowText(micros int64) string {
	switch micros {
	case -escrow.Unbounded:
		return "-infinity"
	case escrow.Unbounded:
		return "infinity"
	}
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.999999Z")
}
