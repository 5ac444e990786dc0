package spend

import (
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/google/uuid"

	"keel/pricing"
)

// Adjustment is an accepted true-up: what a provider's statement says of a cell beyond the records, as
// keel.adjustments has it. It corrects no call, and no budget is charged by it. Re-ratings are not among them: they say what
// a call would cost under other prices, and two of them do not add up.
type Adjustment struct {
	ID             uuid.UUID
	Org            string
	At             time.Time // when it was accepted
	Reconciliation uuid.UUID
	Provider       string
	Model          string // of the statement; "" where it does not tell, as Account and Meter
	Account        string
	Meter          string
	Day            time.Time // of the statement, as the midnight of UTC that it begins at
	Amount         pricing.NanoUSD
	Cause          string
}

// trueUps are the adjustments of a query: a day belongs to the range that has its midnight of UTC, so ranges that
// touch have each once.
const trueUps = ` from keel.adjustments where org = $1 and source = 'reconcile' and day >= $2 and day < $3`

// days are the bounds of a query as days.
func (q Query) days() (since, until any) {
	ceil := func(t time.Time) any { return t.UTC().Add(24*time.Hour - time.Nanosecond).Truncate(24 * time.Hour) }
	since, until = "-infinity", "infinity"
	if !q.Since.IsZero() {
		since = ceil(q.Since)
	}
	if !q.Until.IsZero() {
		until = ceil(q.Until)
	}
	return since, until
}

// Adjustments calls each with every true-up of q, in the order of their days. It is each's until it returns. It ends with
// the first error of each.
func (r *Reader) Adjustments(ctx context.Context, q Query, each func(*Adjustment) error) error {
	since, until := q.days()
	rows, err := r.tx.Query(ctx, `select adjustment_id, org, at, reconciliation_id, provider, model, account, meter, day, amount_n, cause`+trueUps+` order by day, adjustment_id`, q.Org, since, until)
	if err != nil {
		return explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var a Adjustment
		if err := rows.Scan(&a.ID, &a.Org, &a.At, &a.Reconciliation, &a.Provider, &a.Model, &a.Account, &a.Meter, &a.Day, &a.Amount, &a.Cause); err != nil {
			return explain(err)
		}
		a.At = a.At.UTC()
		if err := each(&a); err != nil {
			return err
		}
	}
	return explain(rows.Err())
}

// SumAdjustments is what the ledger itself adds up of the true-ups of q, in nano-dollars.
func (r *Reader) SumAdjustments(ctx context.Context, q Query) (n int64, nano *big.Int, err error) {
	since, until := q.days()
	var text string
	if err := r.tx.QueryRow(ctx, `select count(*), coalesce(sum(amount_n), 0)::text`+trueUps, q.Org, since, until).Scan(&n, &text); err != nil {
		return 0, nil, explain(err)
	}
	nano, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return 0, nil, errors.New("spend: the ledger's sum " + text + " is no number of nano-dollars")
	}
	return n, nano, nil
}
