-- Bills: what the cost of a closeout was priced by, so that it can be rated anew: for the answer that the client got, and for each attempt
-- before it whose usage was told, [{provider, model, sent, at, service_tier, speed, region, search_context, usage, parts, cost_usd}].
-- Null where nobody metered anything, and in closeouts of before.
alter table keel.closeouts add column bills jsonb;
alter table keel.superseded_closeouts add column bills jsonb;

-- How far a kind of alert was looked for, by the database's clock: what was stored since is looked at, however long nobody looked.
create table keel.alert_marks (
  kind    text primary key,
  through timestamptz not null
);
create index decisions_unpriced on keel.decisions (stored_at) where unpriced <> '';
create index closeouts_unpriced on keel.closeouts (stored_at) where unpriced <> '{}';
create index statements_unmetered on keel.statements (day) where unmetered > 0;

-- The few that were not simply allowed: in ten million decisions a list of the denied ones took seconds without it.
create index decisions_not_allowed on keel.decisions (org, action, decided_at) where action <> 'allow';
