package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// FromEnv is the database that the user chose in KEEL_DATABASE_URL, if any.
func FromEnv() (dsn string, ok bool) {
	dsn = os.Getenv("KEEL_DATABASE_URL")
	return dsn, dsn != ""
}

// createDatabase makes a database unless it is there.
func (s *Server) createDatabase(ctx context.Context, name string) error {
	return create(ctx, s.dsn("postgres"), name, true)
}

// NewDatabase makes an empty database and returns its URL, and a function that
// drops it, sessions and all. It is an error if the name is taken.
func (s *Server) NewDatabase(ctx context.Context, name string) (dsn string, drop func() error, err error) {
	return newDatabase(ctx, s.dsn("postgres"), name)
}

func newDatabase(ctx context.Context, server, name string) (dsn string, drop func() error, err error) {
	if dsn, err = withDatabase(server, name); err != nil {
		return "", nil, err
	}
	if err := create(ctx, server, name, false); err != nil {
		return "", nil, err
	}
	return dsn, func() error { return dropDatabase(server, name) }, nil
}

// duplicateDatabase is Postgres' SQLSTATE for a name that is taken.
const duplicateDatabase = "42P04"

// databaseInUse is that of a database to which somebody is connected.
const databaseInUse = "55006"

func create(ctx context.Context, server, name string, orKeep bool) error {
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		return fmt.Errorf("database %s: %w", name, err)
	}
	defer c.Close(ctx)
	// template0 is the one that nobody may be connected to, which CREATE DATABASE would refuse.
	_, err = c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE template0")
	if pg := (*pgconn.PgError)(nil); orKeep && errors.As(err, &pg) && pg.Code == duplicateDatabase {
		return nil
	}
	if err != nil {
		return fmt.Errorf("database %s: %w", name, err)
	}
	return nil
}

func dropDatabase(server, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		return fmt.Errorf("database %s: %w", name, err)
	}
	defer c.Close(ctx)
	for {
		// Postgres tells all who are connected to go and waits 5 s for them, which on a busy machine is not enough for one that has a query to end.
		_, err = c.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
		if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != databaseInUse {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("database %s: %w", name, err)
	}
	// What keel migrate made for the database is nobody's any more; roles belong to the server.
	for _, group := range []string{"_writer", "_editor", "_reader"} {
		if _, err := c.Exec(ctx, "DROP ROLE IF EXISTS "+pgx.Identifier{name + group}.Sanitize()); err != nil {
			return fmt.Errorf("roles of database %s: %w", name, err)
		}
	}
	return nil
}

// withDatabase is the URL of another database of the same server.
func withDatabase(dsn, name string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return "", errors.New("the database has to be given as a URL, postgres://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	u.Path = "/" + name
	return u.String(), nil
}
