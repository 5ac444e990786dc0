package ledger

import (
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
