# Adds an export up with DuckDB alone, and prints what a manifest says, recomputed.
import json, sys
import duckdb

name, kind = sys.argv[1], sys.argv[2]
db = duckdb.connect()
source = {"csv": f"read_csv('{name}', all_varchar=true, header=true)", "parquet": f"read_parquet('{name}')", "jsonl": f"read_json('{name}', format='newline_delimited')"}[kind]
money = lambda column: f"cast({column} as decimal(38,9))"
db.execute(f"create view records as select * from {source}")
nano = lambda value: str(int((value or 0) * 10**9))
rows, total, rest, opened = db.execute(f"select count(*) filter (where kind = 'call'), sum({money('actual_cost_usd')}), sum({money('unmetered_cost_usd')}), count(*) filter (where outcome = 'open') from records").fetchone()
lines = db.execute("""
select l->>'meter', sum(cast(l->>'amount_usd' as decimal(38,9)))
from (select unnest(cast(cast(cost_lines as json) as json[])) as l from records) group by 1 order by 1""").fetchall()
charges = db.execute("""
select c->>'budget', c->>'key', sum(cast(c->>'amount' as bigint))
from (select unnest(cast(cast(charges as json) as json[])) as c from records where charges is not null) group by 1, 2 order by 1, 2""").fetchall()
causes = db.execute(f"select adjustment_cause, count(*), sum({money('adjustment_usd')}) from records where kind = 'adjustment' group by 1 order by 1").fetchall()
everything = db.execute(f"select sum(coalesce({money('actual_cost_usd')}, {money('adjustment_usd')})) from records").fetchone()[0]
meters = {meter: nano(amount) for meter, amount in lines}
if rest:
    meters["unmetered"] = nano(rest)
types = {row[0]: row[1] for row in db.execute("describe records").fetchall()} if kind == "parquet" else {}
order = [str(row[0]) for row in db.execute("select coalesce(decision_id, adjustment_id) from records").fetchall()]
print(json.dumps({"records": rows, "open": opened, "sum": nano(total), "meters": meters, "accounts": {f"{b}|{k}": str(n) for b, k, n in charges},
    "true_ups": {cause: nano(amount) for cause, _, amount in causes}, "true_up_rows": sum(n for _, n, _ in causes), "total": nano(everything), "types": types, "order": order}))
