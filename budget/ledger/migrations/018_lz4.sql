-- serves 016
-- The documents in records are compressed by lz4 where the server has it: pglz was a seventh of what settling a record costs
-- Postgres, and keeps them hardly smaller. What is stored already stays as it is. Partitions that are made later get it from their parents.
do $$
declare
  t record;
begin
  for t in
    select c.oid::regclass as name, string_agg(format('alter column %I set compression lz4', a.attname), ', ' order by a.attnum) as changes
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.atttypid = 'jsonb'::regtype
    where c.oid in ('keel.decisions'::regclass, 'keel.closeouts'::regclass)
      or exists (select from pg_inherits i where i.inhrelid = c.oid and i.inhparent in ('keel.decisions'::regclass, 'keel.closeouts'::regclass))
    group by c.oid order by c.oid
  loop
    execute format('alter table %s %s', t.name, t.changes);
  end loop;
exception when feature_not_supported then
  null; -- a server that was built without lz4 goes on as before
end
$$;
