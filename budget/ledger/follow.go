package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
)

// A Snapshot is every document of every org, and how many changes of each org went before it.
type Snapshot struct {
	Documents budget.Documents

	revisions map[string]int64 // nil: nothing was read
}

// Snapshot reads every document.
func (s *Store) Snapshot(ctx context.Context) (Snapshot, error) {
	var now Snapshot
	err := pgx.BeginTxFunc(ctx, s.pool, snapshot, func(tx pgx.Tx) (err error) {
		now, err = readSnapshot(ctx, tx)
		return err
	})
	if err != nil {
		return Snapshot{}, explainError("read config documents", err)
	}
	return now, nil
}

func readSnapshot(ctx context.Context, tx pgx.Tx) (now Snapshot, err error) {
	if now.revisions, err = configRevisions(ctx, tx); err == nil {
		now.Documents, err = readDocuments(ctx, tx, "", "", "")
	}
	return now, err
}

func configRevisions(ctx context.Context, q querier) (map[string]int64, error) {
	rows, err := q.Query(ctx, "select org, revision from keel.config_revisions")
	if err != nil {
		return nil, err
	}
	revisions := make(map[string]int64)
	var org string
	var revision int64
	_, err = pgx.ForEachRow(rows, []any{&org, &revision}, func() error {
		revisions[org] = revision
		return nil
	})
	return revisions, err
}

// follow is the snapshot after s: of a hundred thousand documents it reads those that changed. Where the history does not
// have every change between the two, because somebody went past it or the database lost some, all are read.
func (s *Snapshot) follow(ctx context.Context, tx pgx.Tx) (Snapshot, error) {
	if s.revisions == nil {
		return readSnapshot(ctx, tx)
	}
	revisions, err := configRevisions(ctx, tx)
	if err != nil {
		return Snapshot{}, err
	}
	var orgs []string
	var since []int64
	var changes int64
	for org, revision := range revisions {
		if known := s.revisions[org]; known != revision {
			orgs, since, changes = append(orgs, org), append(since, known), changes+revision-known
		}
	}
	rows, err := tx.Query(ctx, `select v.org, v.kind, v.name, v.version, v.after from unnest($1::text[], $2::bigint[]) k (org, revision)
join keel.config_versions v on v.org = k.org and v.revision > k.revision order by v.org, v.revision`, orgs, since)
	if err != nil {
		return Snapshot{}, err
	}
	last := make(map[documentName]document)
	n := int64(0)
	var d document
	if _, err := pgx.ForEachRow(rows, []any{&d.Org, &d.Kind, &d.Name, &d.Version, &d.Columns}, func() error {
		n++
		last[documentName{d.Kind, d.Org, d.Name}] = d
		d.Columns = nil // of its own for each
		return nil
	}); err != nil {
		return Snapshot{}, err
	}
	if n != changes {
		return readSnapshot(ctx, tx)
	}
	var changed []document
	for _, d := range last {
		if d.Columns != nil {
			changed = append(changed, d)
		}
	}
	decoded, err := decodeDocuments(changed)
	if err != nil {
		return Snapshot{}, err
	}
	documents := s.Documents.Select(func(kind budget.Kind, m budget.Meta) bool {
		_, replaced := last[documentName{kind, m.Org, m.Name}]
		return !replaced
	})
	documents.Append(decoded)
	return Snapshot{documents, revisions}, nil
}

type documentName struct {
	kind      budget.Kind
	org, name string
}

const (
	// watchPoll bounds how long a change whose notification was lost goes unseen.
	watchPoll = 900 * time.Millisecond
	// pollTime is after what a server that was asked for its revision counts as gone silent.
	pollTime = 5 * time.Second
	// readTime is the same for documents, of which there may be many.
	readTime = 2 * time.Minute
)

// Watch calls live with every document after every change since a snapshot, until ctx ends; of the zero
// Snapshot also now. It listens on a connection of its own, which must be a session of the
// server's (no transaction pooling), and asks for the revision at every
// notification and every poll, so that lost notifications cost less than a
// second. While the database is away or holds what can't be read, failed is
// told, which may be nil, and the last documents stay. A database that was away may be another one
// when it is back: then all is read again.
func (s *Store) Watch(ctx context.Context, since Snapshot, live func(budget.Documents), failed func(error)) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := s.watch(ctx, &since, func(docs budget.Documents) {
			attempt = 0
			live(docs)
		})
		since = Snapshot{}
		if ctx.Err() == nil && failed != nil {
			failed(explainError("watch config documents", err))
		}
		sleep(ctx, 4*backoff(attempt))
	}
}

func (s *Store) watch(ctx context.Context, last *Snapshot, live func(budget.Documents)) error {
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

// poll reads what changed since last, if anything did.
func poll(ctx context.Context, conn *pgx.Conn, last *Snapshot, live func(budget.Documents)) error {
	if same, err := unchanged(ctx, conn, last); err != nil || same {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	var now Snapshot
	err := pgx.BeginTxFunc(ctx, conn, snapshot, func(tx pgx.Tx) (err error) {
		now, err = last.follow(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	*last = now
	live(now.Documents)
	return nil
}

// unchanged asks for one number: every change of any document raises it.
func unchanged(ctx context.Context, conn *pgx.Conn, last *Snapshot) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	var sum, known int64
	if err := conn.QueryRow(ctx, "select coalesce(sum(revision), 0)::bigint from keel.config_revisions").Scan(&sum); err != nil {
		return false, err
	}
	for _, revision := range last.revisions {
		known += revision
	}
	return last.revisions != nil && sum == known, nil
}
