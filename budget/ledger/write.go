package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget"
)

const insertDecision = `
insert into keel.decisions (org, decision_id, decided_at, replica, subject, api, provider, model, path, stream,
  max_output_tokens, choices, service_tier, prompt, action, reason, route, routed_provider, routed_model, output_cap,
  input_tokens, input_tokens_bound, output_tokens, output_tokens_bound, expected_n, bound_n, bound_kind, method, unpriced,
  held_n, rules, price_version, denial, unmetered, debt, estimate)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
  $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)`

func decisionArgs(d *budget.Decision, epoch uuid.UUID) []any {
	e := d.Estimate
	rules := make([]budget.Rule, 0, len(d.Rules))
	rules = append(rules, d.Rules...)
	return []any{
		text(d.Org), d.ID, d.At, epoch, jsonText(storableSubject(d.Subject)), text(d.API), text(d.Provider), text(d.Model), text(d.Path), d.Stream,
		d.Call.MaxOutputTokens, d.Choices, text(d.ServiceTier), jsonText(d.Shape), string(d.Action), text(d.Reason), text(d.Route),
		text(d.RoutedProvider), text(d.RoutedModel), d.MaxOutputTokens,
		e.InputTokens, e.InputTokensBound, e.OutputTokens, e.OutputTokensBound, int64(e.Expected), int64(e.Bound),
		string(e.BoundKind), text(e.Method), text(e.Unpriced),
		largestHold(d), jsonText(rules), text(d.PriceVersion), denialJSON(d.Denial), d.Unmetered, d.Debt,
		jsonText(estimate{e.Input, e.Output}),
	}
}

func storableSubject(s budget.Subject) map[string]string {
	m := make(map[string]string, len(s))
	for k, v := range s {
		m[text(k)] = text(v)
	}
	return m
}

// denial is a budget.Denial as the record keeps it.
type denial struct {
	Status            int               `json:"status"`
	Code              string            `json:"code"`
	Message           string            `json:"message"`
	RetryAfterSeconds int64             `json:"retry_after_seconds,omitempty"` // rounded up
	Details           map[string]string `json:"details,omitempty"`
}

func denialJSON(d *budget.Denial) pgtype.Text {
	if d == nil {
		return pgtype.Text{}
	}
	return pgtype.Text{Valid: true, String: jsonText(denial{d.Status, text(d.Code), text(d.Message),
		int64((d.RetryAfter + time.Second - 1) / time.Second), storableSubject(d.Details)})}
}

const insertAnnotation = `
insert into keel.annotations (org, decision_id, logged_at, http_status, attempts, flags, details, response_bytes)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (org, decision_id) do update set logged_at = excluded.logged_at, http_status = excluded.http_status,
  attempts = excluded.attempts, flags = excluded.flags, details = excluded.details, response_bytes = excluded.response_bytes`

// lockAccounts takes the row locks of a batch in key order, as permits do.
// $2..$5 are accounts of new holds, $6 decisions whose holds are in the table.
const lockAccounts = `
select from keel.accounts a
where a.org = $1 and (a.budget, a.account_key, a.window_start, a.window_end) in (
  select k.* from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) k
  union all
  select h.budget, h.account_key, h.window_start, h.window_end from keel.holds h where h.org = $1 and h.decision_id = any($6::uuid[]))
order by a.budget, a.account_key, a.window_start, a.window_end
for update`

// recordHold takes a hold whatever the limit, once.
const recordHold = `
with h as (` + insertHold + `
  on conflict do nothing returning org, budget, account_key, window_start, window_end, amount_n)
update keel.accounts a set held_n = a.held_n + h.amount_n from h
where a.org = h.org and a.budget = h.budget and a.account_key = h.account_key
  and a.window_start = h.window_start and a.window_end = h.window_end`

// The amount that a closeout settles in each account that its decision held.
const charge = `case when c.cost_known then c.cost_n else greatest(h.amount_n, c.cost_n) end`

// settleAccounts moves accounts from what holds say to what closeouts say.
// After settleHolds the two agree, so both together can be repeated.
const settleAccounts = `
update keel.accounts a set settled_n = a.settled_n + x.settled, held_n = a.held_n - x.held
from (
  select h.budget, h.account_key, h.window_start, h.window_end,
    sum(` + charge + ` - coalesce(h.settled_n, 0))::bigint as settled,
    sum(case when h.settled_n is null then h.amount_n else 0 end)::bigint as held
  from keel.holds h join keel.closeouts c on c.org = h.org and c.decision_id = h.decision_id
  where h.org = $1 and h.decision_id = any($2::uuid[])
  group by h.budget, h.account_key, h.window_start, h.window_end) x
where a.org = $1 and a.budget = x.budget and a.account_key = x.account_key and a.window_start = x.window_start and a.window_end = x.window_end
returning a.budget, a.account_key, a.window_start, a.window_end, a.settled_n, a.held_n`

const settleHolds = `
update keel.holds h set settled_n = ` + charge + `
from keel.closeouts c
where h.org = $1 and h.decision_id = any($2::uuid[]) and c.org = h.org and c.decision_id = h.decision_id
  and h.settled_n is distinct from ` + charge

const deleteOpen = `
delete from keel.open_decisions o
where o.org = $1 and o.decision_id = any($2::uuid[])
  and exists (select from keel.closeouts c where c.org = o.org and c.decision_id = o.decision_id)`

// write puts records of one org into the database in one transaction of one
// round trip. Each statement changes nothing when it is repeated.
func (l *Ledger) write(ctx context.Context, items []item) error {
	org := items[0].org
	if items[0].kind == fulfilled {
		i, err := l.awaiting(ctx, items[0])
		if err != nil || i == nil {
			return err
		}
		items = []item{*i}
	}
	var taken, ids []uuid.UUID
	var holds []accountKey
	for _, i := range items {
		switch i.kind {
		case takenBack:
			taken = append(taken, i.id)
		case recorded:
			ids = append(ids, i.id)
			for _, h := range recordedHolds(i.decision) {
				holds = append(holds, keyOf(h.Account))
			}
		case closed:
			ids = append(ids, i.id)
		}
	}
	slices.SortFunc(holds, accountKey.compare)
	holds = slices.Compact(holds)

	// Without "begin" the statements up to Sync are one transaction (Postgres manual, 55.2.4 Pipelining).
	b := &pgx.Batch{}
	var changed []standingRow
	if len(taken) > 0 {
		queueTakeBack(b, org, taken, l.epoch)
	}
	if len(holds) > 0 {
		c := columnsOf(holds)
		b.Queue(createAccounts, org, c.budgets, c.keys, c.starts, c.ends)
	}
	if len(ids) > 0 {
		c := columnsOf(holds)
		b.Queue(lockAccounts, org, c.budgets, c.keys, c.starts, c.ends, ids)
	}
	for _, i := range items {
		if d := i.decision; i.kind == recorded {
			b.Queue(insertDecision+" on conflict do nothing", decisionArgs(d, l.epoch)...)
			for n, h := range recordedHolds(d) {
				b.Queue(recordHold, holdArgs(d, n, h, keyOf(h.Account))...)
			}
			if isOpen(d) {
				b.Queue(insertOpen, org, i.id, l.epoch)
			}
		}
	}
	for _, i := range items {
		if i.kind == closed {
			b.Queue(insertCloseout, closeoutArgs(i.closeout, i.presumed)...)
		}
	}
	if len(ids) > 0 {
		b.Queue(settleAccounts, org, ids).Query(func(rows pgx.Rows) (err error) {
			changed, err = collectStandings(rows, org)
			return err
		})
		b.Queue(settleHolds, org, ids)
		b.Queue(deleteOpen, org, ids)
	}
	for _, i := range items {
		if a := i.note; i.kind == annotated {
			b.Queue(insertAnnotation, org, i.id, a.At, int32(a.HTTPStatus), int64(a.Attempts), text(a.Flags), text(a.Details), a.ResponseBytes)
		}
	}
	asked := time.Now()
	if err := l.back.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	for _, s := range changed {
		l.standings.put(s.accountKey, s.Standing, asked)
	}
	return nil
}

// awaiting turns the closeout of a response into that of the decision which
// awaits it; nil where none does.
func (l *Ledger) awaiting(ctx context.Context, i item) (*item, error) {
	c := *i.closeout
	err := l.back.QueryRow(ctx, `
select decision_id from keel.closeouts where org = $1 and response_id = $2 and presumed order by decision_id limit 1`,
		i.org, text(c.ResponseID)).Scan(&c.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	i.kind, i.id, i.closeout = closed, c.ID, &c
	return &i, nil
}

func recordedHolds(d *budget.Decision) []budget.Hold {
	if d.Action == budget.Deny {
		return nil
	}
	return d.Holds
}

// queueTakeBack removes decisions that were never let through, with their
// holds. The first statement waits for a COMMIT that is still under way.
func queueTakeBack(b *pgx.Batch, org string, ids []uuid.UUID, epoch uuid.UUID) {
	b.Queue(`
insert into keel.open_decisions (org, decision_id, epoch) select $1, i, $3 from unnest($2::uuid[]) i on conflict do nothing`, org, ids, epoch)
	b.Queue(lockAccounts, org, []string{}, []string{}, []pgtype.Timestamptz{}, []pgtype.Timestamptz{}, ids)
	b.Queue(`
update keel.accounts a set held_n = a.held_n - x.held
from (
  select h.budget, h.account_key, h.window_start, h.window_end, sum(h.amount_n)::bigint as held
  from keel.holds h
  where h.org = $1 and h.decision_id = any($2::uuid[]) and h.settled_n is null
  group by h.budget, h.account_key, h.window_start, h.window_end) x
where a.org = $1 and a.budget = x.budget and a.account_key = x.account_key and a.window_start = x.window_start and a.window_end = x.window_end`, org, ids)
	b.Queue("delete from keel.holds where org = $1 and decision_id = any($2::uuid[]) and settled_n is null", org, ids)
	b.Queue("delete from keel.open_decisions where org = $1 and decision_id = any($2::uuid[])", org, ids)
	b.Queue(`
delete from keel.decisions d where d.org = $1 and d.decision_id = any($2::uuid[])
  and not exists (select from keel.closeouts c where c.org = d.org and c.decision_id = d.decision_id)`, org, ids)
}
