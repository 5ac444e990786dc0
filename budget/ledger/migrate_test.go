package ledger

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"keel/budget/ledger/pgserver"
)

func TestMigrateAtOnceAndAgain(t *testing.T) {
	t.Parallel()
	dsn := pgserver.ForTest(t)
	var applied atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := Migrate(t.Context(), dsn, func(string) { applied.Add(1) }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := migrations()
	if err != nil || applied.Load() != int64(len(all)) {
		t.Errorf("applied %d of %d files, %v", applied.Load(), len(all), err)
	}
}

// A database that is a migration ahead serves a binary where every migration that it does not know says so, and is never
// migrated by it.
func TestSchemaAhead(t *testing.T) {
	t.Parallel()
	dsn := pgserver.ForTest(t)
	if err := Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	pool, err := newPool(dsn, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	last := len(all)
	for _, tt := range []struct {
		ahead []any // what each that is ahead serves
		want  string
	}{
		{nil, ""},
		{[]any{last}, ""},
		{[]any{last - 1}, ""},
		{[]any{last, last}, ""},
		{[]any{nil}, "use a newer keel"},
		{[]any{last + 1}, "use a newer keel"},
		{[]any{last, last + 1}, "use a newer keel"}, // two releases ahead
	} {
		if err := execute(t, dsn, fmt.Sprintf("delete from keel.migrations where id > %d", last)); err != nil {
			t.Fatal(err)
		}
		for i, serves := range tt.ahead {
			if _, err := pool.Exec(t.Context(), "insert into keel.migrations (id, name, hash, serves) values ($1, 'next.sql', 'x', $2)", last+1+i, serves); err != nil {
				t.Fatal(err)
			}
		}
		err := checkSchema(t.Context(), pool)
		if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) && tt.want != "" {
			t.Errorf("ahead by %v: %v, want %q", tt.ahead, err, tt.want)
		}
		if err := Migrate(t.Context(), dsn, nil); (err == nil) != (len(tt.ahead) == 0) {
			t.Errorf("migrated from ahead by %v: %v", tt.ahead, err)
		}
	}
	// One of before this column says nothing of its schema.
	if err := execute(t, dsn, fmt.Sprintf("delete from keel.migrations where id > %d; alter table keel.migrations drop column serves", last)); err != nil {
		t.Fatal(err)
	}
	if err := checkSchema(t.Context(), pool); err != nil {
		t.Error(err)
	}
	if err := Migrate(t.Context(), dsn, nil); err != nil {
		t.Error(err)
	}
}

func TestServes(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"create table x ()":             "14 <nil>",
		"-- serves 013\ncreate table x": "13 <nil>",
		"-- serves 15\n":                "0 migration 014_x.sql",
		"-- serves\n":                   "14 <nil>",
		"-- serves the last\n":          "0 migration 014_x.sql",
		"select 1;\n-- serves 001\n":    "14 <nil>",
	} {
		n, err := servedBy(migration{id: 14, name: "014_x.sql", sql: sql})
		if got := fmt.Sprint(n, " ", err); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", sql, got, want)
		}
	}
}

func TestMigrateRefusesAnotherHistory(t *testing.T) {
	t.Parallel()
	dsn := pgserver.ForTest(t)
	if err := Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ sql, want string }{
		{"update keel.migrations set hash = 'x' where id = 2", "002_ledger.sql was changed"},
		{"insert into keel.migrations (id, name, hash) values (99, '099_future.sql', 'x')", "use a newer keel"},
	} {
		if err := execute(t, dsn, c.sql); err != nil {
			t.Fatal(err)
		}
		if err := Migrate(t.Context(), dsn, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
}
