-- Many documents in one statement: each change raised the one revision row of its org, and every raise walked over all
-- those before it in its transaction, so a hundred thousand budgets took minutes. Now a statement raises it once, by
-- as many as it changed. Revisions stay dense: every version has one of its own.

drop function keel.config_after() cascade; -- with the triggers of every table

-- Writes the history of what one statement changed, in arrays of one length ordered by org and name, and tells replicas.
create function keel.config_record(the_op text, the_kind text, orgs text[], names text[], versions bigint[], befores jsonb[], afters jsonb[]) returns void language sql as $$
  with changed as materialized (
    select c.*, count(*) over (partition by c.org) as n, row_number() over (partition by c.org order by c.name) as i
    from unnest(orgs, names, versions, befores, afters) c (org, name, version, before, after)
  ), raised as (
    insert into keel.config_revisions as r (org, revision)
    select org, count(*) from changed group by org order by org
    on conflict (org) do update set revision = r.revision + excluded.revision returning r.org, r.revision
  )
  insert into keel.config_versions (org, kind, name, version, revision, changed_at, changed_by, op, before, after)
  select c.org, the_kind, c.name, c.version, r.revision - c.n + c.i, now(), keel.actor(), the_op, c.before, c.after
  from changed c join raised r on r.org = c.org;
  select pg_notify('keel_config', '');
$$;

create function keel.config_after() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  orgs text[];
  names text[];
  versions bigint[];
  befores jsonb[];
  afters jsonb[];
begin
  if tg_op = 'INSERT' then
    select array_agg(n.org order by n.org, n.name), array_agg(n.name order by n.org, n.name), array_agg(n.version order by n.org, n.name),
      array_agg(null::jsonb), array_agg(keel.config_document(to_jsonb(n)) order by n.org, n.name)
      into orgs, names, versions, befores, afters from new_rows n;
  elsif tg_op = 'UPDATE' then
    select array_agg(n.org order by n.org, n.name), array_agg(n.name order by n.org, n.name), array_agg(n.version order by n.org, n.name),
      array_agg(keel.config_document(to_jsonb(o)) order by n.org, n.name), array_agg(keel.config_document(to_jsonb(n)) order by n.org, n.name)
      into orgs, names, versions, befores, afters from new_rows n join old_rows o on o.org = n.org and o.name = n.name and o.version <> n.version;
  else
    select array_agg(o.org order by o.org, o.name), array_agg(o.name order by o.org, o.name), array_agg(o.version + 1 order by o.org, o.name),
      array_agg(keel.config_document(to_jsonb(o)) order by o.org, o.name), array_agg(null::jsonb)
      into orgs, names, versions, befores, afters from old_rows o;
  end if;
  if orgs is not null then
    perform keel.config_record(case tg_op when 'INSERT' then 'create' else lower(tg_op) end, tg_argv[0], orgs, names, versions, befores, afters);
  end if;
  return null;
end
$$;

do $$
declare
  t text;
  kind text;
begin
  for t, kind in values ('budgets', 'Budget'), ('routes', 'Route'), ('policies', 'Policy'), ('exchange_rates', 'ExchangeRate'),
    ('prices', 'Price'), ('subjects', 'Subject'), ('settings', 'Settings')
  loop
    execute format('create trigger config_after_insert after insert on keel.%I referencing new table as new_rows for each statement execute function keel.config_after(%L)', t, kind);
    execute format('create trigger config_after_update after update on keel.%I referencing old table as old_rows new table as new_rows for each statement execute function keel.config_after(%L)', t, kind);
    execute format('create trigger config_after_delete after delete on keel.%I referencing old table as old_rows for each statement execute function keel.config_after(%L)', t, kind);
  end loop;
end
$$;

-- The audit log is told of what one statement wrote in rows of at most a thousand, as it is of records.
create or replace function keel.config_outbox() returns trigger language plpgsql as $$
begin
  insert into keel.outbox (org, kind, ids)
    select n.org, 'config', array_agg(n.change_id order by n.revision) from new_versions n group by n.org, n.revision / 1000 order by n.org, n.revision / 1000;
  return null;
end
$$;
drop trigger config_outbox on keel.config_versions;
create trigger config_outbox after insert on keel.config_versions referencing new table as new_versions for each statement execute function keel.config_outbox();
