-- serves 016
-- Ids can't be compressed, and to try was most of what a transaction's row in this outbox cost: see keel.outbox in 009.
do $$
begin
  alter table keel.statement_outbox alter column decisions set storage external, alter column closeouts set storage external, alter column replaced set storage external;
exception when feature_not_supported then
  null; -- where rows are distributed it may not be altered, and goes on as before
end
$$;
