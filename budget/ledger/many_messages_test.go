package ledger

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
)

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
