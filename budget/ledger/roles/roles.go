package roles

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Names are those of the roles of one database. Roles belong to the server, so they carry the database's name.
type Names struct{ Writer, Editor, Reader string }

// NamesOf returns PREFIX_writer, PREFIX_editor and PREFIX_reader. A prefix has small letters, digits and underscores, and 56 at most, so
// that Postgres keeps the names whole and nobody has to quote them.
func NamesOf(prefix string) (Names, error) {
	if !regexp.MustCompile(`^[a-z_][a-z0-9_]{0,55}$`).MatchString(prefix) || strings.HasPrefix(prefix, "pg_") {
		return Names{}, fmt.Errorf("roles: %q can't begin the name of a role: want small letters, digits and _, at most 56, not beginning with pg_", prefix)
	}
	return Names{prefix + "_writer", prefix + "_editor", prefix + "_reader"}, nil
}

// All are the names in an order that never changes.
func (n Names) All() []string { return []string{n.Writer, n.Editor, n.Reader} }

// Prefix is what the names of a database's roles begin with unless somebody says otherwise: its own name, after "keel_"
// where that is not how it begins already.
func Prefix(dsn string) (string, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", fmt.Errorf("roles: database address: %w", err)
	}
	name := strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '_':
			return r
		}
		return '_'
	}, config.Database)
	if name != "keel" && !strings.HasPrefix(name, "keel_") {
		name = "keel_" + name
	}
	return name[:min(len(name), 56)], nil
}

// ErrMayNotCreate says that the roles are not there, and that who migrates may not make them. Its text says what to do.
var ErrMayNotCreate = errors.New("this role of Postgres may not create roles")

// lockKey is of the advisory lock under which roles and rights are changed; "role" in ASCII. It is of one database, and roles
// are of the server: who finds a role that came meanwhile takes it.
const lockKey = 0x726f6c65

// Create makes the roles that are missing, as groups without a login, and returns their names. A role of that name that may
// do anything is refused: rights mean nothing to it.
func Create(ctx context.Context, dsn string, n Names) (made []string, err error) {
	err = within(ctx, dsn, func(tx pgx.Tx) error {
		for _, name := range n.All() {
			var super bool
			err := tx.QueryRow(ctx, "select rolsuper or rolcreaterole or rolbypassrls from pg_roles where rolname = $1", name).Scan(&super)
			if err == nil && super {
				return fmt.Errorf("role %s is there, and is a superuser, or may create roles or bypass row security: take that from it, or choose other names with --roles PREFIX", name)
			}
			if err == nil {
				continue
			}
			if !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			if err := create(ctx, tx, name); err != nil {
				return mayNot(err, n)
			}
			made = append(made, name)
		}
		return nil
	})
	return made, err
}

func create(ctx context.Context, tx pgx.Tx, name string) error {
	_, err := tx.Exec(ctx, `do $$ begin
	create role `+quoted(name)+` nologin;
exception when duplicate_object or unique_violation then null; end $$`)
	return err
}

// mayNot says what an administrator has to do where err is of the missing right.
func mayNot(err error, n Names) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42501" {
		return err
	}
	var sql strings.Builder
	for _, name := range n.All() {
		fmt.Fprintf(&sql, "\n  create role %s nologin;", name)
	}
	return fmt.Errorf("%w: let somebody who may run this, and run keel migrate again; or go on without roles by --no-roles:%s", ErrMayNotCreate, sql.String())
}

// Grant gives the roles, which must be there, exactly the rights of this version, and takes all others in schema keel away from
// them. Whoever runs it owns the schema. It waits for nobody's reads and writes, and others see all of it or nothing.
func Grant(ctx context.Context, dsn string, n Names) error {
	return within(ctx, dsn, func(tx pgx.Tx) error {
		o, err := listObjects(ctx, tx)
		if err != nil {
			return err
		}
		if err := o.decided(); err != nil {
			return err
		}
		groups := quoted(n.Writer) + ", " + quoted(n.Editor) + ", " + quoted(n.Reader)
		statements := []string{
			"revoke execute on all functions in schema keel from public",
			"revoke all on all tables in schema keel from " + groups,
			"revoke all on all functions in schema keel from " + groups,
			"revoke all on schema keel from " + groups,
			"grant usage on schema keel to " + groups,
		}
		for _, t := range o.tables {
			r := tables[t]
			statements = append(statements, grant(r.writer, t, n.Writer), grant(r.editor, t, n.Editor), grant(read, t, n.Reader))
		}
		for _, f := range o.functions {
			c := functions[f.name]
			for _, g := range []struct {
				may bool
				who string
			}{{c.writer, n.Writer}, {c.editor, n.Editor}, {c.reader, n.Reader}} {
				if g.may {
					statements = append(statements, "grant execute on function "+f.signature+" to "+quoted(g.who))
				}
			}
		}
		for _, sql := range statements {
			if sql == "" {
				continue
			}
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

func grant(what, table, to string) string {
	if what == "" {
		return ""
	}
	return "grant " + what + " on " + pgx.Identifier{"keel", table}.Sanitize() + " to " + quoted(to)
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// within runs do in a transaction under the lock.
func within(ctx context.Context, dsn string, do func(pgx.Tx) error) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("roles: database address: %w", err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("roles: connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", lockKey); err != nil {
			return err
		}
		return do(tx)
	})
	if err != nil {
		return fmt.Errorf("roles: %w", err)
	}
	return nil
}
