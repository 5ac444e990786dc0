# Adds a CSV export up with what Python ships: csv, sqlite3, json.
import csv, json, sqlite3, sys
from decimal import Decimal

def nano(usd):
    n = Decimal(usd or "0") * 10**9
    assert n == int(n), usd
    return int(n)

db = sqlite3.connect(":memory:")
db.execute("create table records (id text, cost integer, rest integer, outcome text, lines text, charges text)")
db.execute("create table true_ups (cause text, amount integer)")
with open(sys.argv[1], newline="", encoding="utf-8") as f:
    for r in csv.DictReader(f, strict=True):
        if r["kind"] == "adjustment":
            db.execute("insert into true_ups values (?, ?)", (r["adjustment_cause"], nano(r["adjustment_usd"])))
            continue
        lines = json.loads(r["cost_lines"])
        for l in lines:
            l["nano"] = nano(l["amount_usd"])
        db.execute("insert into records values (?, ?, ?, ?, ?, ?)", (r["decision_id"], nano(r["actual_cost_usd"]), nano(r["unmetered_cost_usd"]), r["outcome"], json.dumps(lines), r["charges"] or "[]"))
records, total, rest, opened = db.execute("select count(*), sum(cost), sum(rest), sum(outcome = 'open') from records").fetchone()
meters = {m: str(n) for m, n in db.execute("select l.value->>'meter', sum(l.value->>'nano') from records, json_each(lines) l group by 1")}
if rest:
    meters["unmetered"] = str(rest)
accounts = {f"{b}|{k}": str(n) for b, k, n in db.execute("select c.value->>'budget', c.value->>'key', sum(c.value->>'amount') from records, json_each(charges) c group by 1, 2")}
true_ups = dict(db.execute("select cause, cast(sum(amount) as text) from true_ups group by 1"))
rows, added = db.execute("select count(*), sum(amount) from true_ups").fetchone()
print(json.dumps({"records": records, "open": opened, "sum": str(total), "meters": meters, "accounts": accounts, "true_ups": true_ups, "true_up_rows": rows, "total": str(total + (added or 0))}))
