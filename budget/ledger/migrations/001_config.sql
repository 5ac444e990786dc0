-- The config documents. A column is named as its document field, quoted where
-- SQL reserves the word. The names of the CHECK constraints are the messages
-- that whoever edits by hand reads, so they are sentences.

create function keel.is_object_of_strings(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) = 'object'
    then not exists (select from jsonb_each(j) e where jsonb_typeof(e.value) <> 'string')
    else false end
$$;

-- [{"at": "75%", "do": "warn"}], ascending, 1% to 1000%
create function keel.is_tiers(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) = 'array' then not exists (
    select from (
      select t.value as v, t.n,
        case when t.value->>'at' ~ '^[0-9]{1,4}%$' then rtrim(t.value->>'at', '%')::int end as at,
        lag(case when t.value->>'at' ~ '^[0-9]{1,4}%$' then rtrim(t.value->>'at', '%')::int end) over (order by t.n) as before
      from jsonb_array_elements(j) with ordinality t(value, n)) x
    where jsonb_typeof(v) <> 'object' or v - array['at', 'do'] <> '{}' or at is null or at not between 1 and 1000
      or at <= before or coalesce(v->>'do' not in ('warn', 'prefer-cheap', 'deny'), true))
    else false end
$$;

-- [{"provider": "openai", "model": "gpt-5", "quality": 0.8}]
create function keel.is_targets(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) = 'array' and j <> '[]' then not exists (
    select from jsonb_array_elements(j) t(v)
    where jsonb_typeof(v) <> 'object' or v - array['provider', 'model', 'quality'] <> '{}'
      or coalesce(jsonb_typeof(v->'provider') <> 'string' or v->>'provider' = '', true)
      or coalesce(jsonb_typeof(v->'model') <> 'string' or v->>'model' = '', true)
      or case jsonb_typeof(v->'quality') when 'number' then (v->>'quality')::numeric not between 0 and 1 else v ? 'quality' end)
    else false end
$$;

-- {"deny": "reason"} or {"constrain": {"max_output_tokens": 1024}} or {"route": "name"}
create function keel.is_policy_action(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) <> 'object' then false
    when j - 'deny' = '{}' then coalesce(jsonb_typeof(j->'deny') = 'string' and j->>'deny' <> '', false)
    when j - 'route' = '{}' then coalesce(jsonb_typeof(j->'route') = 'string' and j->>'route' <> '', false)
    when j - 'constrain' = '{}' then coalesce(jsonb_typeof(j->'constrain') = 'object' and (j->'constrain') - 'max_output_tokens' = '{}'
      and j->'constrain'->>'max_output_tokens' ~ '^[1-9][0-9]{0,9}$', false)
    else false end
$$;

-- {"header": "x-team"} or {"claim": "sub"} or {"metadata": "namespace/key"} or {"peer_san": true}
create function keel.is_source(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) <> 'object' then false
    when j = '{"peer_san": true}' then true
    else (select count(*) = 1 and bool_and(e.key in ('header', 'claim', 'metadata') and jsonb_typeof(e.value) = 'string'
      and e.value <> '""' and (e.key <> 'header' or e.value #>> '{}' = lower(e.value #>> '{}'))) from jsonb_each(j) e) end
$$;

create function keel.is_meter(name text) returns boolean language sql immutable as $$
  select name in ('input', 'cached_input', 'cache_write_5m', 'cache_write_1h', 'input_audio', 'cached_input_audio', 'input_image',
    'output', 'reasoning', 'output_audio', 'output_image', 'web_search', 'calls')
$$;

-- [{"above": 0, "per_million": {"input": 1.25}}]: dollars for a million units of each meter,
-- at most 6 decimals, so that a rate is a whole number of pico-dollars a unit
create function keel.is_rate_steps(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) = 'array' and j <> '[]' then not exists (
    select from (
      select s.value as v, s.n,
        case when s.value->>'above' ~ '^[0-9]{1,15}$' then (s.value->>'above')::bigint end as above,
        lag(case when s.value->>'above' ~ '^[0-9]{1,15}$' then (s.value->>'above')::bigint end) over (order by s.n) as before
      from jsonb_array_elements(j) with ordinality s(value, n)) x
    where jsonb_typeof(v) <> 'object' or v - array['above', 'per_million'] <> '{}'
      or above is null or (n = 1 and above <> 0) or above <= before
      or coalesce(jsonb_typeof(v->'per_million') <> 'object', true)
      or exists (select from jsonb_each(case when jsonb_typeof(v->'per_million') = 'object' then v->'per_million' else '{}' end) r
        where not keel.is_meter(r.key) or case when jsonb_typeof(r.value) = 'number'
          then (r.value #>> '{}')::numeric not between 0 and 9000000000000 or scale(trim_scale((r.value #>> '{}')::numeric)) > 6
          else true end))
    else false end
$$;

create function keel.is_words(a text[]) returns boolean language sql immutable as $$
  select a is not null and not exists (select from unnest(a) w where w is null or w = '')
$$;

create table keel.budgets (
  org        text collate "C" not null default 'default',
  name       text collate "C" not null,
  selector   jsonb   not null default '{}',
  limit_usd  numeric not null,
  "window"   text    not null default 'month',
  timezone   text    not null default 'UTC',
  mode       text    not null default 'enforce',
  hold       text    not null default 'bound',
  tiers      jsonb   not null default '[]',
  per        text[]  not null default '{}',
  version    bigint  not null,
  updated_at timestamptz not null,
  updated_by text    not null,
  primary key (org, name),
  constraint "org and name must not be empty" check (org <> '' and name <> ''),
  constraint "selector must be an object of strings" check (keel.is_object_of_strings(selector)),
  -- NaN and Infinity are greater than any number in Postgres
  constraint "limit_usd must be from 0 to 9000000000" check (limit_usd >= 0 and limit_usd <= 9000000000),
  constraint "limit_usd must have at most 9 decimals" check (scale(trim_scale(limit_usd)) <= 9),
  constraint "window: hour, day, week, month, quarter, year or lifetime" check (
    "window" in ('hour', 'day', 'week', 'month', 'quarter', 'year', 'lifetime')),
  constraint "mode must be observe, prefer-cheap or enforce" check (mode in ('observe', 'prefer-cheap', 'enforce')),
  constraint "hold must be bound or expected" check (hold in ('bound', 'expected')),
  constraint "tiers must be ascending, like [{""at"":""75%"",""do"":""warn""}]" check (keel.is_tiers(tiers)),
  constraint "per must be label names" check (keel.is_words(per))
);

create table keel.routes (
  org         text collate "C" not null default 'default',
  name        text collate "C" not null,
  models      text[]  not null,
  mode        text    not null default 'enforce',
  targets     jsonb   not null,
  min_quality numeric,
  version     bigint  not null,
  updated_at  timestamptz not null,
  updated_by  text    not null,
  primary key (org, name),
  constraint "org and name must not be empty" check (org <> '' and name <> ''),
  constraint "models must be model names or globs, at least one" check (keel.is_words(models) and cardinality(models) > 0),
  constraint "mode must be observe, prefer-cheap or enforce" check (mode in ('observe', 'prefer-cheap', 'enforce')),
  constraint "targets must be [{provider, model, quality 0..1}], at least one" check (keel.is_targets(targets)),
  constraint "min_quality must be from 0 to 1" check (min_quality between 0 and 1)
);

create table keel.policies (
  org        text collate "C" not null default 'default',
  name       text collate "C" not null,
  "when"     text   not null,
  "do"       jsonb  not null,
  version    bigint not null,
  updated_at timestamptz not null,
  updated_by text   not null,
  primary key (org, name),
  constraint "org and name must not be empty" check (org <> '' and name <> ''),
  constraint "when must be a CEL expression" check ("when" <> ''),
  constraint "do: {deny} or {constrain:{max_output_tokens}} or {route}" check (keel.is_policy_action("do"))
);

create table keel.prices (
  org            text collate "C" not null default 'default',
  name           text collate "C" not null,
  provider       text   not null,
  model          text   not null,
  effective_from timestamptz,
  contract       text   not null default '',
  service_tier   text   not null default '',
  rates          jsonb  not null,
  version        bigint not null,
  updated_at     timestamptz not null,
  updated_by     text   not null,
  primary key (org, name),
  constraint "org and name must not be empty" check (org <> '' and name <> ''),
  constraint "provider and model must not be empty" check (provider <> '' and model <> ''),
  constraint "effective_from must be a finite time" check (isfinite(effective_from)),
  constraint "rates: [{above: 0, per_million: {meter: dollars >= 0}}]" check (keel.is_rate_steps(rates))
);

create table keel.subjects (
  org        text collate "C" not null default 'default',
  name       text collate "C" not null,
  label      text   not null,
  "from"     jsonb  not null,
  version    bigint not null,
  updated_at timestamptz not null,
  updated_by text   not null,
  primary key (org, name),
  constraint "org and name must not be empty" check (org <> '' and name <> ''),
  constraint "label must not be empty" check (label <> ''),
  constraint "from: one of header (lower case), claim, metadata, peer_san" check (keel.is_source("from"))
);

create table keel.settings (
  org        text collate "C" not null default 'default',
  name       text collate "C" not null default 'default',
  unknown    text   not null default 'pass',
  offline    text   not null default 'deny',
  durability text   not null default 'os',
  version    bigint not null,
  updated_at timestamptz not null,
  updated_by text   not null,
  primary key (org, name),
  constraint "an org has one settings row" unique (org),
  constraint "org and name must not be empty" check (org <> '' and name <> ''),
  constraint "unknown must be pass or deny" check (unknown in ('pass', 'deny')),
  constraint "offline must be deny or allow_debt" check (offline in ('deny', 'allow_debt')),
  constraint "durability must be os, fsync or postgres" check (durability in ('os', 'fsync', 'postgres'))
);

-- Every version of every document. Versions of a name are never reused, not
-- even after a delete, because decisions refer to them.
create table keel.config_versions (
  org        text collate "C" not null,
  kind       text   not null,
  name       text collate "C" not null,
  version    bigint not null,
  revision   bigint not null,
  changed_at timestamptz not null,
  changed_by text   not null,
  op         text   not null check (op in ('create', 'update', 'delete')),
  before     jsonb,
  after      jsonb,
  primary key (org, kind, name, version)
);
create unique index config_versions_revision on keel.config_versions (org, revision);

-- One counter an org, raised by every change in its transaction: what replicas
-- poll, because a notification can be lost and a sequence commits out of order.
create table keel.config_revisions (
  org      text collate "C" primary key,
  revision bigint not null
);

create function keel.actor() returns text language sql stable as $$
  select coalesce(nullif(current_setting('keel.actor', true), ''),
    session_user || coalesce(' (' || nullif(current_setting('application_name'), '') || ')', ''))
$$;

create function keel.config_document(r jsonb) returns jsonb language sql immutable as $$
  select r - array['org', 'name', 'version', 'updated_at', 'updated_by']
$$;

create function keel.config_before() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    return old;
  end if;
  if tg_op = 'UPDATE' then
    if (new.org, new.name) is distinct from (old.org, old.name) then
      raise exception 'org and name of a row in keel.% cannot be changed', tg_table_name
        using errcode = 'check_violation', hint = 'Delete the row and insert another one.';
    end if;
    if keel.config_document(to_jsonb(new)) = keel.config_document(to_jsonb(old)) then
      return old;
    end if;
    new.version = old.version + 1;
  else
    new.version = 1 + coalesce((select max(v.version) from keel.config_versions v
      where v.org = new.org and v.kind = tg_argv[0] and v.name = new.name), 0);
  end if;
  new.updated_at = now();
  new.updated_by = keel.actor();
  return new;
end
$$;

create function keel.config_after() returns trigger language plpgsql as $$
declare
  r record;
  v bigint;
  rev bigint;
begin
  if tg_op = 'DELETE' then
    r = old;
    v = old.version + 1;
  else
    r = new;
    v = new.version;
    if tg_op = 'UPDATE' and new.version = old.version then
      return null;
    end if;
  end if;
  insert into keel.config_revisions as c (org, revision) values (r.org, 1)
    on conflict (org) do update set revision = c.revision + 1 returning revision into rev;
  insert into keel.config_versions (org, kind, name, version, revision, changed_at, changed_by, op, before, after)
    values (r.org, tg_argv[0], r.name, v, rev, now(), keel.actor(),
      case tg_op when 'INSERT' then 'create' else lower(tg_op) end,
      case when tg_op <> 'INSERT' then keel.config_document(to_jsonb(old)) end,
      case when tg_op <> 'DELETE' then keel.config_document(to_jsonb(new)) end);
  perform pg_notify('keel_config', '');
  return null;
end
$$;

-- pg_timezone_names reads the time zone directory, so it is asked only about
-- a zone that changed; a CHECK would ask it at every update.
create function keel.budget_timezone() returns trigger language plpgsql as $$
begin
  if new.timezone <> 'UTC' and not exists (select from pg_timezone_names z
    where z.name = new.timezone and z.name !~ '^(posix|right)/' and z.name not in ('localtime', 'posixrules', 'Factory')) then
    raise exception 'unknown time zone "%"', new.timezone
      using errcode = 'check_violation', hint = 'Use an IANA name, for example Europe/Berlin or UTC.';
  end if;
  return null;
end
$$;
create constraint trigger timezone_known_insert after insert on keel.budgets for each row execute function keel.budget_timezone();
create constraint trigger timezone_known_update after update on keel.budgets for each row
  when (old.timezone is distinct from new.timezone) execute function keel.budget_timezone();

create function keel.config_truncate() returns trigger language plpgsql as $$
begin
  raise exception 'keel.% cannot be truncated, because every change is versioned row by row', tg_table_name
    using errcode = 'feature_not_supported', hint = 'Use DELETE.';
end
$$;

do $$
declare
  t text;
  kind text;
begin
  for t, kind in values ('budgets', 'Budget'), ('routes', 'Route'), ('policies', 'Policy'), ('prices', 'Price'),
    ('subjects', 'Subject'), ('settings', 'Settings')
  loop
    execute format('create trigger config_before before insert or update or delete on keel.%I for each row execute function keel.config_before(%L)', t, kind);
    execute format('create trigger config_after after insert or update or delete on keel.%I for each row execute function keel.config_after(%L)', t, kind);
    execute format('create trigger config_truncate before truncate on keel.%I execute function keel.config_truncate()', t);
  end loop;
end
$$;
