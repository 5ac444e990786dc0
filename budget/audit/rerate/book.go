package rerate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/pricing"
)

// Ledger books re-ratings as adjustments. Each names its decision and the version of the prices, and has an id that
// is made of both: booking again adds nothing.
type Ledger struct {
	conn    *pgx.Conn
	org     string
	actor   string
	version string
	batch   *pgx.Batch
	added   int64
}

// batchSize bounds what is sent at a time.
const batchSize = 1000

// OpenLedger connects to a database. All entries are added in one transaction, at Close.
func OpenLedger(ctx context.Context, dsn, org, actor, version string) (*Ledger, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("rerate: %w", err)
	}
	l := &Ledger{conn: conn, org: org, actor: actor, version: version, batch: &pgx.Batch{}}
	if _, err := conn.Exec(ctx, "begin"); err != nil {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("rerate: %w", err)
	}
	return l, nil
}

// Add books a change.
func (l *Ledger) Add(ctx context.Context, c Change) error {
	r := c.Record
	lines := make([]map[string]string, 0, len(c.Cost.Lines))
	for i := range c.Cost.Lines {
		line := &c.Cost.Lines[i]
		lines = append(lines, map[string]string{"meter": line.Meter.String(), "quantity": fmt.Sprint(line.Quantity), "per_million": line.Rate.PerMillion(), "amount_usd": line.Amount.String(), "price": line.Price})
	}
	var recorded pricing.NanoUSD
	said := "unknown" // and in no sum of records
	if r.Cost != nil {
		recorded, said = *r.Cost, r.Cost.String()
	}
	detail, err := json.Marshal(map[string]any{"recorded_usd": said, "rerated_usd": c.Cost.Total.String(), "recorded_price_version": r.PriceVersion, "lines": lines})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "rerate %s %s %s", l.org, r.ID, l.version))
	id, _ := uuid.FromBytes(sum[:16])
	l.batch.Queue(`insert into keel.adjustments (org, adjustment_id, actor, source, decision_id, provider, model, day, amount_n, price_version, cause, detail)
values ($1, $2, $3, 'rerate', $4, $5, $6, $7, $8, $9, 'price_difference', $10) on conflict (org, adjustment_id) do nothing`,
		l.org, id, l.actor, r.ID, r.Provider, cmp.Or(r.ModelReported, r.ModelRouted), r.Position().At, int64(c.Cost.Total-recorded), l.version, detail)
	if l.batch.Len() < batchSize {
		return nil
	}
	return l.send(ctx)
}

func (l *Ledger) send(ctx context.Context) error {
	results := l.conn.SendBatch(ctx, l.batch)
	for range l.batch.Len() {
		tag, err := results.Exec()
		if err != nil {
			_ = results.Close()
			return fmt.Errorf("rerate: book: %w", err)
		}
		l.added += tag.RowsAffected()
	}
	l.batch = &pgx.Batch{}
	return results.Close()
}

// Close keeps what was added, and returns how many entries are new; where keep is false nothing is kept.
func (l *Ledger) Close(ctx context.Context, keep bool) (int64, error) {
	defer l.conn.Close(context.WithoutCancel(ctx))
	if !keep {
		return 0, nil
	}
	if err := l.send(ctx); err != nil {
		return 0, err
	}
	if _, err := l.conn.Exec(ctx, "commit"); err != nil {
		return 0, fmt.Errorf("rerate: book: %w", err)
	}
	return l.added, nil
}
