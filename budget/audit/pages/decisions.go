package pages

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/answers"
	"keel/budget/ledger"
)

// decisionList is a page of decisions, the newest first.
type decisionList struct {
	Filters  []filter
	Rows     []decisionRow
	Filtered bool
	Newest   string // address of the first page; "" on it
	Older    string // address of the next page; "" on the last
}

// filter is a field of the form.
type filter struct {
	Name, Label, Value string
	Hint               string
	Options            []string // of a list; nil for text
}

type decisionRow struct {
	ID                        uuid.UUID
	At                        time.Time
	Team, User                string
	Requested, Provider, Sent string
	Action, Reason, Outcome   string
	Estimated, Cost           usd
	Metered                   string
}

// pageSize is how many decisions a page lists.
const pageSize = 50

// Each filter is a condition on a decision and its closeout; $n is its value.
var filters = []struct {
	filter
	sql string
}{
	{filter{Name: "team", Label: "Team"}, "d.subject->>'team' = $n"},
	{filter{Name: "user", Label: "User"}, "d.subject->>'user' = $n"},
	{filter{Name: "model", Label: "Model", Hint: "asked for or sent to"}, "$n in (d.model, d.routed_model)"},
	{filter{Name: "route", Label: "Route"}, "d.route = $n"},
	{filter{Name: "budget", Label: "Budget", Hint: "that held or denied"}, `d.rules @> jsonb_build_array(jsonb_build_object('kind', 'Budget', 'name', $n::text))`},
	{filter{Name: "action", Label: "Decision", Options: []string{"allow", "constrain", "substitute", "deny"}}, "d.action = $n"},
	{filter{Name: "outcome", Label: "Outcome", Options: []string{"open", "complete", "aborted", "failed", "orphaned", "unmetered", "denied"}},
		"case when d.action = 'deny' then 'denied' when d.unmetered then coalesce(c.outcome, 'unmetered') else coalesce(c.outcome, 'open') end = $n"},
	{filter{Name: "since", Label: "From", Hint: "2026-11-01 or 2026-11-01 15:04, UTC"}, "d.decided_at >= $n::timestamptz"},
	{filter{Name: "until", Label: "Before", Hint: "UTC"}, "d.decided_at < $n::timestamptz"},
}

// instant reads a time as people write it, in UTC.
func instant(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, badRequest("%q is no time; write 2026-11-01 or 2026-11-01 15:04, in UTC.", text)
}

func readDecisions(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	list := &decisionList{}
	args := []any{q.org}
	var pairs []string
	where := "d.org = $1"
	for _, f := range filters {
		f.Value = strings.TrimSpace(q.query.Get(f.Name))
		list.Filters = append(list.Filters, f.filter)
		if f.Value == "" {
			continue
		}
		var value any = f.Value
		if f.Name == "since" || f.Name == "until" {
			at, err := instant(f.Value)
			if err != nil {
				return nil, err
			}
			value = at
		}
		args = append(args, value)
		pairs = append(pairs, f.Name, f.Value)
		where += " and " + strings.ReplaceAll(f.sql, "$n", "$"+strconv.Itoa(len(args)))
	}
	list.Filtered = len(pairs) > 0
	if text := q.query.Get("before"); text != "" {
		at, id, err := position(text)
		if err != nil {
			return nil, err
		}
		args = append(args, at, id)
		where += fmt.Sprintf(" and (d.decided_at, d.decision_id) < ($%d, $%d)", len(args)-1, len(args))
		list.Newest = q.address("decisions", pairs...)
	}
	// The page is found first, by an index, and what it shows of each is read then: in one query the view would be read whole.
	rows, err := tx.Query(ctx, "select d.decision_id from keel.decisions d left join keel.closeouts c on c.org = d.org and c.decision_id = d.decision_id where "+
		where+" order by d.decided_at desc, d.decision_id desc limit "+strconv.Itoa(pageSize+1), args...)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, err
	}
	rows, err = tx.Query(ctx, `
select r.decision_id, r.decided_at, coalesce(r.subject->>'team', ''), coalesce(r.subject->>'user', ''), coalesce(r.model_requested, ''), coalesce(r.provider, ''), coalesce(r.model_routed, ''),
  r.action, r.reason, r.outcome, (r.estimated_cost_usd * 1000000000)::numeric(38)::text, (r.actual_cost_usd * 1000000000)::numeric(38)::text, r.metered
from keel.spend_records r where r.org = $1 and r.decision_id = any($2) and r.decided_at is not null
order by r.decided_at desc, r.decision_id desc`, q.org, ids)
	if err != nil {
		return nil, err
	}
	list.Rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d decisionRow, err error) {
		return d, row.Scan(&d.ID, &d.At, &d.Team, &d.User, &d.Requested, &d.Provider, &d.Sent, &d.Action, &d.Reason, &d.Outcome, &d.Estimated, &d.Cost, &d.Metered)
	})
	if err != nil {
		return nil, err
	}
	if len(list.Rows) > pageSize {
		list.Rows = list.Rows[:pageSize]
		last := list.Rows[pageSize-1]
		list.Older = q.address("decisions", append(pairs, "before", strconv.FormatInt(last.At.UnixMicro(), 10)+"-"+last.ID.String())...)
	}
	return list, nil
}

// position reads where a page begins: behind a decision.
func position(text string) (at time.Time, id uuid.UUID, err error) {
	micros, rest, _ := strings.Cut(text, "-")
	n, err := strconv.ParseInt(micros, 10, 64)
	if err == nil {
		id, err = uuid.Parse(rest)
	}
	if err != nil {
		return at, id, badRequest("The address names no place among the decisions. Begin at the newest.")
	}
	return time.UnixMicro(n).UTC(), id, nil
}

// decisionPage is one decision with its three questions.
type decisionPage struct {
	*answers.Answers
	Questions []question
	Rules     []ruleText
	Record    string // the row of keel.spend_records, as JSON
}

type question struct {
	Ask   string
	Lines []answers.Line
}

// ruleText is a document as it was when the decision was made.
type ruleText struct {
	Kind, Name string
	Version    int64
	ChangedBy  string
	ChangedAt  *time.Time
	Document   []field
}

func readDecision(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	id, err := uuid.Parse(q.path("id"))
	if err != nil {
		return nil, errNotThere
	}
	e, err := ledger.ReadExplanation(ctx, tx, id)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && e.Detail.Org != q.org {
		return nil, errNotThere
	}
	if err != nil {
		return nil, err
	}
	a, err := answers.Of(e)
	if err != nil {
		return nil, err
	}
	p := &decisionPage{Answers: a, Questions: []question{{answers.AskEstimated, a.Estimated}, {answers.AskCost, a.Cost}, {answers.AskRules, a.Rules}, {answers.AskEvidence, a.Evidence}}}
	if p.Record, err = indented(e.Record); err != nil {
		return nil, err
	}
	for _, r := range e.Rules {
		if r.Document == nil {
			continue
		}
		text := ruleText{Kind: string(r.Kind), Name: r.Name, Version: r.Version, ChangedAt: r.ChangedAt}
		if r.ChangedBy != nil {
			text.ChangedBy = *r.ChangedBy
		}
		if text.Document, err = fields(r.Document); err != nil {
			return nil, err
		}
		p.Rules = append(p.Rules, text)
	}
	return p, nil
}
