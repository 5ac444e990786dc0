package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Kind is what an alert is about.
type Kind string

// The kinds.
const (
	Tier         Kind = "tier"         // a budget reached one
	Forecast     Kind = "forecast"     // a budget's window may come to more than its limit
	Unmetered    Kind = "unmetered"    // calls passed that Keel could not read
	Unpriced     Kind = "unpriced"     // calls went to a model without a price
	Variance     Kind = "variance"     // a provider's bill differs from the records
	Verification Kind = "verification" // records are not what the audit log says
)

// Kinds are all of them.
var Kinds = []Kind{Tier, Forecast, Unmetered, Unpriced, Variance, Verification}

// Alert is what somebody should know.
type Alert struct {
	Org   string
	Kind  Kind
	Key   string            // what it is about, and when: the same key is the same alert
	Text  string            // a sentence for people
	Facts map[string]string // amounts are decimal dollars
}

// Execer is a connection, a pool or a transaction.
type Execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Raise writes a down, and says whether it is new. Every running processor with a webhook delivers it.
func Raise(ctx context.Context, on Execer, a Alert) (fresh bool, err error) {
	facts, err := json.Marshal(a.Facts)
	if err != nil {
		return false, err
	}
	tag, err := on.Exec(ctx, `
insert into keel.alerts (org, key, kind, text, facts) values ($1, $2, $3, $4, $5::text::jsonb) on conflict (org, key) do nothing`,
		a.Org, string(a.Kind)+"/"+a.Key, string(a.Kind), a.Text, string(facts))
	if err != nil {
		return false, fmt.Errorf("alert: %s: %w", a.Text, err)
	}
	return tag.RowsAffected() == 1, nil
}

// RaiseAll writes alerts down as Raise does, over a connection of its own, and says how many are new.
func RaiseAll(ctx context.Context, dsn string, alerts []Alert) (fresh int, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, fmt.Errorf("alerts: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, a := range alerts {
		isNew, err := Raise(ctx, conn, a)
		if err != nil {
			return fresh, err
		}
		if isNew {
			fresh++
		}
	}
	return fresh, nil
}

// Told is an alert as it is written down.
type Told struct {
	ID          uuid.UUID       `json:"id"`
	Org         string          `json:"org"`
	Kind        Kind            `json:"kind"`
	RaisedAt    time.Time       `json:"raised_at"`
	Text        string          `json:"text"`
	Facts       json.RawMessage `json:"facts"`
	Attempts    int             `json:"attempts"`     // deliveries that were tried
	DeliveredAt *time.Time      `json:"delivered_at"` // nil: not yet
	LastError   string          `json:"last_error"`
}

// List reads the alerts of an org, "" for all, that were raised since, the newest first.
func List(ctx context.Context, dsn, org string, since time.Duration) ([]Told, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("alerts: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `
select alert_id, org, kind, raised_at, text, facts, attempts, delivered_at, coalesce(last_error, '') from keel.alerts
where ($1 = '' or org = $1) and raised_at > now() - $2::interval order by raised_at desc, org, key`, org, since)
	if err != nil {
		return nil, fmt.Errorf("alerts: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Told])
	if err != nil {
		return nil, fmt.Errorf("alerts: %w", err)
	}
	return append([]Told{}, all...), nil
}
