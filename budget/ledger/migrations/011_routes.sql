-- How long targets take to begin their answers: (answers, mean binary logarithm of seconds) of recent ones in one piece, of recent
-- ones that are streamed, and of both as is usual. The answers decay after at: recent ones are worth half every 20 s, usual ones every hour.
alter table keel.target_health
  add column paces double precision[] not null default '{}',
  drop column latency_us;

-- What an attempt took until its first byte, and the model that it was not sent to because it did not fit the envelope there.
create or replace view keel.attempts as
select c.decision_id, c.org, x.number as attempt, x.at as started_at, x.provider, x.model, x.address, x.ended, nullif(x.status, 0) as http_status,
  x.bound_usd, coalesce(x.broke, false) as broke_envelope, x.cost_usd, x.basis, x.usage, x.detail,
  round(x.first_byte_ns / 1e6, 3) as first_byte_ms,
  x.instead_of, x.instead_bound_usd
from keel.closeouts c cross join lateral jsonb_to_recordset(c.attempt_rows)
  as x(number integer, at timestamptz, provider text, model text, address text, ended text, status integer,
    bound_usd numeric, broke boolean, cost_usd numeric, basis text, usage jsonb, detail text, first_byte_ns numeric,
    instead_of text, instead_bound_usd numeric);

-- What the access log tells of the attempts of a call whose end nobody may have seen: a closeout as journals have it. It
-- corrects a closeout that was presumed, as long as corrects is set.
alter table keel.annotations
  add column correction bytea,
  add column corrects boolean not null default false;
create index annotations_corrects on keel.annotations (org, decision_id) where corrects;
