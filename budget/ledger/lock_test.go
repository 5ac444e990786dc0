package ledger

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// lockRow locks every account until the returned function is called.
func lockRow(t testing.TB, dsn string) func() {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(context.Background(), "begin; select 1 from keel.accounts for update"); err != nil {
		t.Fatal(err)
	}
	return func() { conn.Close(context.Background()) }
}
