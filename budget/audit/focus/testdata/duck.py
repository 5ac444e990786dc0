# Adds a FOCUS file up with DuckDB alone: costs by what was charged for, quantities by unit, and the types of the columns.
import json, sys
import duckdb

name, kind = sys.argv[1], sys.argv[2]
db = duckdb.connect()
db.execute("create view charges as select * from " + (f"read_csv('{name}', all_varchar=true, header=true)" if kind == "csv" else f"read_parquet('{name}')"))
number = lambda column: f"cast({column} as decimal(38,18))"
text = lambda value: None if value is None else format(value, "f")
costs = ["EffectiveCost", "ContractedCost", "ListCost", "BilledCost", "PricingCurrencyEffectiveCost", "ConsumedQuantity", "PricingQuantity", "ListUnitPrice"]
sums = {column: text(db.execute(f"select sum({number(column)}) from charges").fetchone()[0]) for column in costs}
by = db.execute(f"""select ChargeCategory, coalesce(ChargeClass, ''), ServiceName, coalesce(SkuMeter, ''), coalesce(ConsumedUnit, ''), count(*), sum({number('EffectiveCost')}), sum({number('ConsumedQuantity')})
from charges group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5""").fetchall()
calls = db.execute(f"select x_KeelDecisionId, sum({number('EffectiveCost')}) from charges where ChargeCategory = 'Usage' group by 1 order by 1").fetchall()
periods = db.execute("select epoch_us(min(cast(ChargePeriodStart as timestamptz))), epoch_us(max(cast(ChargePeriodEnd as timestamptz))) from charges").fetchone()
print(json.dumps({
    "rows": db.execute("select count(*) from charges").fetchone()[0], "sums": sums, "by": [[*map(str, row[:6]), text(row[6]), text(row[7])] for row in by],
    "calls": {str(call): text(cost) for call, cost in calls}, "periods": [str(p) for p in periods],
    "types": {row[0]: row[1] for row in db.execute("describe charges").fetchall()} if kind == "parquet" else {}}))
