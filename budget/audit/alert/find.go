package alert

import (
	"context"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/forecast"
)

// mostFound bounds what one look finds of a kind: a million accounts that are full are one problem.
const mostFound = 1000

// Accounts of the current window that reached their lowest tier, or whose average so far comes to more than the limit. Windows
// are computed of budgets that anything was ever spent of: there may be a hundred thousand that no call met.
const fullSQL = `
with met as materialized (
  select * from keel.budgets b where exists (select from keel.accounts a where a.org = b.org and a.budget = b.name))
select b.org, b.name, b.version, b.mode, a.account_key, coalesce(w.window_start, '-infinity') = '-infinity', r.us, case when r.us is null then w.window_start end, case when r.us is null then w.window_end end, now(),
  keel.nanos(b.limit_usd)::text, a.settled::text, a.held::text, b.tiers
from met b
cross join lateral keel.window_bounds(b."window", b.timezone, now()) w
cross join lateral (select keel.rolling_us(b."window") as us) r
cross join lateral (select coalesce(min(rtrim(t->>'at', '%')::int), 100) as at from jsonb_array_elements(b.tiers) t) lowest
cross join lateral (
  select a.account_key, sum(a.settled_n) as settled, sum(a.held_n) as held from keel.accounts a
  where a.org = b.org and a.budget = b.name
    and case when r.us is null then a.window_start = coalesce(w.window_start, '-infinity') and a.window_end = coalesce(w.window_end, 'infinity')
      else a.window_end > now() - r.us * interval '1 microsecond' - interval '2 seconds' and a.window_end = a.window_start + r.us / 60 * interval '1 microsecond' end
  group by a.account_key) a
where a.settled + a.held > 0 and ((a.settled + a.held) * 100 >= keel.nanos(b.limit_usd)::numeric * least(lowest.at, 100)
  or r.us is null and w.window_start is not null and a.settled * extract(epoch from w.window_end - w.window_start) > keel.nanos(b.limit_usd)::numeric * extract(epoch from now() - w.window_start))
order by b.org, b.name, a.account_key limit $1`

// account is a row of fullSQL.
type account struct {
	org, budget, mode, key string
	version                int64
	lifetime               bool
	rolling                *int64 // microseconds
	start, end             *time.Time
	now                    time.Time
	limit, settled, held   *big.Int
	tiers                  []struct {
		At string `json:"at"`
		Do string `json:"do"`
	}
}

func budgets(ctx context.Context, tx pgx.Tx) (found []Alert, err error) {
	rows, err := tx.Query(ctx, fullSQL, mostFound)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a account, err error) {
		var limit, settled, held string
		if err := row.Scan(&a.org, &a.budget, &a.version, &a.mode, &a.key, &a.lifetime, &a.rolling, &a.start, &a.end, &a.now, &limit, &settled, &held, &a.tiers); err != nil {
			return a, err
		}
		for _, n := range []struct {
			text string
			into **big.Int
		}{{limit, &a.limit}, {settled, &a.settled}, {held, &a.held}} {
			var ok bool
			if *n.into, ok = new(big.Int).SetString(n.text, 10); !ok {
				return a, fmt.Errorf("%q is no number of nano-dollars", n.text)
			}
		}
		return a, nil
	})
	for i := range all {
		found = append(found, all[i].alerts()...)
	}
	return found, err
}

// window names the window of the account: an alert is once for each.
func (a *account) window() string {
	switch {
	case a.rolling != nil:
		return strconv.FormatInt(a.now.UnixMicro() / *a.rolling, 10) // once in the length of the window
	case a.lifetime || a.start == nil:
		return "lifetime"
	}
	return a.start.UTC().Format(time.RFC3339)
}

// alerts are the highest tier that the account reached, and its forecast where that is beyond the limit.
func (a *account) alerts() (found []Alert) {
	used := new(big.Int).Add(a.settled, a.held)
	at, do := int64(-1), ""
	reach := func(percent int64, effect string) {
		if percent > at && new(big.Int).Mul(used, big.NewInt(100)).Cmp(new(big.Int).Mul(a.limit, big.NewInt(percent))) >= 0 {
			at, do = percent, effect
		}
	}
	full := "is spent"
	if a.mode == "enforce" {
		full = "deny"
	}
	reach(100, full)
	for _, t := range a.tiers {
		if percent, err := strconv.ParseInt(strings.TrimSuffix(t.At, "%"), 10, 64); err == nil {
			reach(percent, t.Do)
		}
	}
	name := "budget " + a.budget
	if a.key != "" {
		name += " for " + a.key
	}
	key := fmt.Sprintf("%s/%d/%s/%s", a.budget, a.version, a.window(), a.key)
	facts := map[string]string{"budget": a.budget, "version": strconv.FormatInt(a.version, 10), "limit_usd": dollars(a.limit), "settled_usd": dollars(a.settled), "held_usd": dollars(a.held)}
	if a.key != "" {
		facts["account"] = a.key
	}
	if a.start != nil {
		facts["window_start"] = a.start.UTC().Format(time.RFC3339)
	}
	if a.end != nil {
		facts["window_end"] = a.end.UTC().Format(time.RFC3339)
	}
	if at >= 0 {
		reached := with(facts, "tier", fmt.Sprintf("%d%%", at), "effect", do)
		found = append(found, Alert{Org: a.org, Kind: Tier, Key: fmt.Sprintf("%s/%d%%", key, at), Facts: reached,
			Text: fmt.Sprintf("%s reached %d%% (%s): $%s of $%s are spent or held", name, at, do, dollars(used), dollars(a.limit))})
	}
	if amount, how := forecast.Of(a.settled, a.held, a.start, a.end, a.now); amount != nil && amount.Cmp(a.limit) > 0 && at < 100 {
		found = append(found, Alert{Org: a.org, Kind: Forecast, Key: key, Facts: with(facts, "forecast_usd", dollars(amount), "made_by", how),
			Text: fmt.Sprintf("%s is on its way to $%s by %s, beyond its limit of $%s", name, dollars(amount), a.end.UTC().Format("2006-01-02 15:04 UTC"), dollars(a.limit))})
	}
	return found
}

func with(facts map[string]string, pairs ...string) map[string]string {
	all := make(map[string]string, len(facts)+len(pairs)/2)
	for k, v := range facts {
		all[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

// dollars is an exact decimal.
func dollars(nano *big.Int) string {
	text := new(big.Rat).SetFrac(nano, big.NewInt(1_000_000_000)).FloatString(9)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// unmetered is once a day: what passed that nobody could read. Days that are older than alerts are kept are over.
func unmetered(ctx context.Context, tx pgx.Tx) ([]Alert, error) {
	m, err := markOf(ctx, tx, Unmetered) // it stays where it began: calls of a day may come late, and its alert is written down once
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
with found as materialized ( -- of an org each, so it is gathered from where they are; alerts are all in one place
  select org, day::text as day, sum(unmetered)::bigint as calls from keel.statements
  where unmetered > 0 and meter = '' and day >= greatest(($1::timestamptz at time zone 'UTC')::date, (now() at time zone 'UTC')::date - $2::int) group by org, day)
select org, day, calls from found f
where not exists (select from keel.alerts a where a.org = f.org and a.key = 'unmetered/' || f.day)
order by day, org limit $3`, m.through, keptDays-1, mostFound)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Alert, err error) {
		var day string
		var n int64
		err = row.Scan(&a.Org, &day, &n)
		a.Kind, a.Key, a.Facts = Unmetered, day, map[string]string{"day": day, "calls": strconv.FormatInt(n, 10)}
		a.Text = fmt.Sprintf("%d calls passed unmetered on %s: Keel could not read them, and their cost is in no budget", n, day)
		return a, err
	})
}

// unpriced is once for a day of calls and a model.
func unpriced(ctx context.Context, tx pgx.Tx) ([]Alert, error) {
	m, err := markOf(ctx, tx, Unpriced)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
with found as materialized (select org, provider, model, day, min(what) as what from (
  select d.org, coalesce(nullif(d.routed_provider, ''), d.provider) as provider, coalesce(nullif(d.routed_model, ''), d.model) as model, (d.decided_at at time zone 'UTC')::date::text as day, d.unpriced as what
  from keel.decisions d where d.stored_at > $1 and d.unpriced <> ''
  union all
  select c.org, coalesce(d.routed_provider, ''), c.model, (coalesce(d.decided_at, c.closed_at) at time zone 'UTC')::date::text, 'no rate for ' || array_to_string(c.unpriced, ', ')
  from keel.closeouts c left join keel.decisions d on d.org = c.org and d.decision_id = c.decision_id
  where c.stored_at > $1 and c.unpriced <> '{}') x
  group by 1, 2, 3, 4)
select org, provider, model, day, what from found f
where not exists (select from keel.alerts a where a.org = f.org and a.key = 'unpriced/' || f.day || '/' || f.provider || '/' || f.model)
order by day, org, provider, model limit $2`, m.since(), mostFound)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Alert, err error) {
		var provider, model, day, what string
		err = row.Scan(&a.Org, &provider, &model, &day, &what)
		a.Kind, a.Key, a.Facts = Unpriced, day+"/"+provider+"/"+model, map[string]string{"provider": provider, "model": model, "day": day, "why": what}
		a.Text = fmt.Sprintf("calls go to %s/%s, which has no price (%s): enforcing budgets deny them, and others charge the hold; add a Price document", provider, model, what)
		return a, err
	})
	if err != nil {
		return nil, err
	}
	return found, m.move(ctx, tx, len(found))
}

// missing tells of records that were gone before the audit log could take them.
func missing(ctx context.Context, tx pgx.Tx) ([]Alert, error) {
	rows, err := tx.Query(ctx, "select org, min(missing_since), count(*) from keel.outbox where missing_since is not null group by org order by org limit $1", mostFound)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Alert, err error) {
		var since time.Time
		var n int64
		err = row.Scan(&a.Org, &since, &n)
		a.Kind, a.Key, a.Facts = Verification, "missing/"+since.UTC().Format(time.RFC3339), map[string]string{"since": since.UTC().Format(time.RFC3339), "transactions": strconv.FormatInt(n, 10)}
		a.Text = "records were gone before the audit log could take them; run keel audit verify"
		return a, err
	})
}

// variancePercent is the share of what was recorded from which on a bill's variance is told.
const variancePercent = 1

// variance tells of bills that differ from the records, once for each run of keel reconcile.
func variance(ctx context.Context, tx pgx.Tx) ([]Alert, error) {
	m, err := markOf(ctx, tx, Variance)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
select r.org, r.reconciliation_id::text, r.provider, r.file, r.since, r.until, c.recorded::text, c.stated::text
from keel.reconciliations r
cross join lateral (select coalesce(sum(x.recorded_n), 0) as recorded, coalesce(sum(x.stated_n), 0) as stated
  from keel.reconciled x where x.org = r.org and x.reconciliation_id = r.reconciliation_id and x.stated_n is not null) c
where r.at > $3 and abs(c.stated - c.recorded) * 100 > c.recorded * $1::bigint
  and not exists (select from keel.alerts a where a.org = r.org and a.key = 'variance/' || r.reconciliation_id)
order by r.at, r.org limit $2`, variancePercent, mostFound, m.since())
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Alert, err error) {
		var id, provider, file, recordedText, statedText string
		var since, until time.Time
		if err := row.Scan(&a.Org, &id, &provider, &file, &since, &until, &recordedText, &statedText); err != nil {
			return a, err
		}
		recorded, ok := new(big.Int).SetString(recordedText, 10)
		stated, ok2 := new(big.Int).SetString(statedText, 10)
		if !ok || !ok2 {
			return a, fmt.Errorf("%q and %q are no numbers of nano-dollars", recordedText, statedText)
		}
		difference := dollars(new(big.Int).Sub(stated, recorded))
		a.Kind, a.Key = Variance, id
		a.Facts = map[string]string{"reconciliation": id, "provider": provider, "file": file, "since": since.UTC().Format(time.RFC3339), "until": until.UTC().Format(time.RFC3339),
			"recorded_usd": dollars(recorded), "stated_usd": dollars(stated), "variance_usd": difference}
		a.Text = fmt.Sprintf("the bill of %s (%s) says $%s, and $%s are recorded: a variance of $%s", provider, file, dollars(stated), dollars(recorded), difference)
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	return found, m.move(ctx, tx, len(found))
}
