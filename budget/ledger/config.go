package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
		for _, r := range rows {
			t, err := tableOf(r.Kind)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, t.upsert(), r.Org, r.Name, r.Columns); err != nil {
				return fmt.Errorf("%s %s/%s: %w", r.Kind, r.Org, r.Name, err)
			}
		}
		return nil
	})
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

// configRevision rises with every change of any document.
func configRevision(ctx context.Context, q querier) (revision int64, err error) {
	return revision, q.QueryRow(ctx, "select coalesce(sum(revision), 0)::bigint from keel.config_revisions").Scan(&revision)
}

// watchPoll bounds how long a change whose notification was lost goes unseen.
const watchPoll = 900 * time.Millisecond

// Watch calls live with every document, now and after every change, until ctx
// ends. It listens on a connection of its own, which must be a session of the
// server's (no transaction pooling), and asks for the revision at every
// notification and every poll, so that lost notifications cost less than a
// second. While the database is away or holds what can't be read, failed is
// told, which may be nil, and the last documents stay.
func (s *Store) Watch(ctx context.Context, live func(budget.Documents), failed func(error)) {
	last := int64(-1)
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := s.watch(ctx, &last, func(docs budget.Documents) {
			attempt = 0
			live(docs)
		})
		if ctx.Err() == nil && failed != nil {
			failed(explainError("watch config documents", err))
		}
		sleep(ctx, 4*backoff(attempt))
	}
}

func (s *Store) watch(ctx context.Context, last *int64, live func(budget.Documents)) error {
	config, err := pgx.ParseConfig(s.dsn)
	if err != nil {
		return err
	}
	configureConn(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(gone)
	}()
	if _, err := conn.Exec(ctx, "listen keel_config"); err != nil {
		return err
	}
	for {
		if err := poll(ctx, conn, last, live); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, watchPoll)
		_, err := conn.WaitForNotification(wait)
		cancel()
		if err != nil && (ctx.Err() != nil || conn.IsClosed()) {
			return err
		}
	}
}

// poll loads when the revision is another one than last time. The timeout
// finds out a server that went silent.
func poll(ctx context.Context, conn *pgx.Conn, last *int64, live func(budget.Documents)) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	revision, err := configRevision(ctx, conn)
	if err != nil || revision == *last {
		return err
	}
	var docs budget.Documents
	err = pgx.BeginTxFunc(ctx, conn, snapshot, func(tx pgx.Tx) error {
		if revision, err = configRevision(ctx, tx); err != nil {
			return err
		}
		docs, err = readDocuments(ctx, tx, "", "", "")
		return err
	})
	if err != nil {
		return err
	}
	*last = revision
	live(docs)
	return nil
}
