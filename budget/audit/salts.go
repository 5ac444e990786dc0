package audit

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
	"keel/budget/ledger"
)

// salts are those of the values of labels, as far as they were needed. A value gets its salt when the first
// record with it is taken into the log.
type salts struct {
	commitments
	missing  map[labelValue]bool
	erasures int64
}

// mostSalts bounds what is remembered.
const mostSalts = 500_000

func newSalts() *salts {
	return &salts{commitments: commitments{known: make(map[labelValue]string)}, missing: make(map[labelValue]bool), erasures: -1}
}

// follow forgets what was known before an erasure. It keeps others from erasing until the transaction ends.
func (s *salts) follow(ctx context.Context, tx pgx.Tx) error {
	var n int64
	if err := tx.QueryRow(ctx, "select erasures from keel.db_state for share").Scan(&n); err != nil {
		return err
	}
	if n != s.erasures || len(s.known) > mostSalts {
		s.erasures = n
		clear(s.known)
	}
	clear(s.missing)
	return nil
}

// forget forgets all.
func (s *salts) forget() { s.erasures = -1 }

// orNote finds commitments, and notes which are missing: the leaf is then to be made again.
func (s *salts) orNote(org string) leaf.Commitments {
	known := s.of(org)
	return func(label, value []byte) (string, bool) {
		c, ok := known(label, value)
		if !ok {
			s.missing[labelValue{org, string(label), string(value)}] = true
		}
		return c, true
	}
}

// make finds the salts that are missing, or makes them, and reports whether there were any.
func (s *salts) make(ctx context.Context, tx pgx.Tx) (made bool, err error) {
	orgs := make(map[string][]ledger.Label)
	for m := range s.missing {
		orgs[m.org] = append(orgs[m.org], ledger.Label{Name: m.label, Value: m.value})
	}
	for org, labels := range orgs {
		salts, err := ledger.Salts(ctx, tx, org, labels)
		if err != nil {
			return false, err
		}
		for l, salt := range salts {
			s.known[labelValue{org, l.Name, l.Value}] = leaf.Commit(org, l.Name, l.Value, salt)
		}
	}
	clear(s.missing)
	return len(orgs) > 0, nil
}

// load remembers the salts that a query returns.
func (c *commitments) load(ctx context.Context, q querier, sql string, args ...any) error {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	var v labelValue
	var salt []byte
	_, err = pgx.ForEachRow(rows, []any{&v.org, &v.label, &v.value, &salt}, func() error {
		if len(salt) == 0 {
			return errors.New("a salt is empty")
		}
		c.known[v] = leaf.Commit(v.org, v.label, v.value, salt)
		return nil
	})
	return err
}
