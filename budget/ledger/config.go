package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
)

// Change is one version of a document with its text before and after, as JSON
// of the table's columns; nil before a creation and after a deletion.
type Change struct {
	budget.Change
	Before json.RawMessage
	After  json.RawMessage
}

// Store is the config database: the documents in the schema keel. A Ledger
// has one; a command that only reads or edits documents opens its own.
type Store struct {
	pool *pgxpool.Pool
	dsn  string
}

// OpenStore connects to a database that keel migrate has prepared.
func OpenStore(ctx context.Context, dsn string) (*Store, error) {
	pool, err := newPool(dsn, 2)
	if err != nil {
		return nil, err
	}
	if err := checkSchema(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return &Store{pool, dsn}, nil
}

// Close disconnects.
func (s *Store) Close() { s.pool.Close() }

// Load reads every document of every org.
func (s *Store) Load(ctx context.Context) (budget.Documents, error) {
	return s.Get(ctx, "", "", "")
}

// Get reads documents of one snapshot: those of an org, kind and name, each of which may be "" for
// all. It returns ErrNotFound when a name is given and there is none.
func (s *Store) Get(ctx context.Context, org string, kind budget.Kind, name string) (docs budget.Documents, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, snapshot, func(tx pgx.Tx) error {
		docs, err = readDocuments(ctx, tx, org, kind, name)
		return err
	})
	if err != nil {
		return budget.Documents{}, explainError("read config documents", err)
	}
	return docs, nil
}

var snapshot = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

func readDocuments(ctx context.Context, q querier, org string, kind budget.Kind, name string) (budget.Documents, error) {
	var all []document
	for _, t := range tables {
		if kind != "" && kind != t.kind {
			continue
		}
		rows, err := q.Query(ctx, `select org, name, version, keel.config_document(to_jsonb(t)) from keel.`+t.name+` t
where ($1 = '' or org = $1) and ($2 = '' or name = $2) order by org, name`, org, name)
		if err != nil {
			return budget.Documents{}, err
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (document, error) {
			d := document{Kind: t.kind}
			return d, row.Scan(&d.Org, &d.Name, &d.Version, &d.Columns)
		})
		if err != nil {
			return budget.Documents{}, err
		}
		all = append(all, found...)
	}
	if kind != "" {
		if _, err := tableOf(kind); err != nil {
			return budget.Documents{}, err
		}
	}
	if name != "" && len(all) == 0 {
		return budget.Documents{}, fmt.Errorf("%s %q: %w", kind, name, ErrNotFound)
	}
	return decodeDocuments(all)
}

// Apply stores documents, all or none, and returns what changed, in order.
// Documents that are stored as they are already are left alone; documents that
// are not named are not deleted. Versions in docs are ignored.
func (s *Store) Apply(ctx context.Context, docs budget.Documents, actor string) ([]Change, error) {
	return s.apply(ctx, docs, actor, true)
}

// Plan returns what Apply would change. The database checks the documents, and nothing is kept.
func (s *Store) Plan(ctx context.Context, docs budget.Documents, actor string) ([]Change, error) {
	return s.apply(ctx, docs, actor, false)
}

func (s *Store) apply(ctx context.Context, docs budget.Documents, actor string, keep bool) ([]Change, error) {
	rows, err := encodeDocuments(docs)
	if err != nil {
		return nil, fmt.Errorf("ledger: apply: %w", err)
	}
	orgs := make(map[string]bool)
	for _, r := range rows {
		orgs[r.Org] = true
	}
	return s.edit(ctx, slices.Sorted(maps.Keys(orgs)), actor, keep, "apply", func(tx pgx.Tx) error {
		for len(rows) > 0 {
			n := min(mostStored, len(rows))
			for i := range n {
				if rows[i].Kind != rows[0].Kind {
					n = i
					break
				}
			}
			if err := storeDocuments(ctx, tx, rows[:n]); err != nil {
				return err
			}
			rows = rows[n:]
		}
		return nil
	})
}

// mostStored bounds the documents of one statement.
const mostStored = 10_000

// storeDocuments stores documents of one kind with one statement. One that the database refuses is looked for by
// halves, so that the error names it; a document that is there twice is stored twice.
func storeDocuments(ctx context.Context, tx pgx.Tx, rows []document) error {
	t, err := tableOf(rows[0].Kind)
	if err != nil {
		return err
	}
	orgs, names, columns := make([]string, len(rows)), make([]string, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		orgs[i], names[i], columns[i] = r.Org, r.Name, string(r.Columns)
	}
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, t.upsert(), orgs, names, columns)
		return err
	})
	switch {
	case err == nil || tx.Conn().IsClosed():
		return err
	case len(rows) == 1:
		return fmt.Errorf("%s %s/%s: %w", rows[0].Kind, rows[0].Org, rows[0].Name, err)
	}
	half := len(rows) / 2
	if err := storeDocuments(ctx, tx, rows[:half]); err != nil {
		return err
	}
	return storeDocuments(ctx, tx, rows[half:])
}

// Delete removes a document. Its versions stay in keel.config_versions.
func (s *Store) Delete(ctx context.Context, org string, kind budget.Kind, name, actor string) (Change, error) {
	t, err := tableOf(kind)
	if err != nil {
		return Change{}, err
	}
	changes, err := s.edit(ctx, []string{org}, actor, true, "delete", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "delete from keel."+t.name+" where org = $1 and name = $2", org, name)
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("%s %s/%s: %w", kind, org, name, ErrNotFound)
		}
		return err
	})
	if err != nil {
		return Change{}, err
	}
	return changes[0], nil
}

var errPlanned = errors.New("planned, not kept")

// edit runs change in a transaction as actor. It holds the revision rows of
// the orgs, so that the versions above them are its own.
func (s *Store) edit(ctx context.Context, orgs []string, actor string, keep bool, op string, change func(pgx.Tx) error) ([]Change, error) {
	var changes []Change
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select set_config('keel.actor', $1, true)", text(actor)); err != nil {
			return err
		}
		before := make([]int64, len(orgs))
		for i, org := range orgs {
			if err := tx.QueryRow(ctx, "select keel.hold_revision($1)", org).Scan(&before[i]); err != nil {
				return err
			}
		}
		if err := change(tx); err != nil {
			return err
		}
		for i, org := range orgs {
			made, err := readChanges(ctx, tx, "org = $1 and revision > $2 order by revision", org, before[i])
			if err != nil {
				return err
			}
			changes = append(changes, made...)
		}
		if !keep {
			return errPlanned
		}
		return nil
	})
	if err != nil && !errors.Is(err, errPlanned) {
		return nil, explainError(op, err)
	}
	return changes, nil
}

// Changes returns the history of documents, newest first, at most limit: those
// of an org, kind and name, each of which may be "" for all.
func (s *Store) Changes(ctx context.Context, org string, kind budget.Kind, name string, limit int) ([]Change, error) {
	changes, err := readChanges(ctx, s.pool, `($1 = '' or org = $1) and ($2 = '' or kind = $2) and ($3 = '' or name = $3)
order by changed_at desc, org, revision desc limit $4`, org, string(kind), name, limit)
	if err != nil {
		return nil, explainError("read config versions", err)
	}
	return changes, nil
}

func readChanges(ctx context.Context, q querier, where string, args ...any) ([]Change, error) {
	rows, err := q.Query(ctx, "select org, kind, name, version, changed_at, changed_by, op, before, after from keel.config_versions where "+where, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Change, err error) {
		return c, row.Scan(&c.Org, &c.Kind, &c.Name, &c.Version, &c.At, &c.By, &c.Op, &c.Before, &c.After)
	})
}
