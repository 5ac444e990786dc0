package ledger

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/pricing"
)

// annotations are all that is stored, in the order of their ids.
func annotations(t interface{ Fatal(...any) }, l *lab) (rows []string) {
	found, err := l.pool.Query(context.Background(), "select org, decision_id, logged_at, http_status, attempts, flags, details, response_bytes, correction, corrects, stored_at > now() - interval '1 hour' from keel.annotations order by decision_id")
	if err == nil {
		rows, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (string, error) {
			values, err := row.Values()
			return fmt.Sprintf("%q", values), err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// What is copied is what is inserted, to the bit.
func TestAnnotationsAreCopiedAsInserted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.broken = true // annotations without decisions
	values := rapid.SliceOfN(rowValues[budget.Annotation](hostileTexts()), 1, 9)
	rapid.Check(t, func(t *rapid.T) {
		all := values.Draw(t, "annotations")
		for i := range all {
			all[i].ID = uuid.Must(uuid.NewV7())
		}
		written := func(write func(context.Context, []budget.Annotation) error) []string {
			if _, err := l.pool.Exec(context.Background(), "delete from keel.annotations"); err != nil {
				t.Fatal(err)
			}
			if err := l.annotate(context.Background(), all, write); err != nil {
				t.Fatal(err)
			}
			return annotations(t, l)
		}
		if diff := cmp.Diff(written(l.insertAnnotations), written(l.copyAnnotations)); diff != "" {
			t.Fatalf("-inserted +copied\n%s", diff)
		}
	})
}

// The last word on a decision stays, whether it is said in the same batch or later, and a correction stays until another takes its place.
func TestTheLastAnnotationStays(t *testing.T) {
	t.Parallel()
	corrected := func(cost int64) *budget.Closeout {
		return logged(admitted(), pricing.NanoUSD(cost)).Correction
	}
	for name, batches := range map[string][][]int{"one batch": {{0, 1, 2, 3}}, "two": {{0, 1}, {2, 3}}, "each by itself": {{0}, {1}, {2}, {3}}, "said again": {{0, 1, 2, 3}, {0, 1, 2, 3}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.broken = true
			id, other := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
			lines := []budget.Annotation{
				{ID: id, Org: "acme", HTTPStatus: 503, Details: "first", Correction: corrected(7)},
				{ID: id, Org: "acme", HTTPStatus: 200, Details: "second"},
				{ID: other, Org: "acme", HTTPStatus: 200, Details: "another"},
				{ID: id, Org: "acme", HTTPStatus: 201, Details: "last", ResponseBytes: 12},
			}
			for i := range lines {
				lines[i].At = time.Unix(1_800_000_000+int64(i), 0)
			}
			for _, batch := range batches {
				var some []budget.Annotation
				for _, i := range batch {
					some = append(some, lines[i])
				}
				if err := l.Annotate(t.Context(), some); err != nil {
					t.Fatal(err)
				}
			}
			const sql = "select string_agg(concat_ws(' ', http_status, details, response_bytes, extract(epoch from logged_at)::bigint, corrects, correction is not null), ', ' order by decision_id) from keel.annotations"
			if got, want := query[string](t, l.dsn, sql), "201 last 12 1800000003 t t, 200 another 0 1800000002 f f"; got != want {
				t.Errorf("stored: %s\nwant: %s", got, want)
			}
			lines[3].Correction = corrected(9)
			if err := l.Annotate(t.Context(), lines[3:]); err != nil {
				t.Fatal(err)
			}
			if got := query[[]byte](t, l.dsn, "select correction from keel.annotations where decision_id = $1", id); string(got) != string(correctionBytes(lines[3].Correction)) {
				t.Errorf("the correction before stays: %x", got)
			}
		})
	}
}

// A line that the database refuses is left out, and no other one.
func TestOneLineIsRefused(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	if err := execute(t, dsn, "alter table keel.annotations add check (details <> 'refused')"); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		a := budget.Annotation{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: time.Now(), Details: fmt.Sprint(i)}
		if i%17 == 3 {
			a.Details = "refused"
		}
		l.Annotate(a)
	}
	flush(t, l)
	if n := query[int](t, dsn, "select count(*) from keel.annotations"); n != 37 {
		t.Errorf("%d lines are stored, want 37", n)
	}
}

// A line waits for others, but not when there are many or somebody waits for it; and memory is used again.
func TestNotesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Ledger{log: quiet}
		n := &l.notes
		n.init(1 << 20)
		note := func(lines int) {
			for range lines {
				l.Annotate(budget.Annotation{Details: "via_upstream"})
			}
		}
		const pause = 100 * time.Millisecond
		wantTaken := func(lines int, after time.Duration) {
			t.Helper()
			began := time.Now()
			taken := n.take(t.Context(), began.Add(pause))
			if len(taken) != lines || time.Since(began) != after {
				t.Errorf("%d lines after %v, want %d after %v", len(taken), time.Since(began), lines, after)
			}
			n.wrote(taken)
			n.done(taken)
		}
		flushed := make(chan error)
		startFlush := func() {
			go func() { flushed <- n.flush(t.Context()) }()
			synctest.Wait()
		}

		note(1)
		go func() {
			time.Sleep(pause / 2)
			note(2)
		}()
		wantTaken(3, pause)
		memory := cap(n.spare)
		if memory < 3 || n.bytes != 0 {
			t.Errorf("memory for %d lines is kept, %d bytes are counted", memory, n.bytes)
		}
		note(noteBatch + 7)
		wantTaken(noteBatch+7, 0)
		note(5)
		startFlush()
		wantTaken(5, 0)
		if err := <-flushed; err != nil {
			t.Error(err)
		}

		note(1)
		began := time.Now()
		taken := n.take(t.Context(), began)
		if len(taken) != 1 || time.Since(began) != noteGather {
			t.Errorf("%d lines after %v, want 1 after %v", len(taken), time.Since(began), noteGather)
		}
		n.wrote(taken)
		n.done(taken)

		note(1) // what is being written is waited for, too, and what comes meanwhile
		taken = n.take(t.Context(), time.Time{})
		startFlush()
		note(2)
		for range 2 { // more comes each time
			n.wrote(taken)
			n.done(taken)
			synctest.Wait()
			select {
			case <-flushed:
				t.Error("flushed with 2 lines in the queue")
			default:
			}
			if taken = n.take(t.Context(), time.Time{}); len(taken) != 2 {
				t.Errorf("%d lines are taken, want 2", len(taken))
			}
			note(2)
		}
		n.wrote(taken)
		n.done(taken)
		wantTaken(2, 0)
		if err := <-flushed; err != nil || n.bytes != 0 || len(n.queue) > 0 {
			t.Error(err, n.bytes, len(n.queue))
		}
		if err := n.flush(t.Context()); err != nil {
			t.Error(err)
		}

		n.limit = 3 * noteSize(&budget.Annotation{Details: "via_upstream"})
		note(5)
		if n.dropped != 2 {
			t.Errorf("%d are dropped over the limit, want 2", n.dropped)
		}
		ended, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n.flush(ended); err == nil || !strings.Contains(err.Error(), "write access log lines") {
			t.Errorf("flushed though nobody writes: %v", err)
		}
		wantTaken(3, 0)
		note(3)
		if n.dropped != 2 {
			t.Error("dropped though there is room again")
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if taken := n.take(cancelled, time.Time{}); len(taken) > 0 {
			t.Errorf("%d lines after the end", len(taken))
		}
	})
}
