-- Accounts, decisions and closeouts. Amounts are whole nano-dollars (columns
-- ending in _n). There are no foreign keys: rows of one org stay on one shard,
-- and a closeout may arrive before its decision.

-- A replica is one run of one process: what it left open is found by its epoch.
create table keel.replicas (
  epoch        uuid primary key,
  host         text not null,
  started_at   timestamptz not null default now(),
  heartbeat_at timestamptz not null default now(),
  closed_at    timestamptz
);

-- An account is one window of one budget for one value of its "per" labels.
-- Both bounds are in the key, so that a budget whose window is edited starts
-- in an account of its own. Unbounded: -infinity, infinity.
create table keel.accounts (
  org          text collate "C" not null,
  budget       text collate "C" not null,
  account_key  text collate "C" not null,
  window_start timestamptz not null,
  window_end   timestamptz not null,
  settled_n    bigint not null default 0 check (settled_n >= 0),
  held_n       bigint not null default 0 check (held_n >= 0),
  primary key (org, budget, account_key, window_start, window_end)
) with (fillfactor = 50); -- room for HOT updates: this is the only hot row

create table keel.decisions (
  org                 text collate "C" not null,
  decision_id         uuid not null,
  decided_at          timestamptz not null,
  stored_at           timestamptz not null default now(),
  replica             uuid not null,
  subject             jsonb not null,
  api                 text not null,
  provider            text not null,
  model               text not null,
  path                text not null,
  stream              boolean not null,
  max_output_tokens   bigint not null,
  choices             bigint not null,
  service_tier        text not null,
  prompt              jsonb not null,
  action              text not null,
  reason              text not null,
  route               text not null,
  routed_provider     text not null,
  routed_model        text not null,
  output_cap          bigint not null,
  input_tokens        bigint not null,
  input_tokens_bound  bigint not null,
  output_tokens       bigint not null,
  output_tokens_bound bigint not null,
  expected_n          bigint not null,
  bound_n             bigint not null,
  bound_kind          text not null,
  method              text not null,
  unpriced            text not null,
  held_n              bigint, -- the largest hold; null without holds
  rules               jsonb not null,
  price_version       text not null,
  denial              jsonb,
  unmetered           boolean not null,
  debt                boolean not null,
  primary key (org, decision_id)
);
create index decisions_id on keel.decisions (decision_id);         -- explain knows no org
create index decisions_decided_at on keel.decisions (org, decided_at);

-- settled_n is null while the hold is open. An account's held_n is the sum of
-- amount_n of its open holds, its settled_n the sum of settled_n of its closed ones.
create table keel.holds (
  org            text collate "C" not null,
  decision_id    uuid not null,
  n              smallint not null, -- position in the decision
  budget         text collate "C" not null,
  account_key    text collate "C" not null,
  window_start   timestamptz not null,
  window_end     timestamptz not null,
  amount_n       bigint not null check (amount_n >= 0),
  settled_n      bigint check (settled_n >= 0),
  ceiling_n      bigint not null,
  limit_n        bigint not null,
  mode           text not null,
  budget_version bigint not null,
  primary key (org, decision_id, n)
);

-- What is permitted and not closed: small, scanned by the sweeper.
create table keel.open_decisions (
  org         text collate "C" not null,
  decision_id uuid not null,
  epoch       uuid not null,
  opened_at   timestamptz not null default now(),
  primary key (org, decision_id)
);

create table keel.closeouts (
  org                 text collate "C" not null,
  decision_id         uuid not null,
  closed_at           timestamptz not null,
  stored_at           timestamptz not null default now(),
  outcome             text not null check (outcome in ('complete', 'aborted', 'failed', 'orphaned', 'unmetered', 'denied')),
  metered             text not null check (metered in ('provider', 'estimated', 'none')),
  presumed            boolean not null, -- written by the ledger because nobody closed; a real closeout replaces it
  usage               jsonb,  -- quantity by meter; null: nothing was reported
  input_tokens        bigint,
  cached_input_tokens bigint,
  cache_write_tokens  bigint,
  output_tokens       bigint,
  reasoning_tokens    bigint,
  raw_usage           jsonb,
  cost_n              bigint not null check (cost_n >= 0), -- a lower bound unless cost_known
  cost_known          boolean not null,
  lines               jsonb not null,
  unpriced            text[] not null,
  attempts            bigint not null,
  http_status         integer not null,
  model               text not null,
  detail              text not null,
  primary key (org, decision_id)
);

-- What Envoy's access log said. It may come before the closeout.
create table keel.annotations (
  org            text collate "C" not null,
  decision_id    uuid not null,
  logged_at      timestamptz not null,
  stored_at      timestamptz not null default now(),
  http_status    integer not null,
  attempts       bigint not null,
  flags          text not null,
  details        text not null,
  response_bytes bigint not null,
  primary key (org, decision_id)
);
