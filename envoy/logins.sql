-- The database of Keel, its owner, and a login for each role of docs/security.md: by psql, for who administers the server, once.
--   psql --dbname postgres --set passwords=DIR --file envoy/logins.sql
-- DIR, /run/secrets unless given, has owner.pgpass, serve.pgpass, edit.pgpass and read.pgpass, each with a line
-- HOST:PORT:DATABASE:LOGIN:PASSWORD. Run again, it gives the logins the passwords that are there then. Another database than "keel" is
-- named by --set name=NAME.
\set ON_ERROR_STOP on
\if :{?name}
\else
  \set name keel
\endif
\if :{?passwords}
\else
  \set passwords /run/secrets
\endif
\set owner `cut -d : -f 5 :'passwords'/owner.pgpass`
\set serve `cut -d : -f 5 :'passwords'/serve.pgpass`
\set edit `cut -d : -f 5 :'passwords'/edit.pgpass`
\set read `cut -d : -f 5 :'passwords'/read.pgpass`

-- Groups first: "keel migrate" gives them their rights, and so the owner need not be one who may make roles.
select format('create role %I nologin', role) from (values (:'name' || '_writer'), (:'name' || '_editor'), (:'name' || '_reader')) groups (role)
where not exists (select from pg_roles where rolname = role) \gexec

create temporary table logins as
select :'name' || suffix as login, nullif(password, '') as password, :'name' || member as member
from (values ('_owner', :'owner', null), ('_serve', :'serve', '_writer'), ('_edit', :'edit', '_editor'), ('_edit', :'edit', '_reader'), ('_read', :'read', '_reader')) all_logins (suffix, password, member);

select 'create role ' || quote_ident(login) from logins where not exists (select from pg_roles where rolname = login) group by login \gexec
select case when min(password) is null then format('do $$ begin raise exception ''no password for %s'' ; end $$', login)
  else format('alter role %I login password %L', login, min(password)) end from logins group by login \gexec
select format('grant %I to %I', member, login) from logins where member is not null \gexec
select format('create database %I owner %I', :'name', :'name' || '_owner') where not exists (select from pg_database where datname = :'name') \gexec
