package ledger

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrationLock is the key of the advisory lock that lets one process migrate at a time ("keel" in ASCII).
const migrationLock = 0x6b65656c

type migration struct {
	id   int
	name string // of the file
	hash string // SHA-256 of the file, hex
	sql  string

	// serves is the last migration that a binary has to know to run on a database that has this one: its own
	// number, unless its first line says otherwise. See docs/upgrade.md.
	serves int
}

// servesLine is how a file begins that leaves a binary of before it running: "-- serves 012".
const servesLine = "-- serves "

func migrations() ([]migration, error) {
	files, err := fs.ReadDir(migrationFiles, "migrations") // sorted by name
	if err != nil {
		return nil, err
	}
	all := make([]migration, 0, len(files))
	for i, f := range files {
		sql, err := migrationFiles.ReadFile("migrations/" + f.Name())
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(f.Name(), "_")
		if id, err := strconv.Atoi(number); err != nil || id != i+1 {
			return nil, fmt.Errorf("migration %s: want number %03d", f.Name(), i+1)
		}
		hash := sha256.Sum256(sql)
		m := migration{id: i + 1, name: f.Name(), hash: hex.EncodeToString(hash[:]), sql: string(sql), serves: i + 1}
		if m.serves, err = servedBy(m); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// servedBy reads the first line of a file.
func servedBy(m migration) (int, error) {
	first, _, _ := strings.Cut(m.sql, "\n")
	number, says := strings.CutPrefix(first, servesLine)
	if !says {
		return m.id, nil
	}
	if n, err := strconv.Atoi(strings.TrimSpace(number)); err == nil && n > 0 && n <= m.id {
		return n, nil
	}
	return 0, fmt.Errorf("migration %s: its first line is %q: want the number of a migration up to its own", m.name, first)
}

// Migrate brings the schema keel of the database up to what this binary needs.
// Processes that migrate at once wait for each other. Each file runs in a
// transaction of its own; progress, which may be nil, is told each file that
// was applied. A file that changed after it was applied, and a database that
// is ahead of this binary, are refused.
func Migrate(ctx context.Context, dsn string, progress func(name string)) error {
	all, err := migrations()
	if err != nil {
		return fmt.Errorf("ledger: migrate: %w", err)
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("ledger: migrate: %w", err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return explainError("migrate: connect", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) // ends the session and its lock

	if _, err := conn.Exec(ctx, "select pg_advisory_lock($1)", migrationLock); err != nil {
		return explainError("migrate: lock", err)
	}
	_, err = conn.Exec(ctx, `
		set lock_timeout = '10s'; -- a migration behind a long transaction must not queue up the traffic behind itself
		set client_min_messages = warning;
		create schema if not exists keel;
		create table if not exists keel.migrations (
			id integer primary key, name text not null, hash text not null, applied_at timestamptz not null default now());
		alter table keel.migrations add column if not exists serves integer; -- null: its own id
		reset client_min_messages`)
	if err != nil {
		return explainError("migrate: create schema keel", err)
	}
	applied, err := appliedMigrations(ctx, conn)
	if err != nil {
		return err
	}
	if len(applied) > len(all) {
		return fmt.Errorf("ledger: migrate: the database has migration %s, which this binary does not know: use a newer keel", applied[len(applied)-1].name)
	}
	if err := checkApplied(all, applied); err != nil {
		return fmt.Errorf("ledger: migrate: %w", err)
	}
	for _, m := range all[len(applied):] {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, m.sql); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "insert into keel.migrations (id, name, hash, serves) values ($1, $2, $3, $4)", m.id, m.name, m.hash, m.serves)
			return err
		})
		if err != nil {
			return explainError("migrate: "+m.name, err)
		}
		if progress != nil {
			progress(m.name)
		}
	}
	return nil
}

func appliedMigrations(ctx context.Context, q querier) ([]migration, error) {
	// A database that no binary since has migrated lacks the column.
	rows, err := q.Query(ctx, "select id, name, hash, coalesce((to_jsonb(m)->>'serves')::integer, id) from keel.migrations m order by id")
	if err != nil {
		return nil, explainError("read keel.migrations", err)
	}
	applied, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m migration, err error) {
		return m, row.Scan(&m.id, &m.name, &m.hash, &m.serves)
	})
	if err != nil {
		return nil, explainError("read keel.migrations", err)
	}
	return applied, nil
}

// checkApplied refuses a database whose history is not ours, as far as this binary knows it.
func checkApplied(all, applied []migration) error {
	for i, m := range applied[:min(len(applied), len(all))] {
		if m.id != all[i].id || m.name != all[i].name {
			return fmt.Errorf("the database has migration %d %s where this binary has %s: use the keel that made it", m.id, m.name, all[i].name)
		}
		if m.hash != all[i].hash {
			return fmt.Errorf("migration %s was changed after it was applied: restore the file and add a new one", m.name)
		}
	}
	return nil
}

// checkSchema says whether the database has the schema that this binary needs: its own, or a newer one whose every migration
// leaves binaries of this one's age running.
func checkSchema(ctx context.Context, q querier) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	applied, err := appliedMigrations(ctx, q)
	if err != nil {
		return err
	}
	if err := checkApplied(all, applied); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if len(applied) < len(all) {
		return errors.New("ledger: the database's schema is older than this binary, run keel migrate")
	}
	for _, m := range applied[len(all):] {
		if m.serves > len(all) {
			return fmt.Errorf("ledger: the database has migration %s, which needs a keel that knows migration %d, and this binary knows %d: use a newer keel", m.name, m.serves, len(all))
		}
	}
	return nil
}

// querier is what a pool, a connection and a transaction have in common.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// CheckSchema returns an error that says what to do unless this binary can run on the schema that the database has.
func CheckSchema(ctx context.Context, conn *pgx.Conn) error { return checkSchema(ctx, conn) }
