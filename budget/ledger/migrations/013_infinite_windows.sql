-- As in 005, but for the length of a bucket, which is added and not subtracted: a budget that was for its lifetime and is
-- rolling now has an account whose bounds are infinite, and Postgres 16 can't subtract those. Every look at such a budget failed.
create or replace function keel.beyond(an_org text, a_budget text, ceiling bigint, rolling bigint,
  out account_key text, out window_start timestamptz, out window_end timestamptz, out excess numeric, out leased numeric)
returns setof record language sql volatile as $$
  select a.account_key, max(a.window_start), max(a.window_end), sum(a.settled_n::numeric + a.leased_n) - ceiling, sum(a.leased_n)
  from keel.accounts a
  where a.org = an_org and a.budget = a_budget
    and case when rolling is null then a.window_end > now() and a.window_start <= now()
      else a.window_end > now() - rolling * interval '1 microsecond' - interval '2 seconds'
        and a.window_end = a.window_start + rolling / 60 * interval '1 microsecond' end
  group by a.account_key, case when rolling is null then a.window_start end, case when rolling is null then a.window_end end
$$;

create or replace view keel.budget_status as
select b.name as budget, b.org, coalesce(now() - r.length, w.window_start) as window_start,
  case when r.length is null then w.window_end end as window_end, b.timezone, b.limit_usd,
  coalesce(a.settled_n, 0) * 0.000000001 as settled_usd,
  coalesce(a.held_n, 0) * 0.000000001 as held_usd,
  coalesce(a.leased_n, 0) * 0.000000001 as leased_usd,
  b.limit_usd - (coalesce(a.settled_n, 0) + coalesce(a.held_n, 0)) * 0.000000001 as remaining_usd,
  b.mode, b.version
from keel.budgets b
cross join lateral keel.window_bounds(b."window", b.timezone, now()) w
cross join lateral (select keel.rolling_us(b."window") * interval '1 microsecond' as length) r
left join lateral (
  select sum(a.settled_n) as settled_n, sum(a.held_n) as held_n, sum(a.leased_n) as leased_n
  from keel.accounts a
  where a.org = b.org and a.budget = b.name
    and case when r.length is null then a.window_start = coalesce(w.window_start, '-infinity') and a.window_end = coalesce(w.window_end, 'infinity')
      else a.window_end > now() - r.length - interval '2 seconds' and a.window_end = a.window_start + r.length / 60 end) a on true;
