package ledger

// check is a query that returns a row for everything that is wrong: org, budget, account, what.
type check struct{ name, what, sql string }

// The accounts that closeouts charged and decisions hold, and how an account is named.
const (
	chargedRows = `
select c.org, x.budget collate "C" as budget, x.key collate "C" as account_key, x.start as window_start, x."end" as window_end,
  x.held, x.amount, x.leased, c.decision_id, c.lease, c.cost_known, c.cost_n
from keel.closeouts c cross join lateral jsonb_to_recordset(c.charges)
  as x(budget text, key text, start timestamptz, "end" timestamptz, held bigint, amount bigint, leased boolean)
where c.charges is not null`
	heldRows = `
select o.org, x.budget collate "C" as budget, x.key collate "C" as account_key, x.start as window_start, x."end" as window_end,
  x.amount + coalesce(e.more_n[x.n], 0) as amount, x.leased, o.decision_id, o.epoch
from keel.open_decisions o join keel.decisions d on d.org = o.org and d.decision_id = o.decision_id
left join keel.extended e on e.org = o.org and e.decision_id = o.decision_id
cross join lateral rows from (jsonb_to_recordset(d.holds) as (budget text, key text, start timestamptz, "end" timestamptz, amount bigint, leased boolean))
  with ordinality as x(budget, key, start, "end", amount, leased, n)
where o.opened`
	// Epochs that began before may have lost records to Retire.
	retiredBefore  = `select keel.uuid_at(greatest(retired, '1970-01-01Z')) from keel.db_state`
	accountName    = `format('%s [%s, %s)', account_key, window_start, window_end)`
	accountColumns = `org, budget, account_key, window_start, window_end`
)

var checks = []check{
	{"I1", "settled + leased ≤ the highest ceiling + forced", `
select org, budget, ` + accountName + `, format('settled %s + leased %s > ceiling %s + forced %s', settled_n, leased_n, high_n, forced_n)
from keel.accounts where settled_n::numeric + leased_n > high_n::numeric + forced_n`},

	{"I2", "settled = Σ charges + what was written off or retired", `
select org, budget, ` + accountName + `, format('settled %s, charges and entries %s', coalesce(a.settled_n, 0), coalesce(x.n, 0))
from keel.accounts a full join (
  select ` + accountColumns + `, sum(n) as n from (
    select ` + accountColumns + `, amount::numeric as n from (` + chargedRows + `) c
    union all
    select ` + accountColumns + `, amount_n from keel.entries where kind in ('forfeit', 'forfeit_fix', 'retired')) y
  group by ` + accountColumns + `) x using (` + accountColumns + `)
where coalesce(a.settled_n, 0) <> coalesce(x.n, 0)`},

	{"I3", "leased = Σ slices", `
select org, budget, ` + accountName + `, format('leased %s, slices %s', coalesce(a.leased_n, 0), coalesce(x.n, 0))
from keel.accounts a full join (
  select ` + accountColumns + `, sum(granted_n::numeric - consumed_n - returned_n - forfeited_n) as n from keel.leases group by ` + accountColumns + `) x using (` + accountColumns + `)
where coalesce(a.leased_n, 0) <> coalesce(x.n, 0)`},

	{"I3", "no slice is below zero, and one of a finished epoch is empty", `
select l.org, l.budget, ` + accountName + `, format('epoch %s: granted %s, consumed %s, returned %s, written off %s', l.epoch, granted_n, consumed_n, returned_n, forfeited_n)
from keel.leases l left join keel.epochs e on e.org = l.org and e.epoch = l.epoch
where least(granted_n, consumed_n, returned_n, forfeited_n, granted_n - consumed_n - returned_n - forfeited_n) < 0
  or e.state = 'finished' and granted_n <> consumed_n + returned_n + forfeited_n or e.epoch is null`},

	{"I3", "what a slice returned, and what was written off, have their entries", `
select l.org, l.budget, ` + accountName + `, format('epoch %s: returned %s, entries %s; written off %s, entries %s', l.epoch, l.returned_n, coalesce(x.returned, 0), l.forfeited_n, coalesce(x.forfeited, 0))
from keel.leases l left join (
  select ` + accountColumns + `, epoch, sum(amount_n) filter (where kind in ('return', 'finish')) as returned, sum(amount_n) filter (where kind in ('forfeit', 'forfeit_fix')) as forfeited
  from keel.entries where kind in ('return', 'finish', 'forfeit', 'forfeit_fix') group by ` + accountColumns + `, epoch) x using (` + accountColumns + `, epoch)
where l.returned_n <> coalesce(x.returned, 0) or l.forfeited_n <> coalesce(x.forfeited, 0)`},

	{"I4", "the numbers of a journal are dense", `
select org, '', '', format('epoch %s: settled up to %s, stored are %s records from %s to %s, of %s numbers', epoch, e.applied_seq, coalesce(x.n, 0), x.first, x.last, coalesce(x.numbers, 0))
from keel.epochs e full join (
  select org, epoch, count(*) as n, count(distinct seq) as numbers, min(seq) as first, max(seq) as last from (
    select org, epoch, seq from keel.decisions where seq is not null
    union all select org, epoch, seq from keel.closeouts where seq is not null
    union all select org, epoch, seq from keel.entries where seq is not null) y
  group by org, epoch) x using (org, epoch)
where coalesce(x.n, 0) <> coalesce(x.numbers, 0) or coalesce(x.last, 0) > coalesce(e.applied_seq, 0)
  or epoch >= (` + retiredBefore + `) and coalesce(e.applied_seq, 0) <> coalesce(x.n, 0)`},

	{"I5", "a closeout charges what its decision held", `
select org, '', '', format('decision %s: holds %s, charges %s', decision_id, h.holds, coalesce(c.charges::text, 'none'))
from (select org, decision_id, (select coalesce(jsonb_agg(jsonb_build_array(x->'budget', x->'key', (x->>'start')::timestamptz, (x->>'end')::timestamptz,
      case when e.more_n is null then x->'amount' else to_jsonb((x->>'amount')::bigint + coalesce(e.more_n[n], 0)) end, x->'leased') order by n), '[]')
    from jsonb_array_elements(holds) with ordinality y (x, n)) as holds from keel.decisions left join keel.extended e using (org, decision_id)) h
join (select org, decision_id, (select coalesce(jsonb_agg(jsonb_build_array(x->'budget', x->'key', (x->>'start')::timestamptz, (x->>'end')::timestamptz, x->'held', x->'leased') order by n), '[]')
    from jsonb_array_elements(charges) with ordinality y (x, n)) as charges from keel.closeouts) c using (org, decision_id)
where h.holds <> coalesce(c.charges, '[]')`},

	{"I5", "a permitted decision is open or closed, and not both", `
select org, '', '', format('decision %s is %s', decision_id, case when c.decision_id is null then 'neither open nor closed' else 'open and closed' end)
from keel.decisions d left join keel.closeouts c using (org, decision_id) left join keel.open_decisions o using (org, decision_id)
where d.action <> 'deny' and not (d.unmetered and d.holds = '[]') and (c.decision_id is null) = (o.decision_id is null or not o.opened)`},

	{"I5", "an extension has its decision, and an amount for each of its holds", `
select e.org, '', '', format('decision %s, record %s of epoch %s: %s', e.decision_id, e.seq, e.epoch,
  case when d.decision_id is null then 'no decision' when d.epoch <> e.epoch or d.seq >= e.seq then 'the decision is record ' || d.seq || ' of epoch ' || d.epoch else 'amounts ' || e.more_n::text || ' for ' || jsonb_array_length(d.holds) || ' holds' end)
from keel.entries e left join keel.decisions d using (org, decision_id)
where e.kind = 'extension' and (d.decision_id is null and e.decision_id >= (` + retiredBefore + `) or d.epoch <> e.epoch or d.seq >= e.seq
  or cardinality(e.more_n) <> jsonb_array_length(d.holds) or 0 > any(e.more_n))`},

	{"I6", "what is open belongs to an epoch that is not finished, and has a decision", `
select o.org, '', '', format('decision %s of epoch %s: %s', o.decision_id, o.epoch, case when d.decision_id is null then 'no decision' else 'the epoch is finished' end)
from keel.open_decisions o left join keel.decisions d using (org, decision_id) left join keel.epochs e on e.org = o.org and e.epoch = o.epoch
where o.opened and (d.decision_id is null or e.state = 'finished')`},

	{"I7", "held = Σ holds of open decisions", `
select org, budget, ` + accountName + `, format('held %s, open decisions %s', coalesce(a.held_n, 0), coalesce(x.n, 0))
from keel.accounts a full join (select ` + accountColumns + `, sum(amount::numeric) as n from (` + heldRows + `) h group by ` + accountColumns + `) x using (` + accountColumns + `)
where coalesce(a.held_n, 0) <> coalesce(x.n, 0)`},

	{"I7", "what a slice holds = Σ leased holds of its epoch's open decisions", `
select org, budget, ` + accountName + `, format('epoch %s: held %s, open decisions %s', epoch, coalesce(l.held_n, 0), coalesce(x.n, 0))
from keel.leases l full join (select ` + accountColumns + `, epoch, sum(amount::numeric) as n from (` + heldRows + `) h where leased group by ` + accountColumns + `, epoch) x using (` + accountColumns + `, epoch)
where coalesce(l.held_n, 0) <> coalesce(x.n, 0)`},

	{"I12", "every record is a leaf of the audit log, or on its way there", `
select org, '', '', format('%s %s version %s is %s', kind, id, version, case when r.id is null then 'announced, and not there' when o.n is null then 'neither in keel.leaves nor in keel.outbox' else 'announced again' end)
from (
  select org, 'decision' as kind, decision_id as id, 1 as version from keel.decisions
  union all select org, 'closeout', decision_id, version from keel.closeouts
  union all select org, 'closeout', decision_id, version from keel.superseded_closeouts
  union all select org, 'entry', entry_id, 1 from keel.entries
  union all select org, 'config', change_id, 1 from keel.config_versions
  union all select '', 'key', key_id, 1 from keel.audit_keys) r
full join (
  select org, kind, id, version, count(*) as n from (
    select o.org, o.kind, i.id, coalesce(o.versions[i.n], 1) as version from keel.outbox o cross join unnest(o.ids) with ordinality i (id, n)) x
  group by org, kind, id, version) o using (org, kind, id, version)
left join keel.leaves l using (org, kind, id, version)
where r.id is null or coalesce(o.n, 0) + (l.id is not null)::int <> 1`},

	{"I10", "a rolling window never had more than the ceiling + forced", `
select org, budget, format('%s [.., %s)', account_key, window_end), format('settled + leased %s > ceiling %s + forced %s', n, high, forced)
from (
  select a.org, a.budget, a.account_key, a.window_end, s.*
  from keel.accounts a join keel.limits l on l.org = a.org and l.budget = a.budget
  cross join lateral (
    select sum(b.settled_n::numeric + b.leased_n) as n, max(b.high_n) as high, sum(b.forced_n::numeric) as forced
    from keel.accounts b
    where b.org = a.org and b.budget = a.budget and b.account_key = a.account_key and b.window_end = b.window_start + l.rolling_us / 60 * interval '1 microsecond'
      and b.window_end <= a.window_end and b.window_end > a.window_end - l.rolling_us * interval '1 microsecond') s
  where a.window_end = a.window_start + l.rolling_us / 60 * interval '1 microsecond') x
where n > high + forced`},

	{"I11", "a charge is the cost of its closeout, or the hold and no less where that is not known", `
select org, budget, ` + accountName + `, format('decision %s: charged %s, held %s, cost %s, known: %s', decision_id, amount, held, cost_n, cost_known)
from (` + chargedRows + `) c where amount <> case when cost_known then cost_n else greatest(held, cost_n) end`},

	{"I11", "the limit that a decision saw is that of the version it names", `
select d.org, h->>'budget', h->>'key', format('decision %s saw %s in version %s, which says %s USD', d.decision_id, h->>'limit', h->>'version', v.after->>'limit_usd')
from keel.decisions d cross join lateral jsonb_array_elements(d.holds) h
join keel.config_versions v on v.org = d.org and v.kind = 'Budget' and v.name = h->>'budget' and v.version = (h->>'version')::bigint
where keel.nanos((v.after->>'limit_usd')::numeric) <> (h->>'limit')::bigint`},

	{"I11", "the limit in force is that of its version", `
select org, budget, '', format('version %s: limit %s, ceiling %s; the budget of version %s says %s USD', l.version, l.limit_n, l.ceiling_n, b.version, b.limit_usd)
from keel.limits l full join (select org, name as budget, version, limit_usd, tiers from keel.budgets) b using (org, budget)
where l.budget is null or b.budget is null
  or (coalesce(l.pending_version, l.version), coalesce(l.pending_limit_n, l.limit_n), coalesce(l.pending_ceiling_n, l.ceiling_n))
    is distinct from (b.version, keel.nanos(b.limit_usd), keel.ceiling_n(b.limit_usd, b.tiers))`},

	// What waits in the outbox is left out on both sides. The days around the records that Retire dropped are in part gone.
	{"I13", "statements = Σ records", `
with waits as (select org, d.id as decision_id from keel.statement_outbox cross join unnest(decisions) d (id)),
waits_end as (select org, c.id as decision_id from keel.statement_outbox cross join unnest(closeouts || replaced) c (id) union select p.org, p.decision_id from keel.statement_provisional p join waits using (org, decision_id)),
x as (
  select org, day, team, provider, model, meter, sum(quantity) as quantity, sum(amount_n) as amount_n, array[sum(calls), sum(denied), sum(unmetered), sum(closed), sum(estimated), sum(unknown), sum(estimated_n)] as counts
  from (
    select org, day, team, provider, model, '' collate "C" as meter, 0 as quantity, 0 as amount_n, 1 as calls, denied, unmetered, 0 as closed, 0 as estimated, 0 as unknown, 0 as estimated_n
    from keel.statement_decisions d where not exists (select from waits w where w.org = d.org and w.decision_id = d.decision_id)
    union all
    select org, day, team, provider, model, meter, quantity, amount_n, 0, 0, 0, closed, estimated, unknown, estimated_n
    from keel.statement_closeouts c where not exists (select from waits_end w where w.org = c.org and w.decision_id = c.decision_id)
    union all
    select org, day, team, provider, model, meter, quantity, amount_n, 0, 0, 0, closed, estimated, unknown, estimated_n
    from keel.statement_provisional p where exists (select from waits_end w where w.org = p.org and w.decision_id = p.decision_id)) y
  group by org, day, team, provider, model, meter)
select org, '', '', format('%s, team %s, %s/%s, meter %s: statements say %s of %s nano-dollars, counts %s; records say %s of %s, counts %s',
  day, team, provider, model, meter, coalesce(s.quantity, 0), coalesce(s.amount_n, 0), coalesce(s.counts, '{}'), coalesce(x.quantity, 0), coalesce(trim_scale(x.amount_n), 0), coalesce(x.counts, '{}'))
from (select org, day, team, provider, model, meter, quantity, amount_n, array[calls, denied, unmetered, closed, estimated, unknown, estimated_n] as counts from keel.statements) s
full join x using (org, day, team, provider, model, meter)
where (coalesce(s.quantity, 0), coalesce(s.amount_n, 0), coalesce(s.counts, array[0, 0, 0, 0, 0, 0, 0]::numeric[])) <> (coalesce(x.quantity, 0), coalesce(x.amount_n, 0), coalesce(x.counts, array[0, 0, 0, 0, 0, 0, 0]::numeric[]))
  and day > (select (greatest(retired, '1970-01-01Z') at time zone 'UTC')::date + 2 from keel.db_state)`},

	// Accepting a cause of a cell adds what is not accepted of it yet, so the true-ups of it come to the difference that the newest of them refers to.
	{"I14", "accepted true-ups = the difference that they accept", `
select a.org, '', '', format('%s, %s/%s, account %s, meter %s, cause %s: true-ups come to %s nano-dollars, reconciliation %s says %s', a.day, a.provider, a.model, a.account, a.meter, a.cause, a.amount_n, a.reconciliation_id, coalesce(trim_scale(x.n)::text, 'nothing'))
from (select org, provider, day, model, account, meter, cause, sum(amount_n) as amount_n, (array_agg(reconciliation_id order by at desc, adjustment_id))[1] as reconciliation_id, (array_agg(cell order by at desc, adjustment_id))[1] as cell
  from keel.adjustments where source = 'reconcile' group by org, provider, day, model, account, meter, cause) a
left join lateral (
  select sum((c->>'usd')::numeric) * 1000000000 as n
  from keel.reconciliations r join keel.reconciled x on x.org = r.org and x.reconciliation_id = r.reconciliation_id cross join lateral jsonb_array_elements(x.causes) c
  where r.org = a.org and r.reconciliation_id = a.reconciliation_id and r.provider = a.provider and x.n = a.cell and (x.day, x.model, x.account, x.meter) = (a.day, a.model, a.account, a.meter) and c->>'cause' = a.cause) x on true
where a.amount_n is distinct from x.n`},
}
