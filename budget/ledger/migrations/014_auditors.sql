-- What is read for the label is replaced by its pseudonym before anything else sees it.
alter table keel.subjects add column pseudonym boolean not null default false;

-- Checkpoints of a log that lost the leaves which they cover: put aside by keel audit continue, because the log that goes on in
-- its place reaches their sizes again.
create table keel.lost_checkpoints (
  note    text primary key,
  size    bigint not null,
  at      timestamptz not null,
  lost_at timestamptz not null default now()
);

-- Every checkpoint is kept for a time, and then the last one of each day, and those that were put into all anchors.
alter table keel.checkpoints add column anchored boolean not null default false;
create index checkpoints_at on keel.checkpoints (at) where not anchored;

-- Drops the checkpoints older than keep that are neither the last of their day nor anchored. Nobody but the owner may delete one in any other way.
create function keel.thin_checkpoints(keep interval) returns bigint language sql security definer set search_path = pg_catalog, pg_temp as $$
  with gone as (
    delete from keel.checkpoints c where c.at < now() - keep and not c.anchored
      and (select (l.at at time zone 'UTC')::date from keel.checkpoints l where l.size > c.size order by l.size limit 1) = (c.at at time zone 'UTC')::date
    returning 1)
  select count(*) from gone
$$;
