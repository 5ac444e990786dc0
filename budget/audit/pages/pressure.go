package pages

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/ledger"
)

// pressurePage is what routes save, and what they could.
type pressurePage struct {
	By, Since string
	Bys       []string
	Sinces    []string
	Rows      []pressureRow
}

type pressureRow struct {
	Name                                 string
	Calls, Substituted, Unpriced         int64
	Asked, Routed, Cheap, Enforce, Saved usd
	Left                                 usd
	SavedAt, LeftAt                      int64 // of what was asked, in thousandths
}

var sinces = map[string]time.Duration{"day": 24 * time.Hour, "week": 7 * 24 * time.Hour, "month": 30 * 24 * time.Hour}

func readPressure(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	p := &pressurePage{By: q.query.Get("by"), Since: q.query.Get("since"), Bys: []string{"route", "team", "budget", "model"}, Sinces: []string{"day", "week", "month"}}
	if p.By == "" {
		p.By = "route"
	}
	if p.Since == "" {
		p.Since = "day"
	}
	since, ok := sinces[p.Since]
	if !ok || !slices.Contains(p.Bys, p.By) {
		return nil, badRequest("Routing pressure is added up by route, team, budget or model, over the last day, week or month.")
	}
	rows, err := ledger.ReadPressure(ctx, tx, ledger.PressureQuery{By: p.By, Since: since, Org: q.org})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		row := pressureRow{Name: r.Name, Calls: r.Calls, Substituted: r.Substituted, Unpriced: r.Unpriced}
		for _, amount := range []struct {
			text string
			into *usd
		}{{r.Asked.String(), &row.Asked}, {r.Routed.String(), &row.Routed}, {r.PreferCheap.String(), &row.Cheap}, {r.Enforce.String(), &row.Enforce},
			{r.Saved.String(), &row.Saved}, {r.Left.String(), &row.Left}} {
			if *amount.into, err = dollars(amount.text); err != nil {
				return nil, err
			}
		}
		row.SavedAt, row.LeftAt = row.Saved.permille(row.Asked), row.Left.permille(row.Asked)
		p.Rows = append(p.Rows, row)
	}
	return p, nil
}
