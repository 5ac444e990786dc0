package ledger

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
)

// madeAt gives a decision another time, and an id of then.
func madeAt(d *budget.Decision, at time.Time) *budget.Decision {
	d.At = at
	for i, ms := 0, at.UnixMilli(); i < 6; i++ {
		d.ID[i] = byte(ms >> (40 - 8*i))
	}
	return d
}

func TestRetire(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	lifetime := budget.Account{Org: "acme", Budget: "life"}
	then := time.Date(2021, 5, 31, 23, 59, 59, 0, time.UTC)
	j, now := l.journal(), l.journal()
	copy(j.epoch[:6], madeAt(admitted(), then).ID[:6])
	may, june, july := madeAt(admitted(observed(lifetime, 5)), then), madeAt(admitted(observed(lifetime, 5)), then.Add(time.Second)), madeAt(admitted(observed(lifetime, 5)), then.AddDate(0, 1, 1))
	j.settle(decided(may), extended(may, 2), decided(june), extended(june, 2), decided(july), j.closed(may, ended(may, 4), 2), j.closed(july, ended(july, 2)))
	var settled atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			d := admitted(observed(lifetime, 1))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if _, err := l.Settle(ctx, now.batch(decided(d), now.closed(d, ended(d, 1)))); err != nil {
				t.Errorf("locked out: %v", err)
			}
			cancel()
			settled.Add(1)
		}
	})
	if _, err := Retire(t.Context(), l.dsn, time.Now(), nil); !errors.Is(err, errNotInLog) {
		t.Errorf("retired what the audit log has not: %v", err)
	}
	retire := func(before time.Time, want ...string) {
		t.Helper()
		l.sequence()
		if months, err := Retire(t.Context(), l.dsn, before, nil); err != nil || !slices.Equal(months, want) {
			t.Errorf("retired %v, %v; want %v", months, err, want)
		}
		l.sound()
	}
	retire(then)
	retire(then.Add(time.Second), "2021_05")
	retire(time.Now()) // june is open
	j.settle(extended(june, 1))
	l.sound()
	j.settle(j.closed(june, ended(june, 3), 3))
	// As if it had been cut short after the first step.
	l.exec("alter table keel.closeouts detach partition keel.closeouts_2021_06")
	retire(time.Now(), "2021_06", "2021_07")
	retire(time.Now())
	straggler := madeAt(admitted(observed(lifetime, 1)), then) // its journal shows up now
	late := l.journal()
	late.settle(decided(straggler), extended(straggler, 4), late.closed(straggler, ended(straggler, 1), 4))
	close(stop)
	wg.Wait()
	if settled.Load() < 3 {
		t.Errorf("only %d batches were settled meanwhile", settled.Load())
	}
	l.want("life", sums{settled: 10 + settled.Load(), forced: 10 + settled.Load()})
	if n := query[int](t, l.dsn, "select count(distinct decision_id) from keel.entries where kind = 'extension'"); n != 3 { // entries stay: they are evidence
		t.Errorf("extensions of %d decisions are left", n)
	}
	late.settle(extended(may, 1)) // as if its journal had it behind what was retired
	if kind := query[string](t, l.dsn, "select kind from keel.entries where epoch = $1 and seq = $2", late.epoch, late.seq); kind != "void" {
		t.Errorf("an extension of a retired decision is %s", kind)
	}
	if n := query[int](t, l.dsn, "select count(*) from keel.decisions where decision_id = any($1)", []uuid.UUID{may.ID, june.ID, july.ID}); n != 0 {
		t.Errorf("%d of the retired decisions are left", n)
	}
	const told = "select string_agg(concat_ws(' ', cause->>'month', cause->>'decisions', cause->>'closeouts'), ', ' order by cause->>'month') from keel.entries where kind = 'retired' and budget is null"
	if got := query[string](t, l.dsn, told); got != "2021_05 1 1, 2021_06 1 1, 2021_07 1 1" {
		t.Errorf("entries tell of %s", got)
	}
}
