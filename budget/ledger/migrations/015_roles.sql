-- What roles of least privilege may do through a function of the owner and in no other way. Which role may do what is
-- decided in budget/ledger/roles, and granted after every keel migrate.

-- Editing a document writes its history, its revision and the limit in force, which no editor writes directly.
alter function keel.config_after() security definer set search_path = pg_catalog, pg_temp;
alter function keel.limit_follows() security definer set search_path = pg_catalog, pg_temp;

-- Processors bring cuts into force and make partitions; they change no limit and no table otherwise.
alter function keel.settle_pending_cuts() security definer set search_path = pg_catalog, pg_temp;
alter function keel.ensure_partitions(timestamptz, timestamptz) security definer set search_path = pg_catalog, pg_temp;

-- Holds the revision of an org until the end of the transaction, so that the versions above it are the caller's own.
create function keel.hold_revision(an_org text) returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  held bigint;
begin
  insert into keel.config_revisions (org, revision) values (an_org, 0) on conflict (org) do nothing;
  select c.revision into strict held from keel.config_revisions c where c.org = an_org for update;
  return held;
end
$$;

-- Takes a closeout out of the way of one that knows more: one that was presumed, or that saw no more than a part because it was
-- cut. It is kept: nobody can make one vanish, and one of what a provider told stays where it is.
create function keel.supersede_closeout(an_org text, a_decision uuid) returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into keel.superseded_closeouts select now(), c.* from keel.closeouts c where c.org = an_org and c.decision_id = a_decision and (c.presumed or c.outcome = 'aborted' and c.metered <> 'provider');
  if not found then
    return false;
  end if;
  delete from keel.closeouts c where c.org = an_org and c.decision_id = a_decision and (c.presumed or c.outcome = 'aborted' and c.metered <> 'provider');
  return true;
end
$$;

-- Whoever may connect may call a function, unless told otherwise.
revoke execute on all functions in schema keel from public;
