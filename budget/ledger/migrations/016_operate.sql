-- As in 005, but for the length of a bucket, which is added and not subtracted: a budget that was for its lifetime and is
-- rolling now has an account whose bounds are infinite, and Postgres 16 can't subtract those. Every look at such a budget failed.
create or replace function keel.beyond(an_org text, a_budget text, ceiling bigint, rolling bigint,
  out account_key text, out window_start timestamptz, out window_end timestamptz, out excess numeric, out leased numeric)
returns setof record language sql volatile as $$
  select a.account_key, max(a.window_start), max(a.window_end), sum(a.settled_n::numeric + a.leased_n) - ceiling, sum(a.leased_n)
  from keel.accounts a
  where a.org = an_org and a.budget = a_budget
    and case when rolling is null then a.window_end > now() and a.window_start <= now()
      else a.window_end > now() - rolling * interval '1 microsecond' - interval '2 seconds'
        and a.window_end = a.window_start + rolling / 60 * interval '1 microsecond' end
  group by a.account_key, case when rolling is null then a.window_start end, case when rolling is null then a.window_end end
$$;

create or replace view keel.budget_status as
select b.name as budget, b.org, coalesce(now() - r.length, w.window_start) as window_start,
  case when r.length is null then w.window_end end as window_end, b.timezone, b.limit_usd,
  coalesce(a.settled_n, 0) * 0.000000001 as settled_usd,
  coalesce(a.held_n, 0) * 0.000000001 as held_usd,
  coalesce(a.leased_n, 0) * 0.000000001 as leased_usd,
  b.limit_usd - (coalesce(a.settled_n, 0) + coalesce(a.held_n, 0)) * 0.000000001 as remaining_usd,
  b.mode, b.version
from keel.budgets b
cross join lateral keel.window_bounds(b."window", b.timezone, now()) w
cross join lateral (select keel.rolling_us(b."window") * interval '1 microsecond' as length) r
left join lateral (
  select sum(a.settled_n) as settled_n, sum(a.held_n) as held_n, sum(a.leased_n) as leased_n
  from keel.accounts a
  where a.org = b.org and a.budget = b.name
    and case when r.length is null then a.window_start = coalesce(w.window_start, '-infinity') and a.window_end = coalesce(w.window_end, 'infinity')
      else a.window_end > now() - r.length - interval '2 seconds' and a.window_end = a.window_start + r.length / 60 end) a on true;

-- What the columns of views mean, for whoever looks at them with psql or a BI tool. docs/views.md is written from it.
comment on column keel.spend_records.decision_id is 'UUIDv7; the client has it as x-keel-decision-id';
comment on column keel.spend_records.org is 'organisation that pays';
comment on column keel.spend_records.decided_at is 'when the decision was made';
comment on column keel.spend_records.closed_at is 'when the call ended; null while it runs';
comment on column keel.spend_records.subject is 'labels of who pays';
comment on column keel.spend_records.api is 'wire format; unknown: Keel can''t read it';
comment on column keel.spend_records.provider is 'where the call was sent';
comment on column keel.spend_records.route is 'logical model that chose the target; empty: none';
comment on column keel.spend_records.model_requested is 'as the client asked';
comment on column keel.spend_records.model_routed is 'as it was sent';
comment on column keel.spend_records.action is 'allow, constrain, substitute, deny';
comment on column keel.spend_records.reason is 'of the decision, in words';
comment on column keel.spend_records.estimated_input_tokens is 'before the call';
comment on column keel.spend_records.estimated_output_tokens is 'before the call';
comment on column keel.spend_records.estimated_cost_usd is 'before the call: what is likely';
comment on column keel.spend_records.bound_cost_usd is 'before the call: what one attempt can''t exceed, see bound_kind';
comment on column keel.spend_records.held_usd is 'set aside from permit until closeout, in the budget where that was most';
comment on column keel.spend_records.attempts is 'tries at an upstream; 0 for a denied call';
comment on column keel.spend_records.input_tokens is 'everything that came in, cached and cache-written included';
comment on column keel.spend_records.cached_input_tokens is 'of input_tokens, read from a cache';
comment on column keel.spend_records.cache_write_tokens is 'of input_tokens, written to a cache';
comment on column keel.spend_records.output_tokens is 'everything that went out, reasoning included';
comment on column keel.spend_records.reasoning_tokens is 'of output_tokens';
comment on column keel.spend_records.actual_cost_usd is 'over all attempts; null while the call runs';
comment on column keel.spend_records.metered is 'provider: from its usage; estimated: from what was seen, or the hold; none: nothing to meter';
comment on column keel.spend_records.outcome is 'open, complete, aborted (cut), failed (an error), orphaned (nobody saw the end), unmetered, denied';
comment on column keel.spend_records.http_status is 'that the client got';
comment on column keel.spend_records.rules is 'every document that was active, with its version and effect';
comment on column keel.spend_records.price_version is 'of the price book';
comment on column keel.spend_records.epoch is 'run of the processor that decided';
comment on column keel.spend_records.seq is 'number of the decision in its journal, dense by org and epoch';
comment on column keel.spend_records.leaf_hash is 'of the last closeout, else of the decision, in the audit log; null until it is there';
comment on column keel.spend_records.bound_kind is 'provable, calibrated, none: what bound_cost_usd is worth';
comment on column keel.spend_records.debt is 'permitted while the database was away, beyond what was leased';
comment on column keel.spend_records.detail is 'how the call ended, in words';
comment on column keel.spend_records.response_flags is 'of Envoy''s access log';
comment on column keel.spend_records.response_code_details is 'of Envoy''s access log';
comment on column keel.spend_records.replica is 'run of the processor that decided';
comment on column keel.spend_records.provider_cost_usd is 'what the provider says that the call cost, where it does; never settled';
comment on column keel.spend_records.cost_difference_usd is 'how much actual_cost_usd is above provider_cost_usd';
comment on column keel.spend_records.envelope_usd is 'the most that the call may cost over all its attempts';
comment on column keel.spend_records.extended_usd is 'set aside while the call ran, on top of held_usd; null without';
comment on column keel.budget_status.budget is 'name of the document';
comment on column keel.budget_status.org is 'organisation that owns it';
comment on column keel.budget_status.window_start is 'of the current window; of a rolling one its length ago; null: it never began';
comment on column keel.budget_status.window_end is 'null: it never ends, or it rolls';
comment on column keel.budget_status.timezone is 'that windows begin in';
comment on column keel.budget_status.limit_usd is 'of the window';
comment on column keel.budget_status.settled_usd is 'charged in the window';
comment on column keel.budget_status.held_usd is 'set aside for calls in flight, at most 1 s old';
comment on column keel.budget_status.leased_usd is 'what processors may still spend without asking, holds included';
comment on column keel.budget_status.remaining_usd is 'limit - settled - held';
comment on column keel.budget_status.mode is 'observe, prefer-cheap, enforce';
comment on column keel.budget_status.version is 'of the document';
comment on column keel.attempts.decision_id is 'of the call';
comment on column keel.attempts.org is 'organisation that pays';
comment on column keel.attempts.attempt is 'from 1';
comment on column keel.attempts.started_at is 'when it was sent';
comment on column keel.attempts.provider is 'that it was sent to';
comment on column keel.attempts.model is 'that it was sent to';
comment on column keel.attempts.address is 'of the endpoint';
comment on column keel.attempts.ended is 'answered, failed, lost, refused';
comment on column keel.attempts.http_status is '0: none came';
comment on column keel.attempts.bound_usd is 'what it could not exceed';
comment on column keel.attempts.broke_envelope is 'it was refused because the envelope of the call was used up, or went out beyond it in observe';
comment on column keel.attempts.cost_usd is 'what it was charged; those of a call sum to its actual_cost_usd';
comment on column keel.attempts.basis is 'what the cost was made from';
comment on column keel.attempts.usage is 'quantity by meter';
comment on column keel.attempts.detail is 'how it ended, in words';
comment on column keel.attempts.first_byte_ms is 'until the headers of its answer';
comment on column keel.attempts.instead_of is 'model that it would have gone to';
comment on column keel.attempts.instead_bound_usd is 'what it could not have exceeded there';
comment on column keel.statements.org is 'organisation that pays';
comment on column keel.statements.day is 'UTC, of the decision';
comment on column keel.statements.team is 'label team; empty: none';
comment on column keel.statements.provider is 'that calls were sent to';
comment on column keel.statements.model is 'that calls were sent to';
comment on column keel.statements.meter is 'empty: sums of calls; without_usage: charged without usage';
comment on column keel.statements.quantity is 'of the meter';
comment on column keel.statements.amount_n is 'cost, nano-dollars';
comment on column keel.statements.calls is 'decisions';
comment on column keel.statements.denied is 'of calls';
comment on column keel.statements.unmetered is 'of calls: those that Keel could not read';
comment on column keel.statements.closed is 'closeouts';
comment on column keel.statements.estimated is 'of closed: not charged by the provider''s usage';
comment on column keel.statements.unknown is 'of closed: nobody knows their cost';
comment on column keel.statements.estimated_n is 'cost of those estimated, nano-dollars';
comment on column keel.variance.org is 'organisation that pays';
comment on column keel.variance.provider is 'that stated it';
comment on column keel.variance.day is 'of the statement';
comment on column keel.variance.model is 'as stated';
comment on column keel.variance.account is 'of the provider, as stated';
comment on column keel.variance.meter is 'as stated';
comment on column keel.variance.reconciled_at is 'when it was compared last';
comment on column keel.variance.recorded_usd is 'by Keel';
comment on column keel.variance.stated_usd is 'by the provider; null: not in the statement';
comment on column keel.variance.variance_usd is 'stated - recorded';
comment on column keel.variance.accepted_usd is 'of the variance, by adjustments';
comment on column keel.variance.open_usd is 'variance - accepted';
