package audit

import (
	"encoding/binary"
	"fmt"
	"time"

	"keel/budget/audit/leaf"
)

// times are when a record was stored, by the clock of the database, and when the call was decided, by that of the processor: Unix
// microseconds, 0 where the record does not say.
type times struct{ stored, decided int64 }

// A journal is settled in order, so its records were stored in the order of their numbers. Calls are decided as their bodies come, which
// may take long.
const (
	storedBack  = 5 * time.Second
	decidedBack = time.Hour
	mostBack    = 3 // of a journal that are told
)

// timesOf reads those of a record. An entry that takes up the number of a closeout which was replaced was made later than that came.
func timesOf(r *row) (t times, err error) {
	switch r.kind {
	case leaf.Decision:
		t.decided = r.micros("decided_at")
		t.stored = r.micros("stored_at")
	case leaf.Closeout:
		t.stored = r.micros("stored_at")
	case leaf.Entry:
		kind, err := r.column("kind")
		if err != nil || string(kind) == "superseded" {
			return t, err
		}
		t.stored = r.micros("at")
	}
	return t, nil
}

// micros is an instant of a record, 0 where it has none.
func (r *row) micros(name string) int64 {
	if _, err := r.column(name); err != nil {
		return 0
	}
	v := r.values[r.places[name]]
	if len(v) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v)) + 946684800_000000
}

// clocks finds where one went back.
type clocks struct {
	last times
	back []string
}

func (c *clocks) tick(seq uint64, t times) {
	for _, clock := range []struct {
		whose   string
		at      int64
		last    *int64
		between time.Duration
	}{{"the database's clock, by which it was stored", t.stored, &c.last.stored, storedBack}, {"the processor's clock, by which the call was decided", t.decided, &c.last.decided, decidedBack}} {
		if clock.at == 0 {
			continue
		}
		if by := time.Duration(*clock.last-clock.at) * time.Microsecond; by > clock.between && len(c.back) < mostBack {
			c.back = append(c.back, fmt.Sprintf("at record %d %s, went back by %s, to %s", seq, clock.whose, by.Round(time.Second), time.UnixMicro(clock.at).UTC().Format(time.RFC3339)))
		}
		*clock.last = clock.at
	}
}
