-- Corrections: what providers say that was used and billed, beside what was recorded, and
-- entries that correct a record without touching it.

-- One comparison of a provider's statement with the records.
create table keel.reconciliations (
  org               text collate "C" not null,
  reconciliation_id uuid not null default gen_random_uuid(),
  at                timestamptz not null default now(),
  actor             text not null,
  provider          text not null,
  file              text not null,
  sha256            text not null,
  timezone          text not null, -- of the days
  since             timestamptz not null,
  until             timestamptz not null,
  primary key (org, reconciliation_id)
);

-- What it compared: a cell of day, model, account and meter, as fine as the statement is ("" for what it does not tell).
-- causes: [{cause, usd, note}], which sum to stated - recorded.
create table keel.reconciled (
  org               text collate "C" not null,
  reconciliation_id uuid not null,
  n                 bigint not null,
  day               date not null,
  model             text not null,
  account           text not null,
  meter             text not null,
  recorded_n        bigint not null,
  stated_n          bigint, -- null: the statement says only quantities
  recorded_quantity bigint,
  stated_quantity   bigint,
  causes            jsonb not null,
  primary key (org, reconciliation_id, n)
);

-- Entries that correct records. They are added and never changed; budgets are not charged by them.
-- A re-rating names the decision, an accepted true-up the cell of its reconciliation.
create table keel.adjustments (
  org               text collate "C" not null,
  adjustment_id     uuid not null,
  at                timestamptz not null default now(),
  actor             text not null,
  source            text not null check (source in ('reconcile', 'rerate')),
  decision_id       uuid,
  reconciliation_id uuid,
  cell              bigint, -- keel.reconciled.n
  provider          text not null,
  model             text not null,
  account           text not null default '',
  meter             text not null default '',
  day               date not null,
  amount_n          bigint not null, -- what is added to the record: below zero where it was too much
  price_version     text not null default '',
  cause             text not null,
  detail            jsonb not null default '{}',
  primary key (org, adjustment_id),
  constraint "an adjustment refers to a decision or to a cell of a reconciliation" check (
    (source = 'rerate') = (decision_id is not null) and (source = 'reconcile') = (reconciliation_id is not null and cell is not null))
);
create index adjustments_decision on keel.adjustments (org, decision_id) where decision_id is not null;
create index adjustments_day on keel.adjustments (org, day);

create function keel.correction_kept() returns trigger language plpgsql as $$
begin
  raise exception 'keel.% is never changed, only added to', tg_table_name
    using errcode = 'feature_not_supported', hint = 'Add an adjustment that takes the other one back.';
end
$$;
create trigger kept before update or delete or truncate on keel.adjustments for each statement execute function keel.correction_kept();
create trigger kept before update or delete or truncate on keel.reconciliations for each statement execute function keel.correction_kept();
create trigger kept before update or delete or truncate on keel.reconciled for each statement execute function keel.correction_kept();

-- The number to watch: how far the newest statement for a provider, day and model is above what is recorded,
-- and what of it is accepted.
create view keel.variance as
with newest as (
  select distinct on (r.org, r.provider, x.day, x.model, x.account, x.meter) r.org, r.provider, r.reconciliation_id, r.at, x.n, x.day, x.model, x.account, x.meter,
    x.recorded_n, x.stated_n
  from keel.reconciliations r join keel.reconciled x on x.org = r.org and x.reconciliation_id = r.reconciliation_id
  where x.stated_n is not null
  order by r.org, r.provider, x.day, x.model, x.account, x.meter, r.at desc, r.reconciliation_id
)
select n.org, n.provider, n.day, n.model, n.account, n.meter, n.at as reconciled_at, n.recorded_n * 0.000000001 as recorded_usd, n.stated_n * 0.000000001 as stated_usd,
  (n.stated_n - n.recorded_n) * 0.000000001 as variance_usd,
  coalesce(a.amount_n, 0) * 0.000000001 as accepted_usd,
  (n.stated_n - n.recorded_n - coalesce(a.amount_n, 0)) * 0.000000001 as open_usd
from newest n
left join lateral (
  select sum(a.amount_n) as amount_n from keel.adjustments a
  where a.org = n.org and a.source = 'reconcile' and a.provider = n.provider and a.day = n.day and a.model = n.model and a.account = n.account and a.meter = n.meter) a on true;
