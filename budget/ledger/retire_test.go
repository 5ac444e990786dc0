package ledger

import (
	"context"
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
	j.settle(decided(may), decided(june), decided(july), j.closed(may, ended(may, 4)), j.closed(july, ended(july, 2)))
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
	retire := func(before time.Time, want ...string) {
		t.Helper()
		if months, err := Retire(t.Context(), l.dsn, before, nil); err != nil || !slices.Equal(months, want) {
			t.Errorf("retired %v, %v; want %v", months, err, want)
		}
		l.sound()
	}
	retire(then)
	retire(then.Add(time.Second), "2021_05")
	retire(time.Now()) // june is open
	j.settle(j.closed(june, ended(june, 3)))
	// As if it had been cut short after the first step.
	l.exec("alter table keel.closeouts detach partition keel.closeouts_2021_06")
	retire(time.Now(), "2021_06", "2021_07")
	retire(time.Now())
	straggler := madeAt(admitted(observed(lifetime, 1)), then) // its journal shows up now
	late := l.journal()
	late.settle(decided(straggler), late.closed(straggler, ended(straggler, 1)))
	close(stop)
	wg.Wait()
	if settled.Load() < 3 {
		t.Errorf("only %d batches were settled meanwhile", settled.Load())
	}
	l.want("life", sums{settled: 10 + settled.Load(), forced: 10 + settled.Load()})
	if n := query[int](t, l.dsn, "select count(*) from keel.decisions where decision_id = any($1)", []uuid.UUID{may.ID, june.ID, july.ID}); n != 0 {
		t.Errorf("%d of the retired decisions are left", n)
	}
}
