package pages

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// statement is a month of an org, or of one of its teams.
type statement struct {
	Month   time.Time
	Team    *string // nil: all teams
	Total   sums
	Days    []daySums
	Teams   []teamSums // where it is of all teams
	Rest    *teamSums  // of the teams that are not listed
	Models  []modelSums
	Meters  []meterSums
	TrueUps *trueUps // nil: none were accepted
	Chart   columns
	Behind  *time.Time // since when something settled waits to be added up
	Before  string     // addresses of the months beside this one
	After   string
	Retired bool // the records behind it are gone
}

// TeamName is "" for all teams and for calls without one.
func (s *statement) TeamName() string {
	if s.Team == nil {
		return ""
	}
	return *s.Team
}

// sums are what is added up of calls.
type sums struct {
	Calls, Denied, Unmetered, Closed, Estimated, Unknown int64
	Cost, EstimatedCost                                  usd
}

// Open are calls without an end yet.
func (s *sums) Open() int64 { return s.Calls - s.Denied - s.Unmetered - s.Closed }

type daySums struct {
	Day time.Time
	sums
}

type teamSums struct {
	Team  string
	Count int64 // of teams
	sums
}

type modelSums struct {
	Provider, Model string
	sums
	Meters []meterSums
}

type meterSums struct {
	Meter, Quantity string
	Cost            usd
}

// teamsListed is how many teams a statement lists.
const teamsListed = 200

// What calls were and cost, by day, by team and by model: one pass over the rows that count calls.
const callsSQL = `
select grouping(day, team, model)::int, day, team, provider, model, sum(amount_n)::numeric(38)::text,
  sum(calls)::bigint, sum(denied)::bigint, sum(unmetered)::bigint, sum(closed)::bigint, sum(estimated)::bigint, sum(unknown)::bigint, sum(estimated_n)::numeric(38)::text
from keel.statements
where org = $1 and day = any($2) and ($3::text is null or team = $3) and meter = ''
group by grouping sets ((day), (team), (provider, model))`

// The sets of callsSQL, as grouping() numbers them: a bit for each column that is not in the set.
const (
	byDay   = 0b011
	byTeam  = 0b101
	byModel = 0b110
)

// What the cost is made of.
const metersSQL = `
select provider, model, meter, trim_scale(sum(quantity))::text, sum(amount_n)::numeric(38)::text
from keel.statements
where org = $1 and day = any($2) and ($3::text is null or team = $3) and meter <> ''
group by provider, model, meter`

func readStatement(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	s := &statement{Month: time.Date(q.now.Year(), q.now.Month(), 1, 0, 0, 0, 0, time.UTC)}
	var err error
	if text := q.query.Get("month"); text != "" {
		if s.Month, err = time.Parse("2006-01", text); err != nil {
			return nil, badRequest("A month is written like 2026-11.")
		}
	}
	if q.query.Get("noteam") != "" {
		s.Team = new(string)
	} else if team := q.query.Get("team"); team != "" {
		s.Team = &team
	}
	beside := func(months int) string {
		return q.address("statement", "month", s.Month.AddDate(0, months, 0).Format("2006-01"), "team", q.query.Get("team"), "noteam", q.query.Get("noteam"))
	}
	s.Before, s.After = beside(-1), beside(1)
	var daysOf []time.Time
	for d := s.Month; d.Month() == s.Month.Month(); d = d.AddDate(0, 0, 1) {
		daysOf = append(daysOf, d)
	}
	rows, err := tx.Query(ctx, callsSQL, q.org, daysOf, s.Team)
	if err != nil {
		return nil, err
	}
	models, err := s.collectCalls(rows)
	if err != nil {
		return nil, err
	}
	if rows, err = tx.Query(ctx, metersSQL, q.org, daysOf, s.Team); err != nil {
		return nil, err
	}
	if err := s.collectMeters(rows, models); err != nil {
		return nil, err
	}
	s.sort(models)
	if s.TrueUps, err = readTrueUps(ctx, tx, q.org, daysOf, s.Total.Cost); err != nil {
		return nil, err
	}
	return s, tx.QueryRow(ctx, `
select (select min(at) from keel.statement_outbox where org = $1), $2::timestamptz + interval '1 month' <= retired from keel.db_state`, q.org, s.Month).Scan(&s.Behind, &s.Retired)
}

func (s *statement) collectCalls(rows pgx.Rows) (map[[2]string]*modelSums, error) {
	models := make(map[[2]string]*modelSums)
	amounts := make(map[int]usd)
	var (
		set                   int
		day                   *time.Time
		team, provider, model *string
		n                     sums
	)
	_, err := pgx.ForEachRow(rows, []any{&set, &day, &team, &provider, &model, &n.Cost, &n.Calls, &n.Denied, &n.Unmetered, &n.Closed, &n.Estimated, &n.Unknown, &n.EstimatedCost}, func() error {
		switch set {
		case byDay:
			s.Days = append(s.Days, daySums{*day, n})
			amounts[day.Day()] = n.Cost
			s.Total.add(&n)
		case byTeam:
			s.Teams = append(s.Teams, teamSums{*team, 1, n})
		case byModel:
			models[[2]string{*provider, *model}] = &modelSums{Provider: *provider, Model: *model, sums: n}
		}
		return nil
	})
	s.Total.EstimatedCost, s.Total.Cost = orZero(s.Total.EstimatedCost), orZero(s.Total.Cost)
	s.Chart = newColumns(s.Month, amounts)
	return models, err
}

func (s *statement) collectMeters(rows pgx.Rows, models map[[2]string]*modelSums) error {
	meters := make(map[string]*meterSums)
	quantities := make(map[string][]string)
	var provider, model string
	var m meterSums
	if _, err := pgx.ForEachRow(rows, []any{&provider, &model, &m.Meter, &m.Quantity, &m.Cost}, func() error {
		of := models[[2]string{provider, model}]
		if of == nil {
			return fmt.Errorf("keel.statements has meters of %s/%s and no calls: run keel ledger check", provider, model)
		}
		of.Meters = append(of.Meters, m)
		all := meters[m.Meter]
		if all == nil {
			all = &meterSums{Meter: m.Meter}
			meters[m.Meter] = all
		}
		all.Cost = orZero(all.Cost).plus(m.Cost)
		quantities[m.Meter] = append(quantities[m.Meter], m.Quantity)
		return nil
	}); err != nil {
		return err
	}
	for name, m := range meters {
		var err error
		if m.Quantity, err = addNumbers(quantities[name]); err != nil {
			return err
		}
		s.Meters = append(s.Meters, *m)
	}
	return nil
}

// sort puts what costs most first.
func (s *statement) sort(models map[[2]string]*modelSums) {
	for _, m := range models {
		slices.SortFunc(m.Meters, func(a, b meterSums) int { return cmp.Compare(a.Meter, b.Meter) })
		s.Models = append(s.Models, *m)
	}
	slices.SortFunc(s.Days, func(a, b daySums) int { return a.Day.Compare(b.Day) })
	slices.SortFunc(s.Meters, func(a, b meterSums) int { return cmp.Or(b.Cost.n.Cmp(a.Cost.n), cmp.Compare(a.Meter, b.Meter)) })
	slices.SortFunc(s.Models, func(a, b modelSums) int {
		return cmp.Or(b.Cost.n.Cmp(a.Cost.n), cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Model, b.Model))
	})
	slices.SortFunc(s.Teams, func(a, b teamSums) int { return cmp.Or(b.Cost.n.Cmp(a.Cost.n), cmp.Compare(a.Team, b.Team)) })
	if len(s.Teams) > teamsListed {
		s.Rest = &teamSums{}
		for _, t := range s.Teams[teamsListed:] {
			s.Rest.Count++
			s.Rest.add(&t.sums)
		}
		s.Teams = s.Teams[:teamsListed]
	}
}

func (s *sums) add(n *sums) {
	s.Calls, s.Denied, s.Unmetered = s.Calls+n.Calls, s.Denied+n.Denied, s.Unmetered+n.Unmetered
	s.Closed, s.Estimated, s.Unknown = s.Closed+n.Closed, s.Estimated+n.Estimated, s.Unknown+n.Unknown
	s.Cost, s.EstimatedCost = orZero(s.Cost).plus(n.Cost), orZero(s.EstimatedCost).plus(n.EstimatedCost)
}
