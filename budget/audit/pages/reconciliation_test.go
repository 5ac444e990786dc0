package pages

import (
	"net/http"
	"strings"
	"testing"
)

// What reconciliation and the audit log keep is shown, of the own org.
func TestReconciliationAndVerification(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 1)
	s := server(t, dsn, everybody)
	if body := page(t, s, Root+"reconciliation?org=acme"); !strings.Contains(body, "Nothing was reconciled yet") {
		t.Errorf("%s", body)
	}
	exec(t, dsn, "delete from keel.outbox")
	for _, org := range []string{"acme", "zeta"} {
		exec(t, dsn, `with r as (insert into keel.reconciliations (org, reconciliation_id, actor, provider, file, sha256, timezone, since, until)
				values ($1, ('00000000-0000-7000-8000-00000000000' || case $1 when 'acme' then 1 else 2 end)::uuid, 'ada', 'bill-of-' || $1, 'bill.csv', '', 'UTC', '2026-10-01Z', '2026-11-01Z') returning reconciliation_id),
			c as (insert into keel.reconciled (org, reconciliation_id, n, day, model, account, meter, recorded_n, stated_n, causes) select $1, reconciliation_id, n, '2026-10-01', 'm', '', '', 1000000000, case when n < 3 then 1000000000 + n * 5 end,
				case when n < 3 then jsonb_build_array(jsonb_build_object('cause', 'rounding', 'usd', (n * 0.000000004)::text), jsonb_build_object('cause', 'price', 'usd', (n * 0.000000001)::text)) else '[]' end from r, generate_series(1, 3) n)
			insert into keel.adjustments (org, adjustment_id, actor, source, reconciliation_id, cell, provider, model, day, amount_n, cause) select $1, gen_random_uuid(), 'ada', 'reconcile', reconciliation_id, 1, 'openai', 'm', '2026-10-01', 5, 'accepted' from r`, org)
	}
	exec(t, dsn, `insert into keel.outbox (org, kind, ids, missing_since) values ('acme', 'decision', '{}', null), ('acme', 'decision', '{}', now()), ('zeta', 'decision', '{}', null);
		insert into keel.leaves values ('zeta', 'decision', gen_random_uuid(), 1, 41, ''); insert into keel.checkpoints (size, note) values (42, 'a signed note'); insert into keel.audit_keys (vkey, statement) values ('keel+key', '')`)
	body := page(t, s, Root+"reconciliation?org=acme")
	for _, want := range []string{"bill-of-acme", "<data>2.00<i>0000000</i></data>", "<data>2.000000015</data>", "<data>0.000000015</data>", "<data>0.000000005</data>", "<th scope=\"row\">rounding</th><td class=\"n\">2</td><td class=\"n\"><data>0.000000012</data>", "The variance of 2 cells"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
	if strings.Contains(body, "bill-of-zeta") {
		t.Error("a bill of another org is shown")
	}
	if status, _ := get(t, s, Root+"reconciliation?org=acme&run=00000000-0000-7000-8000-000000000002"); status != http.StatusNotFound {
		t.Errorf("a bill of another org: status %d", status)
	}
	body = page(t, s, Root+"verification?org=acme")
	for _, want := range []string{"a signed note", "keel&#43;key", "<th scope=\"row\">Leaves</th><td class=\"n\">42</td>", "<th scope=\"row\">Waiting</th><td class=\"n\">2</td>", "<th scope=\"row\">Missing</th><td class=\"n over\">1</td>"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
}
