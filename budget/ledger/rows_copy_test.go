package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// lengths is a source of one row of text for each length. One below zero is odd, and is left out.
func lengths(all []int) func(*rowBuffer) bool {
	return func(r *rowBuffer) bool {
		if len(all) == 0 {
			return false
		}
		r.begin(1)
		if n := all[0]; n < 0 {
			r.text("\x00")
		} else {
			r.text(strings.Repeat("x", n))
		}
		r.end()
		all = all[1:]
		return true
	}
}

// However it is read, a stream is all rows in one buffer.
func TestRowStream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(-3, 90), rapid.Just(700)), 0, 40).Draw(t, "rows")
		whole := newRows()
		defer whole.free()
		for next := lengths(rows); next(whole); {
		}
		want := append(bytes.Clone(whole.b), 0xff, 0xff)

		r := newRows()
		defer r.free()
		s := rowStream{rows: r, next: lengths(rows)}
		s.fill(rapid.IntRange(0, 300).Draw(t, "ahead"))
		var got []byte
		for {
			p := make([]byte, rapid.IntRange(1, 300).Draw(t, "room"))
			n, err := s.Read(p)
			if got = append(got, p[:n]...); err == io.EOF {
				break
			}
			if err != nil || n == 0 {
				t.Fatalf("%d bytes, %v", n, err)
			}
			if n < len(p) && len(got) < len(want) {
				t.Fatalf("%d bytes of %d in the middle: the server would get many small messages", n, len(p))
			}
		}
		if !bytes.Equal(got, want) || r.count != whole.count {
			t.Fatalf("%d rows in %q, want %d in %q", r.count, got, whole.count, want)
		}
	})
}

// A server that is gone leaves pgx reading: nothing is encoded for it any more.
func TestRowStreamIsLeft(t *testing.T) {
	t.Parallel()
	r := newRows()
	defer r.free()
	s := rowStream{rows: r, next: func(*rowBuffer) bool {
		t.Error("asked for a row")
		return false
	}}
	s.leave()
	if n, err := s.Read(make([]byte, 1000)); n != 0 || !errors.Is(err, errLeft) {
		t.Fatalf("%d, %v", n, err)
	}
}

// A batch of many messages of COPY, in which every seventh record is odd, is settled as any other: the witness has looked at all of
// it when the test ends. A connection that ends in the middle leaves nothing, and the same batch is settled by the next.
func TestSettleOfManyMessages(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for i := range benchBudgets {
		l.budget(fmt.Sprint("b", i), 1_000_000_000_000_000, "month")
	}
	j := l.journal()
	for i := range benchBudgets {
		j.lease(thisMonth(fmt.Sprint("b", i)), 1_000_000_000_000)
	}
	batch := usualRecords(j, 400)
	for i := range batch.Records {
		r := &batch.Records[i]
		switch {
		case i%7 != 0:
		case r.Decision != nil:
			r.Decision.Reason = "a \x00 in it"
		default:
			r.Closeout.Detail = "a \x00 in it"
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tx, err := l.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	err = copyRows(ctx, tx.Conn(), copyDecisions, func(r *rowBuffer) bool {
		if rows++; rows == 90 { // the first messages are on their way
			if _, err := l.pool.Exec(ctx, "select pg_terminate_backend($1, 5000)", tx.Conn().PgConn().PID()); err != nil {
				t.Error(err)
			}
		}
		d := batch.Records[rows*2%400].Decision
		r.decision("acme", uuid.New(), 1, &batch.Records[0].Digest, d)
		return rows < 1000
	})
	if err == nil {
		t.Fatal("a connection that ended took rows")
	}
	_ = tx.Rollback(ctx)
	if _, err := l.Settle(ctx, batch); err != nil {
		t.Fatal(err)
	}
	var decisions, closeouts int
	if err := l.pool.QueryRow(ctx, "select (select count(*) from keel.decisions), (select count(*) from keel.closeouts)").Scan(&decisions, &closeouts); err != nil {
		t.Fatal(err)
	}
	if decisions != 200 || closeouts != 200 {
		t.Fatalf("%d decisions and %d closeouts", decisions, closeouts)
	}
}
