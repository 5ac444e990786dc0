package ledger

import (
	"cmp"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget"
)

// accountKey identifies an account as Postgres keeps it: times in microseconds,
// without zone, so that equal accounts are equal keys.
type accountKey struct {
	org, budget, key string
	start, end       int64 // Unix microseconds; minMicros and maxMicros for no bound
}

const (
	minMicros = -1 << 63
	maxMicros = 1<<63 - 1
)

func keyOf(a budget.Account) accountKey {
	k := accountKey{org: text(a.Org), budget: text(a.Budget), key: text(a.Key), start: minMicros, end: maxMicros}
	if !a.WindowStart.IsZero() {
		k.start = a.WindowStart.UnixMicro()
	}
	if !a.WindowEnd.IsZero() {
		k.end = a.WindowEnd.UnixMicro()
	}
	return k
}

func (k accountKey) compare(o accountKey) int {
	return cmp.Or(cmp.Compare(k.org, o.org), cmp.Compare(k.budget, o.budget), cmp.Compare(k.key, o.key),
		cmp.Compare(k.start, o.start), cmp.Compare(k.end, o.end))
}

func (k accountKey) windowStart() pgtype.Timestamptz { return timestamp(k.start) }
func (k accountKey) windowEnd() pgtype.Timestamptz   { return timestamp(k.end) }

func timestamp(micros int64) pgtype.Timestamptz {
	switch micros {
	case minMicros:
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	case maxMicros:
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	}
	return pgtype.Timestamptz{Time: time.UnixMicro(micros).UTC(), Valid: true}
}

func micros(t pgtype.Timestamptz) int64 {
	switch t.InfinityModifier {
	case pgtype.NegativeInfinity:
		return minMicros
	case pgtype.Infinity:
		return maxMicros
	}
	return t.Time.UnixMicro()
}

// keyColumns are accounts of one org as arrays, for unnest.
type keyColumns struct {
	budgets, keys []string
	starts, ends  []pgtype.Timestamptz
}

func columnsOf(keys []accountKey) (c keyColumns) {
	for _, k := range keys {
		c.budgets = append(c.budgets, k.budget)
		c.keys = append(c.keys, k.key)
		c.starts = append(c.starts, k.windowStart())
		c.ends = append(c.ends, k.windowEnd())
	}
	return c
}
