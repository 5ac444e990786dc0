-- What a bill needs: the provider's own figure beside ours, answers whose
-- usage comes later, prices on more terms and in other currencies, and the
-- settings column that 001 forgot.

alter table keel.settings add column malformed text not null default 'deny',
  add constraint "malformed must be pass or deny" check (malformed in ('pass', 'deny'));

alter table keel.closeouts
  add column provider_cost_usd numeric,                -- as the provider states it; null: it does not say
  add column response_id text collate "C" not null default '',
  add column exchange_rate text; -- that turned the price's currency into USD: EUR/USD=1.0842@2026-01-01T00:00:00Z
-- presumed closeouts that a later call may fulfil
create index closeouts_awaited on keel.closeouts (org, response_id) where presumed and response_id <> '';

-- As in 003, with two columns more: what the provider says that the call cost,
-- and by how much our figure is above it.
create or replace view keel.spend_records as
select d.decision_id, d.org, d.decided_at,
  case when d.action = 'deny' then d.decided_at else c.closed_at end as closed_at,
  d.subject, d.api, coalesce(nullif(d.routed_provider, ''), d.provider) as provider, nullif(d.route, '') as route,
  d.model as model_requested, coalesce(nullif(d.routed_model, ''), d.model) as model_routed, d.action, d.reason,
  d.input_tokens as estimated_input_tokens, d.output_tokens as estimated_output_tokens,
  case when d.unpriced = '' and not d.unmetered then keel.usd(d.expected_n) end as estimated_cost_usd,
  case when d.unpriced = '' and not d.unmetered then keel.usd(d.bound_n) end as bound_cost_usd,
  keel.usd(d.held_n) as held_usd,
  case when d.action = 'deny' then 0 else greatest(c.attempts, a.attempts) end as attempts,
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
  null::uuid as epoch, null::bigint as seq, null::bytea as leaf_hash,
  d.bound_kind, d.debt, c.detail, a.flags as response_flags, a.details as response_code_details, d.replica,
  c.provider_cost_usd, case when c.cost_known then keel.usd(c.cost_n) - c.provider_cost_usd end as cost_difference_usd
from keel.decisions d
left join keel.closeouts c on c.org = d.org and c.decision_id = d.decision_id
left join keel.annotations a on a.org = d.org and a.decision_id = d.decision_id
union all
-- closeouts whose decision has not come (yet): shown, because spend must not hide
select c.decision_id, c.org, null, c.closed_at, null, null, null, null, null, c.model, null, 'closed out, but no decision was recorded', null, null,
  null, null, null, c.attempts, c.input_tokens, c.cached_input_tokens, c.cache_write_tokens, c.output_tokens, c.reasoning_tokens,
  case when c.cost_known then keel.usd(c.cost_n) end, c.metered, c.outcome, nullif(c.http_status, 0), '[]', null, null, null, null,
  null, null, c.detail, null, null, null,
  c.provider_cost_usd, case when c.cost_known then keel.usd(c.cost_n) - c.provider_cost_usd end
from keel.closeouts c
where not exists (select from keel.decisions d where d.org = c.org and d.decision_id = c.decision_id);

create or replace function keel.is_meter(name text) returns boolean language sql immutable as $$
  select name in ('input', 'cached_input', 'cache_write_5m', 'cache_write_1h', 'input_audio', 'cached_input_audio', 'input_image',
    'cached_input_image', 'input_video', 'unbilled_input', 'unbilled_cached_input', 'output', 'reasoning', 'output_audio', 'output_image',
    'output_video', 'unbilled_output', 'web_search', 'file_search', 'code_interpreter', 'hosted_tools', 'calls', 'search_units', 'pages',
    'input_seconds', 'output_seconds', 'characters', 'images', 'cache_storage')
$$;

create function keel.is_by_million(name text) returns boolean language sql immutable as $$
  select name not in ('web_search', 'file_search', 'code_interpreter', 'hosted_tools', 'calls', 'search_units', 'pages',
    'input_seconds', 'output_seconds', 'images')
$$;

-- {"input": 1.25}: rates of meters, each whole pico-dollars (or the same of another currency) a unit
create function keel.is_rates(j jsonb, decimals int, most numeric) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) = 'object' then not exists (
    select from jsonb_each(j) r
    where not keel.is_meter(r.key) or case when jsonb_typeof(r.value) = 'number'
      then (r.value #>> '{}')::numeric not between 0 and most or scale(trim_scale((r.value #>> '{}')::numeric)) > decimals
      else true end)
    else false end
$$;

-- [{"above": 0, "per_million": {"input": 1.25}, "per_unit": {"web_search": 0.01}}]: a meter is in one of
-- the two, tokens, characters and cache storage by the million, the others by the unit. Searches and
-- calls may be by the million, as they were before there was per_unit.
create or replace function keel.is_rate_steps(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) = 'array' and j <> '[]' then not exists (
    select from (
      select s.value as v, s.n,
        case when s.value->>'above' ~ '^[0-9]{1,15}$' then (s.value->>'above')::bigint end as above,
        lag(case when s.value->>'above' ~ '^[0-9]{1,15}$' then (s.value->>'above')::bigint end) over (order by s.n) as before
      from jsonb_array_elements(j) with ordinality s(value, n)) x
    where jsonb_typeof(v) <> 'object' or v - array['above', 'per_million', 'per_unit'] <> '{}'
      or above is null or (n = 1 and above <> 0) or above <= before
      or not (v ? 'per_million' or v ? 'per_unit')
      or not keel.is_rates(coalesce(v->'per_million', '{}'), 6, 9000000000000)
      or not keel.is_rates(coalesce(v->'per_unit', '{}'), 12, 9000000)
      or exists (select from jsonb_object_keys(case jsonb_typeof(v->'per_million') when 'object' then v->'per_million' else '{}' end) k
        where not keel.is_by_million(k) and k not in ('web_search', 'calls') or v->'per_unit' ? k)
      or exists (select from jsonb_object_keys(case jsonb_typeof(v->'per_unit') when 'object' then v->'per_unit' else '{}' end) k
        where keel.is_by_million(k)))
    else false end
$$;

alter table keel.prices
  add column region text not null default '',
  add column search_context text not null default '',
  add column daily text not null default '', -- 16:30-00:30, UTC
  add column currency text not null default 'USD',
  drop constraint "rates: [{above: 0, per_million: {meter: dollars >= 0}}]",
  add constraint "rates: [{above: 0, per_million: {input: 1}, per_unit: {}}]" check (keel.is_rate_steps(rates)),
  add constraint "search_context must be low, medium, high or empty" check (search_context in ('', 'low', 'medium', 'high')),
  add constraint "daily must be like 16:30-00:30 or empty" check (daily = ''
    or daily ~ '^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$' and split_part(daily, '-', 1) <> split_part(daily, '-', 2)),
  add constraint "currency must be an ISO 4217 code like USD" check (currency ~ '^[A-Z]{3}$');

-- One "from" is rate "to".
create table keel.exchange_rates (
  org            text collate "C" not null default 'default',
  name           text collate "C" not null,
  "from"         text    not null,
  "to"           text    not null default 'USD',
  rate           numeric not null,
  effective_from timestamptz,
  version        bigint  not null,
  updated_at     timestamptz not null,
  updated_by     text    not null,
  primary key (org, name),
  constraint "org and name must not be empty" check (org <> '' and name <> ''),
  constraint "from and to must be ISO 4217 codes like EUR" check ("from" ~ '^[A-Z]{3}$' and "to" ~ '^[A-Z]{3}$'),
  constraint "either from or to must be USD" check (("from" = 'USD') <> ("to" = 'USD')),
  constraint "rate must be a number above 0" check (rate > 0 and rate < 'Infinity'),
  constraint "rate must have at most 18 decimals" check (scale(trim_scale(rate)) <= 18),
  constraint "rate has too many digits" check (
    rate >= 'Infinity' or rate * power(10::numeric, least(scale(trim_scale(rate)), 18)) < 9223372036854775808),
  constraint "effective_from must be a finite time" check (isfinite(effective_from))
);
create trigger config_before before insert or update or delete on keel.exchange_rates
  for each row execute function keel.config_before('ExchangeRate');
create trigger config_after after insert or update or delete on keel.exchange_rates
  for each row execute function keel.config_after('ExchangeRate');
create trigger config_truncate before truncate on keel.exchange_rates execute function keel.config_truncate();

-- What an estimate was made of, so that its closeout can teach the estimator.
alter table keel.decisions add column estimate jsonb not null default '{}';
create index closeouts_stored_at on keel.closeouts (stored_at);

-- What was learned from closeouts, each row all of it. Decisions name the
-- version in method. One replica at a time adds rows; all follow the last.
create table keel.calibrations (
  id           bigint generated always as identity primary key,
  version      text not null,
  stored_at    timestamptz not null default now(),
  observations bigint not null,      -- since the row before
  through      timestamptz not null, -- closeouts stored up to here were looked at
  snapshot     jsonb not null
);
