package alert

import "testing"

// A bill that differs by more than a hundredth is told once.
func TestVariance(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	w := l.watcher(Webhook{})
	for i, c := range []struct{ provider, recorded, stated string }{{"close", "1000000000", "1010000000"}, {"openai", "1000000000", "1010000001"}, {"google", "0", "5"}, {"free", "0", "0"}} {
		l.exec(`with r as (insert into keel.reconciliations (org, actor, provider, file, sha256, timezone, since, until) values ('acme', 'ada', $1, 'bill.csv', '', 'UTC', '2026-10-01Z', '2026-11-01Z') returning reconciliation_id)
			insert into keel.reconciled (org, reconciliation_id, n, day, model, account, meter, recorded_n, stated_n, causes) select 'acme', reconciliation_id, $2, '2026-10-01', 'm', '', '', $3::text::bigint, $4::text::bigint, '[]' from r`, c.provider, i, c.recorded, c.stated)
	}
	l.look(w)
	l.look(w)
	told := l.told()
	if len(told) != 2 {
		t.Fatalf("%q", told)
	}
	for _, want := range []string{"the bill of openai (bill.csv) says $1.010000001, and $1 are recorded: a variance of $0.010000001", "the bill of google (bill.csv) says $0.000000005, and $0 are recorded"} {
		if !contains(told, want) {
			t.Errorf("%q is missing in %q", want, told)
		}
	}
}
