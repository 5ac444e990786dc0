-- Escrow: what replicas lease of an account, what they settle from their
-- journals, and the limits in force. Decisions, closeouts and annotations become
-- partitions by month. Everything is keyed by org first, so that it can be distributed by org.
--
-- Rows of 004 stay what they are. Nothing was leased then, so what is settled
-- counts as forced, and a hold that is open now is charged as forced when it closes.

alter table keel.budgets
  add column offline text,                       -- null: as the settings say
  add column offline_debt_usd numeric,           -- of one replica; null: no cap
  add column cut text not null default 'now',
  add constraint "offline must be deny or allow_debt" check (offline in ('deny', 'allow_debt')),
  add constraint "offline_debt_usd must be from 0 to 9000000000" check (offline_debt_usd >= 0 and offline_debt_usd <= 9000000000),
  add constraint "offline_debt_usd must have at most 9 decimals" check (scale(trim_scale(offline_debt_usd)) <= 9),
  add constraint "cut must be now or strict" check (cut in ('now', 'strict')),
  drop constraint "window: hour, day, week, month, quarter, year or lifetime",
  add constraint "window: hour to year, lifetime, or rolling, like rolling 24h" check (
    "window" in ('hour', 'day', 'week', 'month', 'quarter', 'year', 'lifetime') or "window" ~ '^rolling [1-9][0-9]{0,4}[mhd]$');

-- rolling_us is the length of a rolling window in microseconds; null for others.
create function keel.rolling_us("window" text) returns bigint language sql immutable as $$
  select substring("window" from '^rolling ([1-9][0-9]{0,4})[mhd]$')::bigint
    * case right("window", 1) when 'm' then 60000000 when 'h' then 3600000000 else 86400000000 end
$$;

-- As in 003. Of a rolling window it is the bucket: a sixtieth of the length, counted from 1970.
alter function keel.window_bounds(text, text, timestamptz) rename to calendar_bounds;
create function keel.window_bounds("window" text, tz text, at timestamptz, out window_start timestamptz, out window_end timestamptz)
language plpgsql stable as $$
declare
  bucket bigint = keel.rolling_us("window") / 60;
begin
  if bucket is null then
    select b.window_start, b.window_end into window_start, window_end from keel.calendar_bounds("window", tz, at) b;
    return;
  end if;
  window_start = timestamptz 'epoch' + floor(extract(epoch from at) * 1000000 / bucket)::bigint * bucket * interval '1 microsecond';
  window_end = window_start + bucket * interval '1 microsecond';
end
$$;

-- Unix microseconds, as the key of an account has them.
create function keel.micros(t timestamptz) returns bigint language sql immutable as $$
  select case t when 'infinity' then 9223372036854775807 when '-infinity' then -9223372036854775807
    else (extract(epoch from t) * 1000000)::bigint end
$$;

-- Differs after a failover. '' where the server does not say.
create function keel.timeline() returns text language plpgsql stable as $$
begin
  return left(pg_walfile_name(pg_current_wal_lsn()), 8);
exception when others then
  return '';
end
$$;

-- The state of the database itself, one row. Until learn_until nothing is leased.
create table keel.db_state (
  one         boolean primary key default true check (one),
  timeline    text not null,
  learn_until timestamptz not null,
  retired     timestamptz not null default '-infinity' -- records of before were dropped by month
);
insert into keel.db_state (timeline, learn_until) values (keel.timeline(), now());

-- How far the clock of a replica was ahead at its last heartbeat. Once it is finished, nothing is leased to it.
alter table keel.replicas add column clock_offset_us bigint, add column finished_at timestamptz;

---------------------------------------------------------------------------------------------------------------------
-- Accounts and leases

-- settled_n + leased_n <= high_n + forced_n, always.
alter table keel.accounts
  add column leased_n     bigint not null default 0 check (leased_n >= 0), -- what replicas may still spend
  add column forced_n     bigint not null default 0 check (forced_n >= 0), -- charged although nobody had leased it
  add column high_n       bigint not null default 0,                       -- the highest ceiling that something was leased under
  add column grants       bigint not null default 0,
  add column last_grant_n bigint not null default 0;
update keel.accounts set forced_n = settled_n where settled_n > 0;

-- What one epoch has of an account. All counters only rise, but consumed_n where a
-- closeout replaces a dearer one, forfeited_n when the journal shows up after all, and held_n.
create table keel.leases (
  org          text collate "C" not null,
  budget       text collate "C" not null,
  account_key  text collate "C" not null,
  window_start timestamptz not null,
  window_end   timestamptz not null,
  epoch        uuid not null,
  granted_n    bigint not null default 0,
  consumed_n   bigint not null default 0 check (consumed_n >= 0),
  returned_n   bigint not null default 0 check (returned_n >= 0),
  forfeited_n  bigint not null default 0 check (forfeited_n >= 0), -- written off, because its journal is gone
  held_n       bigint not null default 0, -- open holds of its decisions, as settled
  renewed_at   timestamptz not null default now(),
  primary key (org, budget, account_key, window_start, window_end, epoch),
  check (granted_n >= consumed_n + returned_n + forfeited_n)
) with (fillfactor = 50);
create index leases_epoch on keel.leases (org, epoch);

-- What is settled of one epoch's journal for one org.
create table keel.epochs (
  org         text collate "C" not null,
  epoch       uuid not null,
  applied_seq bigint not null default 0,
  state       text not null default 'live' check (state in ('live', 'fenced', 'finished')),
  forfeited   boolean not null default false, -- something of it was written off
  opened_at   timestamptz not null default now(),
  changed_at  timestamptz not null default now(),
  primary key (org, epoch)
) with (fillfactor = 50);
create index epochs_epoch on keel.epochs (epoch);

-- What moves money or takes a number of a journal, and is no decision or closeout.
create table keel.entries (
  org          text collate "C" not null,
  entry_id     uuid not null default gen_random_uuid(),
  epoch        uuid not null,
  seq          bigint, -- of the journal; null: made by the ledger itself
  kind         text not null check (kind in (
    'return',       -- a replica gave back what it did not use
    'finish',       -- what was left of a finished epoch went back
    'superseded',   -- the number of a closeout that a later one replaced
    'repeated',     -- a closeout that changed nothing, because there was one
    'void',         -- a record that could not be kept; cause says why
    'forfeit',      -- a slice whose journal is gone was written off: amount_n is settled
    'forfeit_fix',  -- the journal showed up: that is undone, amount_n is negative
    'retired')),    -- the charges of a month whose closeouts were dropped
  decision_id  uuid,
  budget       text collate "C",
  account_key  text collate "C",
  window_start timestamptz,
  window_end   timestamptz,
  amount_n     bigint not null default 0,
  at           timestamptz not null default now(),
  cause        jsonb not null default '{}',
  primary key (org, entry_id)
);
create unique index entries_seq on keel.entries (org, epoch, seq) where seq is not null;
create index entries_account on keel.entries (org, budget, account_key) where kind in ('forfeit', 'forfeit_fix', 'retired');

---------------------------------------------------------------------------------------------------------------------
-- Limits in force

-- What may be leased of every account of a budget. A cut that is strict is
-- pending until no running account is above it; nothing is leased beyond it meanwhile.
create table keel.limits (
  org               text collate "C" not null,
  budget            text collate "C" not null,
  version           bigint not null,
  limit_n           bigint not null,
  ceiling_n         bigint not null, -- limit x lowest tier that denies
  rolling_us        bigint,
  bound_n           bigint not null default 0, -- by how much the last cut was below what the worst account had settled and leased
  changed_at        timestamptz not null,
  pending_version   bigint,
  pending_limit_n   bigint,
  pending_ceiling_n bigint,
  primary key (org, budget)
);
create index limits_pending on keel.limits (org, budget) where pending_version is not null;

-- Every cut. A table of its own, because a strict one is written twice, and keel.config_versions never changes.
create table keel.cuts (
  org           text collate "C" not null,
  budget        text collate "C" not null,
  version       bigint not null,
  ceiling_n     bigint not null,
  bound_n       bigint not null, -- (settled + leased) - ceiling of the worst running account when it was asked for, 0 if none was above
  asked_at      timestamptz not null,
  effective_at  timestamptz,     -- null: pending, or replaced before it could take effect
  superseded_by bigint,          -- the version that replaced it while it was pending
  primary key (org, budget, version)
);

create function keel.nanos(usd numeric) returns bigint language sql immutable as $$ select (usd * 1000000000)::bigint $$;

create function keel.ceiling_n(limit_usd numeric, tiers jsonb) returns bigint language sql immutable as $$
  select least(floor(limit_usd * 10000000
    * coalesce((select min(rtrim(t->>'at', '%')::int) from jsonb_array_elements(tiers) t where t->>'do' = 'deny'), 100)), 9223372036854775807)::bigint
$$;

-- The accounts of a budget whose window is running, with what they have beyond
-- a ceiling. The buckets of a rolling window are one account, at its newest bucket.
create function keel.beyond(an_org text, a_budget text, ceiling bigint, rolling bigint,
  out account_key text, out window_start timestamptz, out window_end timestamptz, out excess numeric, out leased numeric)
returns setof record language sql volatile as $$
  select a.account_key, max(a.window_start), max(a.window_end), sum(a.settled_n::numeric + a.leased_n) - ceiling, sum(a.leased_n)
  from keel.accounts a
  where a.org = an_org and a.budget = a_budget
    and case when rolling is null then a.window_end > now() and a.window_start <= now()
      else a.window_end > now() - rolling * interval '1 microsecond' - interval '2 seconds'
        and a.window_end - a.window_start = rolling / 60 * interval '1 microsecond' end
  group by a.account_key, case when rolling is null then a.window_start end, case when rolling is null then a.window_end end
$$;

-- Follows keel.budgets in the same transaction. It locks the row before it looks
-- at the accounts, and who leases locks it, too: every lease is before or after the edit.
create function keel.limit_follows() returns trigger language plpgsql as $$
declare
  l keel.limits;
  the_limit bigint;
  the_ceiling bigint;
  rolling bigint;
  worst bigint;
  wait boolean;
begin
  if tg_op = 'DELETE' then
    update keel.cuts c set superseded_by = old.version + 1
    from keel.limits d where d.org = old.org and d.budget = old.name and c.org = d.org and c.budget = d.budget and c.version = d.pending_version;
    delete from keel.limits d where d.org = old.org and d.budget = old.name;
    return null;
  end if;
  the_limit = keel.nanos(new.limit_usd);
  the_ceiling = keel.ceiling_n(new.limit_usd, new.tiers);
  rolling = keel.rolling_us(new."window");
  if tg_op = 'INSERT' then
    insert into keel.limits (org, budget, version, limit_n, ceiling_n, rolling_us, changed_at)
      values (new.org, new.name, new.version, the_limit, the_ceiling, rolling, now());
    return null;
  end if;
  if new.version = old.version then
    return null;
  end if;
  select * into strict l from keel.limits x where x.org = new.org and x.budget = new.name for update;
  if l.pending_version is not null then
    update keel.cuts c set superseded_by = new.version where c.org = l.org and c.budget = l.budget and c.version = l.pending_version;
  end if;
  worst = 0;
  wait = false;
  if the_ceiling < l.ceiling_n then
    select least(greatest(max(b.excess), 0), 9223372036854775807)::bigint into worst from keel.beyond(new.org, new.name, the_ceiling, rolling) b;
    worst = coalesce(worst, 0);
    wait = new.cut = 'strict' and worst > 0;
    insert into keel.cuts (org, budget, version, ceiling_n, bound_n, asked_at, effective_at)
      values (new.org, new.name, new.version, the_ceiling, worst, clock_timestamp(), case when not wait then clock_timestamp() end);
    perform keel.recall(new.org, new.name, the_ceiling, rolling);
  end if;
  update keel.limits x set
    version = case when wait then x.version else new.version end,
    limit_n = case when wait then x.limit_n else the_limit end,
    ceiling_n = case when wait then x.ceiling_n else the_ceiling end,
    rolling_us = rolling, bound_n = case when the_ceiling < l.ceiling_n then worst else x.bound_n end, changed_at = now(),
    pending_version = case when wait then new.version end,
    pending_limit_n = case when wait then the_limit end,
    pending_ceiling_n = case when wait then the_ceiling end
  where x.org = new.org and x.budget = new.name;
  return null;
end
$$;

-- Asks replicas for idle slices of the accounts that a cut leaves without room:
-- the thousand that are most above it. Slices of others come back as they fall idle.
create function keel.recall(an_org text, a_budget text, ceiling bigint, rolling bigint) returns void language plpgsql as $$
declare
  payload text;
begin
  for payload in
    select jsonb_build_array(an_org, a_budget, b.account_key, keel.micros(b.window_start), keel.micros(b.window_end), coalesce(rolling, 0))::text
    from keel.beyond(an_org, a_budget, ceiling, rolling) b where b.leased > 0 and b.excess >= 0 order by b.excess desc limit 1000
  loop
    if octet_length(payload) < 8000 then -- what NOTIFY takes
      perform pg_notify('keel_recall', payload);
    end if;
  end loop;
end
$$;

insert into keel.limits (org, budget, version, limit_n, ceiling_n, rolling_us, changed_at)
  select org, name, version, keel.nanos(limit_usd), keel.ceiling_n(limit_usd, tiers), keel.rolling_us("window"), updated_at from keel.budgets;
create trigger limit_follows after insert or update or delete on keel.budgets for each row execute function keel.limit_follows();

-- Brings cuts into force that were pending and that no running account is above
-- any more. Replicas call it with their heartbeats. Returns how many.
create function keel.settle_pending_cuts() returns integer language plpgsql as $$
declare
  l keel.limits;
  n integer = 0;
begin
  for l in select * from keel.limits x where x.pending_version is not null order by x.org, x.budget for update skip locked
  loop
    if exists (select from keel.beyond(l.org, l.budget, l.pending_ceiling_n, l.rolling_us) b where b.excess > 0) then
      perform keel.recall(l.org, l.budget, l.pending_ceiling_n, l.rolling_us);
      continue;
    end if;
    update keel.limits x set version = x.pending_version, limit_n = x.pending_limit_n, ceiling_n = x.pending_ceiling_n,
      pending_version = null, pending_limit_n = null, pending_ceiling_n = null, changed_at = clock_timestamp()
    where x.org = l.org and x.budget = l.budget;
    update keel.cuts c set effective_at = clock_timestamp() where c.org = l.org and c.budget = l.budget and c.version = l.pending_version;
    n = n + 1;
  end loop;
  return n;
end
$$;

---------------------------------------------------------------------------------------------------------------------
-- Decisions, closeouts and annotations, by month of the decision id

drop view keel.spend_records;
drop view keel.budget_status;
alter table keel.decisions rename to decisions_004;
alter table keel.closeouts rename to closeouts_004;
alter table keel.annotations rename to annotations_004;
alter index keel.decisions_pkey rename to decisions_004_pkey;
alter index keel.closeouts_pkey rename to closeouts_004_pkey;
alter index keel.annotations_pkey rename to annotations_004_pkey;
drop index keel.decisions_id, keel.decisions_decided_at, keel.closeouts_stored_at, keel.closeouts_awaited;

-- epoch is the replica that decided; seq is its number in that epoch's journal, null before 005.
-- holds: [{budget, key, start, end, rolling_s, amount, ceiling, limit, mode, version, leased}], amounts in nano-dollars.
create table keel.decisions (
  like keel.decisions_004 including defaults including constraints,
  seq   bigint,
  holds jsonb not null default '[]',
  primary key (org, decision_id)
) partition by range (decision_id);
alter table keel.decisions rename column replica to epoch;
create index decisions_id on keel.decisions (decision_id); -- explain knows no org
create index decisions_decided_at on keel.decisions (org, decided_at);

-- epoch and seq are of the journal that had the closeout; null where the ledger presumed it.
-- lease is the epoch whose slices the decision held.
-- charges: [{budget, key, start, end, held, amount, leased}]; null as long as nobody knows what the decision held.
create table keel.closeouts (
  like keel.closeouts_004 including defaults including constraints,
  epoch   uuid,
  seq     bigint,
  lease   uuid,
  charges jsonb,
  primary key (org, decision_id)
) partition by range (decision_id);
create index closeouts_awaited on keel.closeouts (org, response_id) where presumed and response_id <> '';
create index closeouts_stored_at on keel.closeouts (stored_at);

create table keel.annotations (
  like keel.annotations_004 including defaults including constraints,
  primary key (org, decision_id)
) partition by range (decision_id);

-- opened is false for a decision that was closed before it came: its closeout waits for it.
alter table keel.open_decisions add column opened boolean not null default true;
create index open_decisions_epoch on keel.open_decisions (org, epoch);

-- The smallest UUIDv7 of an instant.
create function keel.uuid_at(at timestamptz) returns uuid language sql immutable as $$
  select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- There is no default partition: DETACH CONCURRENTLY refuses a table with one. What is
-- no UUIDv7 of this century goes to the first or the last.
create table keel.decisions_before_2020 partition of keel.decisions for values from (minvalue) to (keel.uuid_at('2020-01-01Z'));
create table keel.closeouts_before_2020 partition of keel.closeouts for values from (minvalue) to (keel.uuid_at('2020-01-01Z'));
create table keel.annotations_before_2020 partition of keel.annotations for values from (minvalue) to (keel.uuid_at('2020-01-01Z'));
create table keel.decisions_from_2100 partition of keel.decisions for values from (keel.uuid_at('2100-01-01Z')) to (maxvalue);
create table keel.closeouts_from_2100 partition of keel.closeouts for values from (keel.uuid_at('2100-01-01Z')) to (maxvalue);
create table keel.annotations_from_2100 partition of keel.annotations for values from (keel.uuid_at('2100-01-01Z')) to (maxvalue);

create function keel.has_partition(parent text, month timestamptz) returns boolean language sql volatile as $$
  select exists (select from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = format('keel.%I', parent)::regclass
      and pg_get_expr(c.relpartbound, c.oid) like format('FOR VALUES FROM (%L)%%', keel.uuid_at(month)))
$$;

-- Makes the partitions of the months from one instant to another, both included;
-- returns how many were missing. ATTACH does not block who reads or writes, as CREATE ... PARTITION OF does.
create function keel.ensure_partitions(since timestamptz, until timestamptz) returns integer language plpgsql as $$
declare
  m timestamptz = date_trunc('month', greatest(since, '2020-01-01Z'), 'UTC');
  following timestamptz;
  parent text;
  partition text;
  n integer = 0;
begin
  while m <= least(until, '2099-12-31Z') loop
    following = date_trunc('month', m + interval '32 days', 'UTC');
    foreach parent in array array['decisions', 'closeouts', 'annotations'] loop
      continue when keel.has_partition(parent, m);
      perform pg_advisory_xact_lock(hashtext('keel.ensure_partitions'));
      continue when keel.has_partition(parent, m);
      partition = parent || to_char(m at time zone 'UTC', '_YYYY_MM');
      while to_regclass('keel.' || partition) is not null loop -- detached, and not dropped yet
        partition = partition || '_late';
      end loop;
      execute format('create table keel.%I (like keel.%I including all)', partition, parent);
      execute format('alter table keel.%I attach partition keel.%I for values from (%L) to (%L)', parent, partition, keel.uuid_at(m), keel.uuid_at(following));
      n = n + 1;
    end loop;
    m = following;
  end loop;
  return n;
end
$$;

-- The months that rows of 004 are in, and the next ones.
do $$
declare
  m timestamptz;
begin
  for m in
    select distinct date_trunc('month', to_timestamp(('x' || left(replace(i.decision_id::text, '-', ''), 12))::bit(48)::bigint / 1000), 'UTC')
    from (select decision_id from keel.decisions_004 union all select decision_id from keel.closeouts_004
      union all select decision_id from keel.annotations_004) i
    where i.decision_id >= keel.uuid_at('2020-01-01Z') and i.decision_id < keel.uuid_at('2100-01-01Z')
  loop
    perform keel.ensure_partitions(m, m);
  end loop;
  perform keel.ensure_partitions(now(), now() + interval '2 months');
end
$$;

-- Columns of 004 by name, because both tables were altered since they were made.
do $$
declare
  t text;
  columns text;
begin
  foreach t in array array['decisions', 'closeouts', 'annotations'] loop
    select string_agg(quote_ident(attname), ', ' order by attnum) into columns
    from pg_attribute where attrelid = format('keel.%I', t || '_004')::regclass and attnum > 0 and not attisdropped;
    execute format('insert into keel.%I (%s) select %s from keel.%I', t, case t when 'decisions' then replace(columns, 'replica', 'epoch') else columns end, columns, t || '_004');
  end loop;
end
$$;

-- Holds become part of their decision, and what they settled of their closeout.
update keel.decisions d set holds = h.holds from (
  select h.org, h.decision_id, jsonb_agg(jsonb_build_object('budget', h.budget, 'key', h.account_key, 'start', h.window_start, 'end', h.window_end,
    'rolling_s', 0, 'amount', h.amount_n, 'ceiling', h.ceiling_n, 'limit', h.limit_n, 'mode', h.mode, 'version', h.budget_version, 'leased', false) order by h.n) as holds
  from keel.holds h group by h.org, h.decision_id) h
where d.org = h.org and d.decision_id = h.decision_id;
update keel.closeouts c set lease = d.epoch, charges = coalesce((
  select jsonb_agg(jsonb_build_object('budget', h.budget, 'key', h.account_key, 'start', h.window_start, 'end', h.window_end,
    'held', h.amount_n, 'amount', h.settled_n, 'leased', false) order by h.n)
  from keel.holds h where h.org = c.org and h.decision_id = c.decision_id), '[]')
from keel.decisions d where d.org = c.org and d.decision_id = c.decision_id;

drop table keel.holds, keel.decisions_004, keel.closeouts_004, keel.annotations_004;

---------------------------------------------------------------------------------------------------------------------
-- Views

-- As in 003; leased is what replicas may still spend, and a rolling window is the time until now.
create view keel.budget_status as
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
      else a.window_end > now() - r.length - interval '2 seconds' and a.window_end - a.window_start = r.length / 60 end) a on true;

-- As in 004, with the number of the decision in its journal.
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
  case when d.seq is not null then d.epoch end as epoch, d.seq, null::bytea as leaf_hash,
  d.bound_kind, d.debt, c.detail, a.flags as response_flags, a.details as response_code_details, d.epoch as replica,
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
