-- Evidence: every decision, closeout, entry and configuration change becomes a leaf of a Merkle
-- log. Who writes one also writes to the outbox, in the same transaction; one process at a time takes the outbox
-- and appends to the log. docs/audit.md says what that proves.

-- What a journal held of a record: SHA-256 over its kind and payload. Null for what no journal held.
alter table keel.decisions add column digest bytea;
alter table keel.entries add column digest bytea;
-- A closeout that another one replaced keeps its version, in keel.superseded_closeouts.
alter table keel.closeouts add column digest bytea, add column version integer not null default 1;

-- The digests of a journal's records are chained: chain is the head up to applied_seq, chain_after
-- where it begins (0, but for journals that were under way before 009).
alter table keel.epochs add column chain bytea, add column chain_after bigint not null default 0;
update keel.epochs set chain_after = applied_seq;

create index entries_decision on keel.entries (org, decision_id) where decision_id is not null;

create table keel.superseded_closeouts (
  superseded_at timestamptz not null default now(),
  like keel.closeouts including defaults including constraints, -- whoever adds columns there adds them here
  primary key (org, decision_id, version)
);

alter table keel.config_versions add column change_id uuid not null default gen_random_uuid();
create unique index config_versions_change on keel.config_versions (change_id);

-- What is not in the log yet. Rows are deleted by who takes them, so nothing depends on the order of ids
-- and commits. missing_since: a record was gone before it could be taken, which keel audit verify reports.
create table keel.outbox (
  org           text collate "C" not null,
  outbox_id     bigint generated always as identity,
  kind          text not null check (kind in ('decision', 'closeout', 'entry', 'config', 'key')),
  ids           uuid[] not null,
  versions      integer[], -- of closeouts; null: 1 each
  at            timestamptz not null default now(),
  missing_since timestamptz,
  primary key (org, outbox_id)
);

-- The leaves of the log. index is dense from 0; hash is SHA-256 over the canonical form of the record.
create table keel.leaves (
  org     text collate "C" not null,
  kind    text collate "C" not null,
  id      uuid not null,
  version integer not null,
  index   bigint not null,
  hash    bytea not null,
  primary key (org, kind, id, version)
);
create index leaves_index on keel.leaves (index);

-- Hashes of the tree, as c2sp.org/tlog-tiles cuts them: 256 of one level a tile, the last one of a level not full.
create table keel.tiles (
  level integer not null,
  n     bigint not null,
  data  bytea not null,
  primary key (level, n)
);
alter table keel.tiles alter column data set storage external; -- hashes and ids can't be compressed
alter table keel.outbox alter column ids set storage external;

-- Signed notes: c2sp.org/tlog-checkpoint.
create table keel.checkpoints (
  size bigint primary key,
  note text not null,
  at   timestamptz not null default now()
);

-- Public keys that checkpoints were signed with. statement is a note, signed by the key before and by this one.
create table keel.audit_keys (
  key_id    uuid primary key default gen_random_uuid(),
  vkey      text not null unique,
  statement text not null,
  added_at  timestamptz not null default now()
);

-- Leaves have a commitment in place of every value of a label: SHA-256 over it and a salt of its own. Erasing
-- a value deletes its row here, and puts the commitment in its place everywhere else.
create table keel.label_values (
  org   text collate "C" not null,
  label text collate "C" not null,
  value text collate "C" not null,
  salt  bytea not null check (octet_length(salt) = 16),
  primary key (org, label, value)
);

-- Raised by every erasure, before anything else: the sequencer forgets salts that it knew.
alter table keel.db_state add column erasures bigint not null default 0;

create function keel.config_outbox() returns trigger language plpgsql as $$
begin
  insert into keel.outbox (org, kind, ids) values (new.org, 'config', array[new.change_id]);
  return null;
end
$$;
create trigger config_outbox after insert on keel.config_versions for each row execute function keel.config_outbox();

create function keel.key_outbox() returns trigger language plpgsql as $$
begin
  insert into keel.outbox (org, kind, ids) values ('', 'key', array[new.key_id]);
  return null;
end
$$;
create trigger key_outbox after insert on keel.audit_keys for each row execute function keel.key_outbox();

-- What is there already becomes leaves too, in the order of its time.
insert into keel.outbox (org, kind, ids)
  select org, 'config', array_agg(change_id order by revision) from keel.config_versions group by org;
insert into keel.outbox (org, kind, ids)
  select org, 'decision', array_agg(decision_id order by decision_id)
  from (select org, decision_id, (row_number() over (order by decision_id) - 1) / 5000 as part from keel.decisions) d group by org, part order by part;
insert into keel.outbox (org, kind, ids)
  select org, 'closeout', array_agg(decision_id order by decision_id)
  from (select org, decision_id, (row_number() over (order by decision_id) - 1) / 5000 as part from keel.closeouts) c group by org, part order by part;
insert into keel.outbox (org, kind, ids)
  select org, 'entry', array_agg(entry_id order by at, entry_id)
  from (select org, entry_id, at, (row_number() over (order by at, entry_id) - 1) / 5000 as part from keel.entries) e group by org, part order by part;

-- The leaf of a call's last closeout, else of its decision.
create function keel.leaf_hash(an_org text, a_decision uuid, a_version integer) returns bytea language sql stable as $$
  select coalesce(
    (select hash from keel.leaves l where l.org = an_org and l.kind = 'closeout' and l.id = a_decision and l.version = a_version),
    (select hash from keel.leaves l where l.org = an_org and l.kind = 'decision' and l.id = a_decision and l.version = 1))
$$;

-- The view stays as migrations before made it, with one column filled.
do $$
declare
  was text = pg_get_viewdef('keel.spend_records'::regclass);
  filled text = regexp_replace(was, 'NULL::bytea AS leaf_hash', 'keel.leaf_hash(d.org, d.decision_id, c.version) AS leaf_hash'); -- the first, of decisions
begin
  filled = replace(filled, 'NULL::bytea AS leaf_hash', 'keel.leaf_hash(c.org, c.decision_id, c.version) AS leaf_hash');
  if filled = was then
    raise exception 'keel.spend_records has no leaf_hash to fill';
  end if;
  execute 'create or replace view keel.spend_records as ' || filled;
end
$$;
