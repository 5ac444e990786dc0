package pgserver

import (
	"os"
	"testing"

	"keel/envoy/program"
)

// ownTree gives a folder to the user that the server will run as.
func ownTree(t *testing.T, dir string) {
	t.Helper()
	if u := program.Unprivileged("postgres"); u != nil {
		if _, err := os.Stat(dir); err == nil {
			if err := os.Chown(dir, int(u.UID), int(u.GID)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestForTest(t *testing.T) {
	one, two := ForTest(t), ForTest(t)
	if one == two {
		t.Fatal("one database for two")
	}
	run(t, one, "create table t (n int)")
	run(t, two, "create table t (n int)")
	if got := query[string](t, one, "select pg_encoding_to_char(encoding) || ' ' || datcollate from pg_database where datname = current_database()"); got != "UTF8 C" {
		t.Error(got)
	}

	t.Run("dropped in the end", func(t *testing.T) {
		var name string
		t.Run("", func(t *testing.T) { name = query[string](t, ForTest(t), "select current_database()") })
		if n := query[int](t, one, "select count(*) from pg_database where datname = '"+name+"'"); n != 0 {
			t.Errorf("%s is left", name)
		}
	})
	t.Run("a server of the user's", func(t *testing.T) {
		t.Setenv("KEEL_DATABASE_URL", one)
		if dsn, ok := FromEnv(); !ok || dsn != one {
			t.Error(dsn, ok)
		}
	})
	if _, err := withDatabase("host=/tmp dbname=x", "y"); err == nil {
		t.Error("what is no URL was taken for one")
	}
}
