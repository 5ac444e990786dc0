package ledger

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/pgserver"
)

// database makes an empty, migrated database for one test.
func database(t testing.TB) string {
	t.Helper()
	dsn := pgserver.ForTest(t)
	if err := Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	return dsn
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func testOptions(t testing.TB) Options {
	return Options{Logger: quiet, Journal: t.TempDir(), JournalSegment: 1 << 20, MaxConns: 4, SweepEvery: time.Hour, RefreshEvery: 50 * time.Millisecond}
}

// open opens a Ledger that is closed, and whose database is checked, at the end of the test.
func open(t testing.TB, dsn string, opts Options) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
		checkInvariants(t, dsn)
	})
	return l
}

// kill makes l stop as SIGKILL does: what is in memory is lost.
func (l *Ledger) kill() {
	l.closing.Do(func() {
		_ = l.Kill()
		l.stop()
		l.running.Wait()
		l.pool.Close()
	})
}

func query[T any](t testing.TB, dsn, sql string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var v T
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func execute(t testing.TB, dsn, sql string, args ...any) error {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), sql, args...)
	return err
}

func checkInvariants(t testing.TB, dsn string) {
	t.Helper()
	report, err := Check(context.Background(), dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations {
		t.Errorf("violated: %s", v)
	}
}
