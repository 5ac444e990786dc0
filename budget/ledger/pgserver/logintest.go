package pgserver

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// LoginForTest makes a role that can log in, with attributes as CREATE ROLE has them ("in role keel_reader"), and returns the
// address of owner's database for it. The role goes when the test ends; what it owns goes to who owner is.
func LoginForTest(tb TB, owner, attributes string) (dsn string) {
	tb.Helper()
	u, err := url.Parse(owner)
	if err != nil {
		tb.Fatalf("no login for the test: %v", err)
	}
	name := "keel_login_" + strings.ToLower(rand.Text()[:12])
	if err := execute(owner, "create role "+name+" login password '"+name+"' "+attributes); err != nil {
		tb.Fatalf("no login for the test: %v", err)
	}
	tb.Cleanup(func() {
		if err := execute(owner, "reassign owned by "+name+" to current_user; drop owned by "+name+"; drop role "+name); err != nil {
			tb.Errorf("login of the test: %v", err)
		}
	})
	u.User = url.UserPassword(name, name)
	return u.String()
}

func execute(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}
