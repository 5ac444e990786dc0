package audit

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
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

// orNote finds commitments, and notes which are missing: the leaf is then to be made again.
func (s *salts) orNote(org string) leaf.Commitments {
	known := s.of(org)
	return func(label, value string) (string, bool) {
		c, ok := known(label, value)
		if !ok {
			s.missing[labelValue{org, label, value}] = true
		}
		return c, true
	}
}

// make finds the salts that are missing, or makes them, and reports whether there were any.
func (s *salts) make(ctx context.Context, tx pgx.Tx) (made bool, err error) {
	if len(s.missing) == 0 {
		return false, nil
	}
	var orgs, labels, values []string
	var fresh [][]byte
	for m := range s.missing {
		orgs, labels, values, fresh = append(orgs, m.org), append(labels, m.label), append(values, m.value), append(fresh, newSalt())
	}
	const insert = `
insert into keel.label_values (org, label, value, salt) select * from unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) on conflict do nothing`
	if _, err := tx.Exec(ctx, insert, orgs, labels, values, fresh); err != nil {
		return false, err
	}
	err = s.load(ctx, tx, `
select v.org, v.label, v.value, v.salt from keel.label_values v join unnest($1::text[], $2::text[], $3::text[]) m (org, label, value) using (org, label, value)`, orgs, labels, values)
	clear(s.missing)
	return true, err
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
