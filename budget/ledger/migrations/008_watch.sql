-- Policies that watch streamed answers: {"watch": {"extend_usd": 0.05, "end": "finish"}}, both optional.

create or replace function keel.is_policy_action(j jsonb) returns boolean language sql immutable as $$
  select case when jsonb_typeof(j) <> 'object' then false
    when j - 'deny' = '{}' then coalesce(jsonb_typeof(j->'deny') = 'string' and j->>'deny' <> '', false)
    when j - 'route' = '{}' then coalesce(jsonb_typeof(j->'route') = 'string' and j->>'route' <> '', false)
    when j - 'warn' = '{}' then coalesce(jsonb_typeof(j->'warn') = 'string' and j->>'warn' <> '', false)
    when j - 'tag' = '{}' then coalesce(jsonb_typeof(j->'tag') = 'object' and j->'tag' <> '{}'
      and not exists (select from jsonb_each(j->'tag') t(k, v) where k = '' or jsonb_typeof(v) <> 'string'), false)
    when j - 'constrain' = '{}' then coalesce(jsonb_typeof(j->'constrain') = 'object' and j->'constrain' <> '{}'
      and (j->'constrain') - array['max_output_tokens', 'choices', 'tools', 'reasoning_effort', 'service_tier'] = '{}'
      and coalesce(j->'constrain'->>'max_output_tokens', '1') ~ '^[1-9][0-9]{0,9}$' and coalesce(j->'constrain'->>'choices', '1') ~ '^[1-9][0-9]{0,9}$'
      and coalesce(j->'constrain'->>'tools', 'none') in ('none', 'own')
      and coalesce(j->'constrain'->>'reasoning_effort', 'none') in ('none', 'minimal', 'low', 'medium', 'high', 'xhigh')
      and coalesce(j->'constrain'->>'service_tier', 'x') <> '', false)
    when j - 'watch' = '{}' then coalesce(jsonb_typeof(j->'watch') = 'object' and (j->'watch') - array['extend_usd', 'end'] = '{}'
      and coalesce(j->'watch'->>'end', 'finish') in ('finish', 'error')
      and case when (j->'watch') ? 'extend_usd' then coalesce(jsonb_typeof(j->'watch'->'extend_usd') = 'number'
        and (j->'watch'->>'extend_usd')::numeric between 0 and 9000000000 and scale((j->'watch'->>'extend_usd')::numeric) <= 9, false) else true end, false)
    else false end
$$;
