-- Extensions of holds: what was set aside more for a call while it ran.

-- An entry of kind extension has the number of its record, its decision, the time by the clock of the
-- replica, and what it adds to each hold, by position; amount_n is the largest of these. What a decision
-- holds is then amount + extensions of each hold: open_decisions and charges of closeouts are about that.
alter table keel.entries
  add column extended_at timestamptz,
  add column more_n bigint[],
  drop constraint entries_kind_check,
  add constraint entries_kind_check check (kind in ('return', 'finish', 'superseded', 'repeated', 'void', 'forfeit', 'forfeit_fix', 'retired', 'extension')),
  add constraint "an extension has a decision, a time and amounts" check (
    kind <> 'extension' or decision_id is not null and extended_at is not null and more_n is not null);
create index entries_extension on keel.entries (org, decision_id) where kind = 'extension';

-- What the extensions of a decision add to each of its holds, by position.
create view keel.extended as
select y.org, y.decision_id, array_agg(y.more order by y.n) as more_n
from (
  select e.org, e.decision_id, m.n, sum(m.more)::bigint as more
  from keel.entries e cross join lateral unnest(e.more_n) with ordinality m (more, n)
  where e.kind = 'extension'
  group by e.org, e.decision_id, m.n) y
group by y.org, y.decision_id;

-- As in 006, with what extensions added to the hold: in the budget where that was most.
create or replace view keel.spend_records as
select d.decision_id, d.org, d.decided_at,
  case when d.action = 'deny' then d.decided_at else c.closed_at end as closed_at,
  d.subject, d.api, coalesce(nullif(d.routed_provider, ''), d.provider) as provider, nullif(d.route, '') as route,
  d.model as model_requested, coalesce(nullif(d.routed_model, ''), d.model) as model_routed, d.action, d.reason,
  d.input_tokens as estimated_input_tokens, d.output_tokens as estimated_output_tokens,
  case when d.unpriced = '' and not d.unmetered then keel.usd(d.expected_n) end as estimated_cost_usd,
  case when d.unpriced = '' and not d.unmetered then keel.usd(d.bound_n) end as bound_cost_usd,
  keel.usd(d.held_n) as held_usd,
  case when d.action = 'deny' then 0 when c.attempt_rows is not null then c.attempts else greatest(c.attempts, a.attempts) end as attempts,
  c.input_tokens, c.cached_input_tokens, c.cache_write_tokens, c.output_tokens, c.reasoning_tokens,
  case
    when d.action = 'deny' then 0
    when c.decision_id is null then null
    when c.cost_known then keel.usd(c.cost_n)
    -- the hold with its extensions, which the charges have
    when d.held_n is not null then keel.usd(greatest((select max((x->>'held')::bigint) from jsonb_array_elements(c.charges) x), d.held_n, c.cost_n))
    when d.unpriced = '' and not d.unmetered then keel.usd(greatest(d.bound_n, c.cost_n))
  end as actual_cost_usd,
  case when d.action = 'deny' then 'none' else coalesce(c.metered, 'none') end as metered,
  case when d.action = 'deny' then 'denied' when d.unmetered then coalesce(c.outcome, 'unmetered') else coalesce(c.outcome, 'open') end as outcome,
  coalesce(nullif(c.http_status, 0), nullif(a.http_status, 0), (d.denial->>'status')::integer) as http_status,
  d.rules, nullif(d.price_version, '') as price_version,
  case when d.seq is not null then d.epoch end as epoch, d.seq, null::bytea as leaf_hash,
  d.bound_kind, d.debt, c.detail, a.flags as response_flags, a.details as response_code_details, d.epoch as replica,
  c.provider_cost_usd, case when c.cost_known then keel.usd(c.cost_n) - c.provider_cost_usd end as cost_difference_usd,
  (d.envelope->>'limit_usd')::numeric as envelope_usd,
  keel.usd((select max(n) from unnest((select e.more_n from keel.extended e where e.org = d.org and e.decision_id = d.decision_id)) n)) as extended_usd
from keel.decisions d
left join keel.closeouts c on c.org = d.org and c.decision_id = d.decision_id
left join keel.annotations a on a.org = d.org and a.decision_id = d.decision_id
union all
-- closeouts whose decision has not come (yet): shown, because spend must not hide
select c.decision_id, c.org, null, c.closed_at, null, null, null, null, null, c.model, null, 'closed out, but no decision was recorded', null, null,
  null, null, null, c.attempts, c.input_tokens, c.cached_input_tokens, c.cache_write_tokens, c.output_tokens, c.reasoning_tokens,
  case when c.cost_known then keel.usd(c.cost_n) end, c.metered, c.outcome, nullif(c.http_status, 0), '[]', null, null, null, null,
  null, null, c.detail, null, null, null,
  c.provider_cost_usd, case when c.cost_known then keel.usd(c.cost_n) - c.provider_cost_usd end,
  null, null
from keel.closeouts c
where not exists (select from keel.decisions d where d.org = c.org and d.decision_id = c.decision_id);
