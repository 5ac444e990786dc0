package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/pricing"
)

// Booking is what Book stored.
type Booking struct {
	ID       uuid.UUID       `json:"reconciliation_id"`
	Entries  int64           `json:"entries"` // adjustments that were added
	Accepted pricing.NanoUSD `json:"accepted_usd"`
}

// Source names the file that a statement came from.
type Source struct{ Actor, File, SHA256 string }

// Book stores a comparison, and accepts what of it has one of the causes: nil accepts nothing. An
// adjustment is what of a cell's cause is not accepted yet, so the same file twice adds nothing.
func Book(ctx context.Context, dsn string, r *Report, scope Scope, from Source, accept []Cause) (b Booking, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return b, fmt.Errorf("reconcile: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Two at once would both accept the same.
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtext('keel.reconcile ' || $1))", r.Org); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `insert into keel.reconciliations (org, actor, provider, file, sha256, timezone, since, until) values ($1, $2, $3, $4, $5, $6, $7, $8)
returning reconciliation_id`, r.Org, from.Actor, r.Provider, from.File, from.SHA256, r.Timezone, scope.Since, scope.Until).Scan(&b.ID); err != nil {
			return err
		}
		for n := range r.Cells {
			if err := b.cell(ctx, tx, r, n, from.Actor, accept); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Booking{}, fmt.Errorf("reconcile: book: %w", err)
	}
	return b, nil
}

func (b *Booking) cell(ctx context.Context, tx pgx.Tx, r *Report, n int, actor string, accept []Cause) error {
	c := &r.Cells[n]
	causes := c.Causes
	if causes == nil {
		causes = []Difference{}
	}
	text, err := json.Marshal(causes)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `insert into keel.reconciled (org, reconciliation_id, n, day, model, account, meter, recorded_n, stated_n, recorded_quantity, stated_quantity, causes)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`, r.Org, b.ID, n, c.Day, c.Model, c.Account, c.Meter, int64(c.Recorded), (*int64)(c.Stated),
		c.RecordedQuantity, c.StatedQuantity, text); err != nil {
		return err
	}
	for _, d := range c.Causes {
		if !accepts(accept, d.Cause) {
			continue
		}
		var before int64
		if err := tx.QueryRow(ctx, `select coalesce(sum(amount_n), 0)::bigint from keel.adjustments where org = $1 and source = 'reconcile' and provider = $2
and day = $3 and model = $4 and account = $5 and meter = $6 and cause = $7`, r.Org, r.Provider, c.Day, c.Model, c.Account, c.Meter, string(d.Cause)).Scan(&before); err != nil {
			return err
		}
		amount := d.USD - pricing.NanoUSD(before)
		if amount == 0 {
			continue
		}
		detail, err := json.Marshal(map[string]string{"note": d.Note, "stated_minus_recorded_usd": d.USD.String(), "accepted_before_usd": pricing.NanoUSD(before).String()})
		if err != nil {
			return err
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", b.ID, n, d.Cause))
		id, _ := uuid.FromBytes(sum[:16])
		if _, err := tx.Exec(ctx, `insert into keel.adjustments (org, adjustment_id, actor, source, reconciliation_id, cell, provider, model, account, meter, day, amount_n, cause, detail)
values ($1, $2, $3, 'reconcile', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`, r.Org, id, actor, b.ID, n, r.Provider, c.Model, c.Account, c.Meter, c.Day, int64(amount),
			string(d.Cause), detail); err != nil {
			return err
		}
		b.Entries++
		b.Accepted += amount
	}
	return nil
}

func accepts(causes []Cause, cause Cause) bool {
	for _, c := range causes {
		if c == cause {
			return true
		}
	}
	return false
}

// Accepted are the causes that "all" accepts: what a provider bills is owed, whatever the reason, but a shift
// between days is no money.
var Accepted = []Cause{UnmeteredCalls, MissingInKeel, MissingAtProvider, Estimated, PriceDifference, Unpriced, UnknownModel, Rounding, Unexplained}

// ParseCause reads the name of a cause.
func ParseCause(name string) (Cause, error) {
	for _, c := range append([]Cause{TimeZone}, Accepted...) {
		if string(c) == name {
			return c, nil
		}
	}
	return "", fmt.Errorf("cause %q: there are %v", name, Accepted)
}

// Watched is the number to watch: what of the newest statements of one provider is neither recorded nor accepted.
type Watched struct {
	Org, Provider string
	Open          pricing.NanoUSD // stated − recorded − accepted
	Stated        pricing.NanoUSD
	At            time.Time // of the newest reconciliation
}

// Watch reads keel.variance by org and provider, over the days since one.
func Watch(ctx context.Context, dsn string, since time.Time) ([]Watched, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `select org, provider, (sum(open_usd) * 1000000000)::bigint, (sum(stated_usd) * 1000000000)::bigint, max(reconciled_at)
from keel.variance where day >= $1 group by 1, 2 order by 1, 2`, since)
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	watched, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Watched])
	return watched, errors.Join(err)
}
