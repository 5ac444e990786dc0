-- Statements: what calls were and cost, added up by day, team, model and meter, so that a month of
-- millions of calls is read in milliseconds. docs/records.md has the columns.
--
-- Settlement does not add up. It leaves the ids of what it wrote in keel.statement_outbox, one row a transaction, and
-- one process at a time folds them into keel.statements. Everything there can be computed again from
-- keel.spend_records and keel.closeouts: the two views below do it, and keel ledger check compares.

-- The rows with meter '' count calls, and have what they cost in all; the others have quantities and amounts by meter.
-- Amounts are whole nano-dollars. Days are of UTC, by the time of the decision, else of the closeout.
create table keel.statements (
  org         text collate "C" not null,
  day         date not null,
  team        text collate "C" not null, -- '' where the subject has no team
  provider    text collate "C" not null,
  model       text collate "C" not null, -- that the call was sent to
  meter       text collate "C" not null,
  quantity    numeric not null default 0,
  amount_n    numeric not null default 0,
  calls       bigint not null default 0, -- decisions
  denied      bigint not null default 0, -- of them
  unmetered   bigint not null default 0, -- of them: calls that Keel could not read
  closed      bigint not null default 0,
  estimated   bigint not null default 0, -- of those closed: not charged by the provider's usage
  unknown     bigint not null default 0, -- of those closed: nobody knows their cost
  estimated_n numeric not null default 0,
  primary key (org, day, team, provider, model, meter)
);

create table keel.statement_outbox (
  org       text collate "C" not null,
  outbox_id bigint generated always as identity,
  decisions uuid[] not null default '{}',
  closeouts uuid[] not null default '{}',
  replaced  uuid[] not null default '{}', -- closeouts that took the place of another
  at        timestamptz not null default now(),
  primary key (org, outbox_id)
);
create index statement_outbox_replaced on keel.statement_outbox (org) where replaced <> '{}';

-- What was added for closeouts that may still be replaced, or whose decision has not come: it is taken back then.
create table keel.statement_provisional (
  org         text collate "C" not null,
  decision_id uuid not null,
  day         date not null,
  team        text collate "C" not null,
  provider    text collate "C" not null,
  model       text collate "C" not null,
  meter       text collate "C" not null,
  quantity    numeric not null,
  amount_n    numeric not null,
  closed      bigint not null,
  estimated   bigint not null,
  unknown     bigint not null,
  estimated_n numeric not null,
  primary key (org, decision_id, meter)
);

-- What a decision adds. It never changes.
create view keel.statement_decisions as
select d.org, d.decision_id, (d.decided_at at time zone 'UTC')::date as day, coalesce(d.subject->>'team', '') collate "C" as team,
  coalesce(nullif(d.routed_provider, ''), d.provider) collate "C" as provider, coalesce(nullif(d.routed_model, ''), d.model) collate "C" as model,
  (d.action = 'deny')::int as denied, (d.unmetered and d.action <> 'deny')::int as unmetered
from keel.decisions d;

-- What a closeout adds: a row with meter '' that counts it, one a line of its cost, and one for what is charged
-- beyond the lines of the cost, because no usage told it: holds, bounds, attempts that were lost.
create view keel.statement_closeouts as
select r.org, r.decision_id, (coalesce(r.decided_at, r.closed_at) at time zone 'UTC')::date as day, coalesce(r.subject->>'team', '') collate "C" as team,
  coalesce(r.provider, '') collate "C" as provider, coalesce(r.model_routed, '') collate "C" as model,
  x.meter collate "C" as meter, x.quantity, x.amount_n, x.closed, x.estimated, x.unknown, x.estimated_n, r.decided_at is not null and not c.presumed as final
from keel.spend_records r
join keel.closeouts c on c.org = r.org and c.decision_id = r.decision_id
cross join lateral (select coalesce(r.actual_cost_usd, 0) * 1000000000 as cost_n) k
cross join lateral (
  select '' as meter, 0::numeric as quantity, k.cost_n as amount_n, 1 as closed, (r.metered = 'estimated')::int as estimated,
    (r.actual_cost_usd is null)::int as unknown, case when r.metered = 'estimated' then k.cost_n else 0 end as estimated_n
  union all
  select l.meter, l.quantity, l.amount_usd * 1000000000, 0, 0, 0, 0 from jsonb_to_recordset(c.lines) as l(meter text, quantity numeric, amount_usd numeric)
  union all
  select 'without_usage', 0, rest.n, 0, 0, 0, 0
  from (select k.cost_n - coalesce((select sum(l.amount_usd) from jsonb_to_recordset(c.lines) as l(amount_usd numeric)), 0) * 1000000000 as n) rest
  where rest.n <> 0) x;

-- What is there already is folded like what comes.
insert into keel.statement_outbox (org, decisions)
  select org, array_agg(decision_id order by decision_id)
  from (select org, decision_id, (row_number() over (partition by org order by decision_id) - 1) / 5000 as part from keel.decisions) d group by org, part order by part;
insert into keel.statement_outbox (org, closeouts)
  select org, array_agg(decision_id order by decision_id)
  from (select org, decision_id, (row_number() over (partition by org order by decision_id) - 1) / 5000 as part from keel.closeouts) c group by org, part order by part;

---------------------------------------------------------------------------------------------------------------------
-- Alerts

-- What somebody should know. The key names what it is about, and when: whoever finds it again adds nothing. An alert
-- is delivered once somebody took it; next_at is when it is tried again, and a replica that tries moves it on first.
create table keel.alerts (
  org          text collate "C" not null,
  key          text collate "C" not null, -- tier/research-month/3/2026-11-01T00:00:00Z/90%
  alert_id     uuid not null default gen_random_uuid(),
  kind         text not null check (kind in ('tier', 'forecast', 'unmetered', 'unpriced', 'variance', 'verification')),
  raised_at    timestamptz not null default now(),
  text         text not null,
  facts        jsonb not null,
  attempts     integer not null default 0,
  next_at      timestamptz not null default now(),
  delivered_at timestamptz,
  last_error   text,
  primary key (org, key)
);
create index alerts_due on keel.alerts (next_at) where delivered_at is null;
