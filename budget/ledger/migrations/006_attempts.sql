-- The cost envelope of a call, and its attempts.

alter table keel.settings
  add column max_attempts bigint not null default 1,
  add column unknown_attempt text not null default 'full',
  add column policies text not null default 'all',
  add constraint "policies must be all or first" check (policies in ('all', 'first')),
  add column output_floor bigint not null default 256, -- tokens
  add constraint "output_floor must be 1 or more" check (output_floor > 0),
  add constraint "max_attempts must be 1 to 100" check (max_attempts between 1 and 100),
  add constraint "unknown_attempt must be full, input or none" check (unknown_attempt in ('full', 'input', 'none'));

-- A budget for each run that the labels of per name: a call that lacks one does not fall under it.
alter table keel.budgets
  add column template boolean not null default false,
  add constraint "a template needs per: the labels that name a run" check (not template or per <> '{}');

alter table keel.routes
  add column max_attempts bigint, -- null: as the settings say
  add constraint "max_attempts must be 1 to 100" check (max_attempts between 1 and 100);

create or replace function keel.is_targets(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) = 'array' and j <> '[]' then not exists (
    select from jsonb_array_elements(j) t(v)
    where jsonb_typeof(v) <> 'object' or v - array['provider', 'model', 'quality', 'lacks', 'credential'] <> '{}'
      or coalesce(jsonb_typeof(v->'provider') <> 'string' or v->>'provider' = '', true)
      or coalesce(jsonb_typeof(v->'model') <> 'string' or v->>'model' = '', true)
      or case when v ? 'lacks' then not coalesce(v->'lacks' <@ '["tools", "images", "schema"]', false) end
      or case when v ? 'credential' then coalesce(v->>'credential' not in ('client', 'injected'), true) end
      or case jsonb_typeof(v->'quality') when 'number' then (v->>'quality')::numeric not between 0 and 1 else v ? 'quality' end)
    else false end
$$;

-- {"deny": "reason"}, {"constrain": {"max_output_tokens": 1024, "choices": 1, "tools": "none", "reasoning_effort": "low", "service_tier": "flex"}}, {"route": "name"}, {"warn": "text"} or {"tag": {"label": "value"}}
create or replace function keel.is_policy_action(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) <> 'object' then false
    when j - 'deny' = '{}' then coalesce(jsonb_typeof(j->'deny') = 'string' and j->>'deny' <> '', false)
    when j - 'route' = '{}' then coalesce(jsonb_typeof(j->'route') = 'string' and j->>'route' <> '', false)
    when j - 'warn' = '{}' then coalesce(jsonb_typeof(j->'warn') = 'string' and j->>'warn' <> '', false)
    when j - 'tag' = '{}' then coalesce(jsonb_typeof(j->'tag') = 'object' and j->'tag' <> '{}'
      and not exists (select from jsonb_each(j->'tag') t(k, v) where k = '' or jsonb_typeof(v) <> 'string'), false)
    when j - 'constrain' = '{}' then coalesce(jsonb_typeof(j->'constrain') = 'object' and j->'constrain' <> '{}'
      and (j->'constrain') - array['max_output_tokens', 'choices', 'tools', 'reasoning_effort', 'service_tier'] = '{}'
      and coalesce(j->'constrain'->>'max_output_tokens', '1') ~ '^[1-9][0-9]{0,9}$' and coalesce(j->'constrain'->>'choices', '1') ~ '^[1-9][0-9]{0,9}$'
      and coalesce(j->'constrain'->>'tools', 'none') in ('none', 'own')
      and coalesce(j->'constrain'->>'reasoning_effort', 'none') in ('none', 'minimal', 'low', 'medium', 'high', 'xhigh')
      and coalesce(j->'constrain'->>'service_tier', 'x') <> '', false)
    else false end
$$;

-- {limit_usd, max_attempts, mode, unknown}; null for a call that none was made for.
alter table keel.decisions add column envelope jsonb;

-- [{by, provider, model, expected_usd, bound_usd, unpriced}]: where a route, each of its modes and the request itself would
-- send the call; null without a route.
alter table keel.decisions add column route_choices jsonb;

-- [{number, at, provider, model, address, ended, status, bound_usd, broke, cost_usd, basis, usage, detail}],
-- in the order of their numbers; null where the filter in the cluster saw none. Their costs sum to that of the closeout.
alter table keel.closeouts add column attempt_rows jsonb;

-- One row an attempt.
create view keel.attempts as
select c.decision_id, c.org, x.number as attempt, x.at as started_at, x.provider, x.model, x.address, x.ended, nullif(x.status, 0) as http_status,
  x.bound_usd, coalesce(x.broke, false) as broke_envelope, x.cost_usd, x.basis, x.usage, x.detail
from keel.closeouts c cross join lateral jsonb_to_recordset(c.attempt_rows)
  as x(number integer, at timestamptz, provider text, model text, address text, ended text, status integer,
    bound_usd numeric, broke boolean, cost_usd numeric, basis text, usage jsonb, detail text);

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
    when d.held_n is not null then keel.usd(greatest(d.held_n, c.cost_n))
    when d.unpriced = '' and not d.unmetered then keel.usd(greatest(d.bound_n, c.cost_n))
  end as actual_cost_usd,
  case when d.action = 'deny' then 'none' else coalesce(c.metered, 'none') end as metered,
  case when d.action = 'deny' then 'denied' when d.unmetered then coalesce(c.outcome, 'unmetered') else coalesce(c.outcome, 'open') end as outcome,
  coalesce(nullif(c.http_status, 0), nullif(a.http_status, 0), (d.denial->>'status')::integer) as http_status,
  d.rules, nullif(d.price_version, '') as price_version,
  case when d.seq is not null then d.epoch end as epoch, d.seq, null::bytea as leaf_hash,
  d.bound_kind, d.debt, c.detail, a.flags as response_flags, a.details as response_code_details, d.epoch as replica,
  c.provider_cost_usd, case when c.cost_known then keel.usd(c.cost_n) - c.provider_cost_usd end as cost_difference_usd,
  (d.envelope->>'limit_usd')::numeric as envelope_usd
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
  null
from keel.closeouts c
where not exists (select from keel.decisions d where d.org = c.org and d.decision_id = c.decision_id);

-- How targets did lately, as each replica saw them. The counts are worth half every 20 s after at.
create table keel.target_health (
  epoch      uuid not null,
  provider   text not null,
  model      text not null,
  at         timestamptz not null,
  good       double precision not null,
  bad        double precision not null,
  latency_us bigint not null,
  primary key (epoch, provider, model)
);
