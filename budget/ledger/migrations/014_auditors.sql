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
