-- The functions below cut time as package budget does (window.go); a test compares them.

-- first_instant is the first instant at which a clock in the zone shows the
-- local time. AT TIME ZONE alone takes the second of two, and some zones turn
-- their clocks back over midnight.
create function keel.first_instant(l timestamp, tz text) returns timestamptz language sql stable as $$
  select min(i) from (
    select l at time zone tz as i
    union all
    select (l at time zone tz) - d from unnest(array[interval '30 minutes', interval '1 hour', interval '2 hours', interval '24 hours']) d
    where ((l at time zone tz) - d) at time zone tz = l) x
$$;

-- zone_change is the instant in (a, b] at which the offset of the zone changes.
create function keel.zone_change(a timestamptz, b timestamptz, tz text) returns timestamptz language plpgsql stable as $$
declare
  m timestamptz;
  offset_b interval = (b at time zone tz) - (b at time zone 'UTC');
begin
  while b - a > interval '1 second' loop
    m = date_trunc('second', a + (b - a) / 2);
    if m <= a then
      m = a + interval '1 second';
    end if;
    if (m at time zone tz) - (m at time zone 'UTC') = offset_b then
      b = m;
    else
      a = m;
    end if;
  end loop;
  return date_trunc('second', b);
end
$$;

-- window_bounds is the window of a kind that contains an instant: start
-- included, end excluded. A lifetime has neither: both are null.
create function keel.window_bounds("window" text, tz text, at timestamptz, out window_start timestamptz, out window_end timestamptz)
language plpgsql stable as $$
declare
  l timestamp = at at time zone tz;
  off interval = (at at time zone tz) - (at at time zone 'UTC');
  step interval;
begin
  if "window" = 'lifetime' then
    return;
  elsif "window" = 'hour' then
    -- At the full hours of the local clock, and where its offset changes in
    -- between: an hour that a clock shows twice is two windows.
    window_start = at - (l - date_trunc('hour', l));
    window_end = window_start + interval '1 hour';
    if (window_start at time zone tz) - (window_start at time zone 'UTC') <> off then
      window_start = keel.zone_change(window_start, at, tz);
    end if;
    if ((window_end - interval '1 second') at time zone tz) - ((window_end - interval '1 second') at time zone 'UTC') <> off then
      window_end = keel.zone_change(at, window_end - interval '1 second', tz);
    end if;
  elsif "window" in ('day', 'week', 'month', 'quarter', 'year') then
    step = case "window" when 'quarter' then interval '3 months' else ('1 ' || "window")::interval end;
    l = date_trunc("window", l);
    window_start = keel.first_instant(l, tz);
    window_end = keel.first_instant(l + step, tz);
    while at >= window_end loop -- the clock was turned back across midnight and shows the eve again
      l = l + step;
      window_start = window_end;
      window_end = keel.first_instant(l + step, tz);
    end loop;
  else
    raise exception 'unknown window "%"', "window" using errcode = 'invalid_parameter_value';
  end if;
end
$$;

create function keel.usd(n bigint) returns numeric language sql immutable as $$ select n * 0.000000001 $$;

create view keel.budget_status as
select b.name as budget, b.org, w.window_start, w.window_end, b.timezone, b.limit_usd,
  coalesce(a.settled_n, 0) * 0.000000001 as settled_usd,
  coalesce(a.held_n, 0) * 0.000000001 as held_usd,
  0::numeric as leased_usd,
  b.limit_usd - (coalesce(a.settled_n, 0) + coalesce(a.held_n, 0)) * 0.000000001 as remaining_usd,
  b.mode, b.version
from keel.budgets b
cross join lateral keel.window_bounds(b."window", b.timezone, now()) w
left join lateral (
  select sum(a.settled_n) as settled_n, sum(a.held_n) as held_n
  from keel.accounts a
  where a.org = b.org and a.budget = b.name and a.window_start = coalesce(w.window_start, '-infinity')
    and a.window_end = coalesce(w.window_end, 'infinity')) a on true;

create view keel.spend_records as
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
  d.bound_kind, d.debt, c.detail, a.flags as response_flags, a.details as response_code_details, d.replica
from keel.decisions d
left join keel.closeouts c on c.org = d.org and c.decision_id = d.decision_id
left join keel.annotations a on a.org = d.org and a.decision_id = d.decision_id
union all
-- closeouts whose decision has not come (yet): shown, because spend must not hide
select c.decision_id, c.org, null, c.closed_at, null, null, null, null, null, c.model, null, 'closed out, but no decision was recorded', null, null,
  null, null, null, c.attempts, c.input_tokens, c.cached_input_tokens, c.cache_write_tokens, c.output_tokens, c.reasoning_tokens,
  case when c.cost_known then keel.usd(c.cost_n) end, c.metered, c.outcome, nullif(c.http_status, 0), '[]', null, null, null, null,
  null, null, c.detail, null, null, null
from keel.closeouts c
where not exists (select from keel.decisions d where d.org = c.org and d.decision_id = c.decision_id);
