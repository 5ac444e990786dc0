package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// PressureQuery says which calls to add up, and by what.
type PressureQuery struct {
	By    string        // route, team, budget or model
	Since time.Duration // how far back
	Org   string        // "" for all
}

// Pressure is what calls that routes took were expected to cost, in dollars. Calls without a price
// are counted in Unpriced alone.
type Pressure struct {
	Org         string      `json:"org"`
	Name        string      `json:"name"`
	Calls       int64       `json:"calls"`
	Substituted int64       `json:"substituted"`
	Asked       json.Number `json:"asked_usd"`        // where they were asked to go
	Routed      json.Number `json:"routed_usd"`       // where they went
	PreferCheap json.Number `json:"prefer_cheap_usd"` // where prefer-cheap would have sent them
	Enforce     json.Number `json:"enforce_usd"`      // where enforce would have
	Saved       json.Number `json:"saved_usd"`        // asked − routed
	Left        json.Number `json:"left_usd"`         // routed − prefer-cheap: what pressure is left
	Unpriced    int64       `json:"unpriced"`
}

// pressureNames is what a query adds up by. A call counts once in each of its budgets.
var pressureNames = map[string]string{
	"route": "select d.route_taken as name", "team": "select coalesce(d.subject->>'team', '') as name", "model": "select d.model as name",
	"budget": "select distinct h->>'budget' as name from jsonb_array_elements(d.holds) h",
}

// Pressure adds up, the most pressure that is left first.
func (s *Store) Pressure(ctx context.Context, q PressureQuery) (pressure []Pressure, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, snapshot, func(tx pgx.Tx) error {
		pressure, err = ReadPressure(ctx, tx, q)
		return err
	})
	return pressure, err
}

// ReadPressure is Pressure in the caller's transaction.
func ReadPressure(ctx context.Context, tx pgx.Tx, q PressureQuery) ([]Pressure, error) {
	names, ok := pressureNames[q.By]
	if !ok {
		return nil, fmt.Errorf("pressure can't be added up by %q", q.By)
	}
	rows, err := tx.Query(ctx, `
with d as (
  select d.org, d.model, d.subject, d.holds, d.action, d.expected_n, d.unpriced, d.route_choices,
    (select r->>'name' from jsonb_array_elements(d.rules) r where r->>'kind' = 'Route' limit 1) as route_taken,
    -- A mode that finds no target leaves the call where it was asked to go.
    c.asked, coalesce(c.cheap, c.asked) as cheap, coalesce(c.enforced, c.asked) as enforced
  from keel.decisions d cross join lateral (
    select max(x.usd) filter (where x.by = 'asked') as asked, max(x.usd) filter (where x.by = 'prefer-cheap') as cheap, max(x.usd) filter (where x.by = 'enforce') as enforced
    from (select v->>'by' as by, case when v ? 'unpriced' then null else (v->>'expected_usd')::numeric end as usd from jsonb_array_elements(d.route_choices) v) x) c
  where d.route_choices is not null and d.action <> 'deny' and d.decided_at > now() - $1::interval and ($2 = '' or d.org = $2)
)
select d.org, n.name, count(*), count(*) filter (where d.action = 'substitute'),
  coalesce(sum(asked) filter (where priced), 0)::text, coalesce(sum(routed) filter (where priced), 0)::text,
  coalesce(sum(cheap) filter (where priced), 0)::text, coalesce(sum(enforced) filter (where priced), 0)::text,
  coalesce(sum(asked - routed) filter (where priced), 0)::text, coalesce(sum(routed - cheap) filter (where priced), 0)::text,
  count(*) filter (where not priced)
from d cross join lateral (`+names+`) n
cross join lateral (select keel.usd(d.expected_n) as routed, d.unpriced = '' and d.asked is not null and d.cheap is not null and d.enforced is not null as priced) p
group by 1, 2 order by coalesce(sum(routed - cheap) filter (where priced), 0) desc, 1, 2`, q.Since, q.Org)
	if err != nil {
		return nil, explainError("routing pressure", err)
	}
	pressure, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Pressure])
	if err != nil {
		return nil, explainError("routing pressure", err)
	}
	return pressure, nil
}
